//! `stockade finalize` at once, killed and run again: one end, whatever happens.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash::{At, Doomed, Victim, finalize};
use crate::crash_follower::{Random, rounds, wait_until};
use crate::harness::run::{binary, kill};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Recording, RunBuilder, until};
use crate::process_table;

/// The directory of a run that was killed, to be copied.
fn remains() -> (tempfile::TempDir, PathBuf) {
    let shm = Path::new("/dev/shm");
    let kept = if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let mut run = Doomed::start("while :; do echo tick; sleep 0.002; done", false);
    until_within(DEADLINE, "the run has events", || {
        let log = std::fs::read_to_string(run.recording.path().join("events.jsonl")).ok()?;
        (log.matches("action.output").count() > 5).then_some(())
    });
    assert!(run.kill(Victim::Both, At::Instant(Duration::ZERO), Instant::now()));
    until_within(DEADLINE, "the guardian ends", || run.ended());
    until_within(DEADLINE, "nothing of the run is left", || {
        process_table::of_run(&run.directory)
            .is_empty()
            .then_some(())
    });
    let target = kept.path().join("remains");
    copy(run.recording.path(), &target);
    (kept, target)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of the remains with the tail of its log torn at a random byte.
fn torn_copy(remains: &Path, name: &str, random: &mut Random) -> (Recording, usize) {
    let path = remains.with_file_name(name);
    copy(remains, &path);
    let log = std::fs::File::options()
        .write(true)
        .open(path.join("events.jsonl"))
        .unwrap();
    let length = log.metadata().unwrap().len();
    let kept = length - random.below(length.min(2000));
    log.set_len(kept).unwrap();
    let recording = Recording::at(path);
    let whole = recording.lines().len();
    (recording, whole)
}

fn spawn_finalize(path: &Path) -> Child {
    Command::new(binary())
        .arg("finalize")
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn two_finalizers_at_once_append_one_end() {
    let mut random = Random::seeded();
    let (_kept, remains) = remains();
    for round in 0..rounds(25) {
        let seed = random.0;
        let (recording, whole) = torn_copy(&remains, &format!("two-{round}"), &mut random);
        let before = recording.lines();
        let finalizers = [(); 3].map(|()| spawn_finalize(recording.path()));
        let mut n_done = 0;
        for finalizer in finalizers {
            let output = finalizer.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => n_done += 1,
                Some(125) => assert!(said.contains("RUN_LOCKED"), "seed {seed}: {said}"),
                _ => panic!("seed {seed}: {:?} {said}", output.status),
            }
        }
        assert!(n_done >= 1, "seed {seed}");
        recording.assert_whole();
        assert_eq!(recording.lines()[..whole], before[..whole], "seed {seed}");
        std::fs::remove_dir_all(recording.path()).unwrap();
    }
}

#[test]
fn a_finalizer_that_is_killed_and_run_again_appends_one_end() {
    let mut random = Random::seeded();
    let (_kept, remains) = remains();
    let (measured, _) = torn_copy(&remains, "measured", &mut random);
    let started = Instant::now();
    finalize(measured.path());
    let typical = started.elapsed();
    let mut n_killed = 0;
    for round in 0..rounds(80) {
        let seed = random.0;
        let (recording, whole) = torn_copy(&remains, &format!("killed-{round}"), &mut random);
        let before = recording.lines();
        for _ in 0..=random.below(3) {
            let began = Instant::now();
            let mut finalizer = spawn_finalize(recording.path());
            wait_until(began + random.duration(typical));
            finalizer.kill().unwrap();
            n_killed += u64::from(finalizer.wait().unwrap().code().is_none());
        }
        finalize(recording.path());
        recording.assert_whole();
        assert_eq!(recording.lines()[..whole], before[..whole], "seed {seed}");
        // Once more changes nothing.
        let log = std::fs::read(recording.path().join("events.jsonl")).unwrap();
        finalize(recording.path());
        let again = std::fs::read(recording.path().join("events.jsonl")).unwrap();
        assert_eq!(log, again, "seed {seed}");
        std::fs::remove_dir_all(recording.path()).unwrap();
    }
    assert!(n_killed > 0, "no finalizer was killed in its middle");
    eprintln!("{n_killed} finalizers were killed in their middle");
}

#[test]
fn a_directory_that_holds_no_run_is_refused_and_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let foreign = place.path().join("notes");
    std::fs::create_dir(&foreign).unwrap();
    let mine = [
        "events.jsonl",
        "status.json",
        "manifest.json",
        "terminal.cast",
    ];
    for name in mine {
        std::fs::write(foreign.join(name), format!("{{\"mine\":\"{name}\"}}\n")).unwrap();
    }
    // A store is one level too high.
    let store = place.path().join("store");
    let run = RunBuilder::sh("true").with_recordings(&store).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for directory in [&foreign, &store] {
        let before = names(directory);
        let refused = Command::new(binary())
            .arg("finalize")
            .arg(directory)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(125));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("holds no run"), "{said}");
        assert_eq!(names(directory), before);
    }
    for name in mine {
        let text = std::fs::read_to_string(foreign.join(name)).unwrap();
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn whatever_is_left_of_a_run_of_ours_can_be_given_its_end() {
    for left in ["run.lock", "spec.json", "claim.json"] {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("run");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(left), "").unwrap();
        finalize(&directory);
        assert_eq!(
            Recording::at(&directory).status()["error"]["code"],
            "LOST",
            "{left}"
        );
    }
}

#[test]
fn the_socket_of_a_supervisor_that_was_killed_is_gone_with_its_run() {
    // The guardian finalizes, or somebody else does when it was killed, too.
    for is_guardian_killed in [false, true] {
        let run = RunBuilder::sh("sleep 600").start();
        run.until_running();
        let socket = run.socket();
        assert!(socket.exists());
        let supervisor = run.supervisor_pid();
        if is_guardian_killed {
            run.signal(Signal::SIGKILL);
        }
        kill(supervisor, Signal::SIGKILL);
        let run = run.finish();
        if is_guardian_killed {
            until("nobody holds the run any more", || {
                let done = Command::new(binary())
                    .arg("finalize")
                    .arg(run.recording.path())
                    .output();
                done.unwrap().status.success().then_some(())
            });
        }
        assert!(!socket.exists(), "{is_guardian_killed}");
        assert!(run.recording.status()["error"]["code"].is_string());
    }
}
