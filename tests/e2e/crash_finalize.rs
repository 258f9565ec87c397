//! `stockade finalize` at once, killed and run again: one end, whatever happens.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash::{At, Doomed, Victim, finalize};
use crate::crash_follower::{Random, rounds, wait_until};
use crate::harness::need::skip;
use crate::harness::run::{Finished, binary, kill};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Recording, Run, RunBuilder, until};
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

#[test]
fn the_crash_status_that_stands_is_never_changed_by_a_later_finalize() {
    let (_kept, remains) = remains();
    for is_stopped in [false, true] {
        let path = remains.with_file_name(format!("crashed-{is_stopped}"));
        copy(&remains, &path);
        // What the guardian does when its own finalize cannot start.
        std::fs::rename(path.join(".status.crash"), path.join("status.json")).unwrap();
        if is_stopped {
            std::fs::write(path.join("stop.json"), r#"{"by":{"signal":15}}"#).unwrap();
        }
        let recording = Recording::at(&path);
        let before = recording.status();
        assert_eq!(before["error"]["code"], "SUPERVISOR_CRASHED", "{before}");
        assert_eq!(before["action_count"], 0, "{before}");
        for _ in 0..2 {
            finalize(&path);
            let after = recording.status();
            for field in ["status", "outcome", "error"] {
                assert_eq!(after[field], before[field], "{after}");
            }
            // The log knows the rest.
            assert_eq!(after["action_count"], 1, "{after}");
            assert!(after["epoch"].is_string(), "{after}");
            let ends = recording.events_of("complete");
            assert_eq!(ends.len(), 1, "{ends:?}");
            assert_eq!(ends[0]["error"], before["error"], "{ends:?}");
            recording.assert_whole();
        }
    }
}

/// Those of the run that are not the workload, from the guardian to the in-sandbox init.
fn its_own(run: &Run) -> [i32; 4] {
    let supervisor = run.supervisor_pid();
    let helper = process_table::live_child(supervisor).unwrap();
    let init = process_table::namespace_init(helper).unwrap();
    [run.guardian_pid(), supervisor, helper, init]
}

/// The agent, and what it left in a session of its own.
const WITH_DAEMON: &str = "setsid sleep 600 & echo ready; while :; do sleep 0.05; done";

fn assert_named(run: &Finished, names: &[&str]) {
    let status = run.recording.status();
    let survivors = &status["survivors"];
    assert!(
        survivors["killed"].as_u64() >= Some(names.len() as u64),
        "{status}"
    );
    let told = survivors["names"].as_array().unwrap();
    for name in names {
        assert!(told.contains(&(*name).into()), "{name}: {status}");
    }
    until("nothing of the run is left", || {
        let left = process_table::of_run(run.directory.path());
        left.is_empty().then_some(())
    });
    run.recording.assert_whole();
}

#[test]
fn what_the_guardian_kills_behind_a_supervisor_is_counted_and_named() {
    for tier in ["full", "none"] {
        let run = RunBuilder::sh(WITH_DAEMON)
            .flag("--isolation")
            .flag(tier)
            .start();
        run.until_stdout("ready");
        let [_, supervisor, helper, init] = its_own(&run);
        // Else they end the workload before the guardian looks.
        kill(init, Signal::SIGSTOP);
        kill(helper, Signal::SIGSTOP);
        kill(supervisor, Signal::SIGKILL);
        let run = run.finish();
        assert_eq!(
            run.recording.status()["error"]["code"],
            "SUPERVISOR_CRASHED"
        );
        assert_named(&run, &["sh", "sleep"]);
    }
}

#[test]
fn what_lives_on_behind_all_that_would_have_ended_it_is_killed_counted_and_named_by_finalize() {
    let run = RunBuilder::sh(WITH_DAEMON)
        .flag("--isolation")
        .flag("none")
        .start();
    run.until_stdout("ready");
    let isolation = run.recording().events_of("isolation");
    if isolation[0]["groups"].as_array().is_none_or(Vec::is_empty) {
        skip("the host gives a run no control group");
        return;
    }
    finalize_finds_the_daemon(run);
}

#[test]
fn what_lives_on_in_no_control_group_is_found_by_its_environment() {
    let run = RunBuilder::sh(WITH_DAEMON)
        .flag("--isolation")
        .flag("none")
        .start();
    run.until_stdout("ready");
    let groups = run.recording().events_of("isolation")[0]["groups"].clone();
    for group in groups.as_array().into_iter().flatten() {
        let group = Path::new(group.as_str().unwrap());
        // As if there had never been one; the parent of a group of ours is none of ours.
        let pids = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        for pid in pids.lines() {
            std::fs::write(group.parent().unwrap().join("cgroup.procs"), pid).unwrap();
        }
    }
    finalize_finds_the_daemon(run);
}

/// Kills all that is ours at once; what the workload had left lives on until the record is finalized.
fn finalize_finds_the_daemon(run: Run) {
    let own = its_own(&run);
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in own {
            kill(pid, signal);
        }
    }
    let path = run.recording().path().to_owned();
    let run = run.finish();
    let left = process_table::of_run(run.directory.path());
    assert!(!left.is_empty(), "something outlives the run");
    until("the run can be finalized", || {
        let done = Command::new(binary()).arg("finalize").arg(&path).output();
        done.unwrap().status.success().then_some(())
    });
    assert_eq!(run.recording.status()["error"]["code"], "LOST");
    // What the init launched died with it; what that had left did not.
    assert_named(&run, &["sleep"]);
}
