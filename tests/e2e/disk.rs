//! Disks that are full, read-only, gone or broken, and recordings that the workload could reach.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crash_follower::{is_terminal, over_socket};
use crate::harness::need::{need, skip};
use crate::harness::run::{Finished, binary};
use crate::harness::{Recording, RunBuilder, until};
use crate::process_table;

/// Waits for a file of the workspace, then puts out 2,000 lines of 100 bytes.
const LINES: &str = "echo ready; until [ -e go ]; do sleep 0.02; done; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); printf '%100d\\n' $i; done";

/// Longest time that a run may take to its end once its disk is full: three steps of half a second for the record, the
/// drain of the API, and what a busy machine adds.
const FULL_END_LIMIT: Duration = Duration::from_secs(8);

/// A small file system of its own; unmounted when dropped.
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None, said aloud, where mounting is not allowed.
    pub fn new(options: &str) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            skip("mounting a small file system needs root");
            return None;
        }
        need("mount")?;
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "stockade-test"])
            .arg(directory.path())
            .output()
            .unwrap();
        if !mounted.status.success() {
            skip(&format!(
                "cannot mount: {}",
                String::from_utf8_lossy(&mounted.stderr)
            ));
            return None;
        }
        Some(Self { directory })
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("recordings")
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// Gives back `n_bytes` of what was filled.
    fn free_some(&self, n_bytes: u64) {
        let filler = std::fs::File::options()
            .write(true)
            .open(self.filler())
            .unwrap();
        let filled = filler.metadata().unwrap().len();
        filler.set_len(filled - n_bytes).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .output();
    }
}

pub fn go(workspace: &Path) {
    std::fs::write(workspace.join("go"), b"").unwrap();
}

pub fn finalize(path: &Path) -> std::process::Output {
    Command::new(binary())
        .arg("finalize")
        .arg(path)
        .output()
        .unwrap()
}

/// Whatever happened to the disk: no line is torn, and one finalize gives the record a sound end, in which nothing is missing
/// that is not told.
fn assert_repairable(recording: &Recording) {
    let done = finalize(recording.path());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    match recording.missing() {
        None => recording.assert_whole(),
        Some(_) => assert_missing_is_told(recording),
    }
}

/// The status and `verify` say how many events are missing, and which; all else is in order.
fn assert_missing_is_told(recording: &Recording) {
    let (first, last) = recording.missing().unwrap();
    let numbers = if first == last {
        first.to_string()
    } else {
        format!("{first} to {last}")
    };
    let told = format!(
        "events that the log does not have: {}, with the numbers {numbers}",
        last + 1 - first
    );
    let status = recording.status();
    assert_eq!(status["recordings"]["healthy"], false, "{status}");
    let error = status["recordings"]["error"].as_str().unwrap();
    assert!(error.ends_with(&told), "{error} and not {told}");
    let events = recording.events();
    let end = events.last().unwrap();
    assert_eq!(end["type"], "complete");
    assert_eq!(end["status"], status["status"]);
    assert_eq!(end["seq"], status["last_event_id"]);
    let verified = Command::new(binary())
        .arg("verify")
        .arg(recording.path())
        .output()
        .unwrap();
    assert!(!verified.status.success());
    let findings = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(findings.contains(&told), "{findings}");
}

pub fn error_code(recording: &Recording) -> Value {
    recording.status()["error"]["code"].clone()
}

#[test]
fn a_full_disk_pauses_the_run_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let builder = RunBuilder::sh(LINES).with_recordings(disk.path());
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_stdout("ready");
    let socket = run.socket();
    disk.fill();
    go(&workspace);
    until("the status says that the disk is full", || {
        let (_, status) = over_socket(&socket, "GET", "/status", "");
        let recordings = &status["recordings"];
        (recordings["healthy"] == false)
            .then(|| recordings["error"].as_str().unwrap().contains("full"))
    });
    disk.free();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    assert_eq!(run.recording.status()["recordings"]["healthy"], true);
    let text: String = run
        .recording
        .events_of("action.output")
        .iter()
        .map(|event| event["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, run.stdout);
    assert_eq!(text.lines().count(), 2001);
    assert!(run.stderr.contains("full"), "{}", run.stderr);
}

#[test]
fn a_full_disk_fails_the_run_when_it_is_told_to() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let builder = RunBuilder::sh(&format!("{LINES}; sleep 1000"))
        .with_recordings(disk.path())
        .env("STOCKADE_RECORDING_ON_FULL", "fail");
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_stdout("ready");
    disk.fill();
    go(&workspace);
    let began = Instant::now();
    let run = run.finish();
    assert!(began.elapsed() < FULL_END_LIMIT, "{:?}", began.elapsed());
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(
        run.stderr.contains("No space left on device"),
        "{}",
        run.stderr
    );
    assert!(process_table::of_run(run.directory.path()).is_empty());
    disk.free();
    assert_repairable(&run.recording);
    // The status had no room either, or it had: then it stands.
    let code = error_code(&run.recording);
    assert!(code == "RECORDINGS_UNUSABLE" || code == "LOST", "{code}");
}

#[test]
fn a_disk_that_is_full_at_the_very_end_does_not_hold_the_run() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    for (script, code) in [("exit 7", 7), ("exit 0", 0)] {
        let script = format!("echo ready; until [ -e go ]; do sleep 0.02; done; {script}");
        let builder = RunBuilder::sh(&script).with_recordings(disk.path().join(code.to_string()));
        let workspace = builder.workspace();
        let run = builder.start();
        run.until_stdout("ready");
        disk.fill();
        go(&workspace);
        let began = Instant::now();
        let run = run.finish();
        assert!(began.elapsed() < FULL_END_LIMIT, "{:?}", began.elapsed());
        assert_eq!(run.code(), code, "{}", run.stderr);
        assert!(
            run.stderr.contains("status.json was not written"),
            "{}",
            run.stderr
        );
        // The spare file took the end while there was space for nothing.
        let word = if code == 0 { "completed" } else { "failed" };
        assert_eq!(run.recording.status()["status"], word);
        disk.free();
        assert_repairable(&run.recording);
        assert_eq!(run.recording.status()["status"], word);
        assert_eq!(run.recording.status()["outcome"]["exit_code"], code);
    }
}

#[test]
fn the_end_gets_into_the_log_where_a_large_group_did_not() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let script = format!("{LINES}; until [ -e end ]; do sleep 0.02; done; exit 7");
    let builder = RunBuilder::sh(&script).with_recordings(disk.path());
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_stdout("ready");
    let socket = run.socket();
    disk.fill();
    go(&workspace);
    until("the status says that the disk is full", || {
        let (_, status) = over_socket(&socket, "GET", "/status", "");
        (status["recordings"]["healthy"] == false).then_some(())
    });
    run.until_stdout(&format!("{:100}", 2000));
    // Room for the end, and not for the 200 KiB that wait.
    disk.free_some(32 * 1024);
    std::fs::write(workspace.join("end"), b"").unwrap();
    let began = Instant::now();
    let run = run.finish();
    assert!(began.elapsed() < FULL_END_LIMIT, "{:?}", began.elapsed());
    assert_eq!(run.code(), 7, "{}", run.stderr);
    // 200 KiB find no room in 32.
    let (first, last) = run.recording.missing().unwrap();
    let told = format!("{}, with the numbers {first} to {last}", last + 1 - first);
    assert!(
        run.stderr.contains(&told),
        "{} is not in {}",
        told,
        run.stderr
    );
    assert_eq!(run.recording.status()["status"], "failed");
    assert_missing_is_told(&run.recording);
    // What a finalize makes of it says the same.
    disk.free();
    let before = run.recording.lines();
    assert_repairable(&run.recording);
    assert_eq!(run.recording.lines(), before);
    assert_eq!(run.recording.status()["outcome"]["exit_code"], 7);
}

#[test]
fn a_flood_on_a_full_disk_can_be_stopped() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let run = RunBuilder::sh(
        "echo ready; while :; do echo 0123456789012345678901234567890123456789; done",
    )
    .with_recordings(disk.path())
    .flag("--grace")
    .flag("3")
    .start();
    run.until_stdout("ready");
    let socket = run.socket();
    until("the disk is full", || {
        let (_, status) = over_socket(&socket, "GET", "/status", "");
        (status["recordings"]["healthy"] == false).then_some(())
    });
    let directory = run.directory.path().to_owned();
    let began = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert!(began.elapsed() < FULL_END_LIMIT, "{:?}", began.elapsed());
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    until("nothing of the run is left", || {
        process_table::of_run(&directory).is_empty().then_some(())
    });
    assert!(
        run.recording
            .lines()
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
}

#[test]
fn recordings_that_cannot_be_written_are_refused_with_a_clear_error() {
    let refused = |run: &Finished| {
        assert_eq!(run.code(), 125, "{}", run.stderr);
        assert!(run.stderr.contains("RECORDINGS_UNUSABLE"), "{}", run.stderr);
        assert_eq!(run.stdout, "", "the command was started");
    };
    let run = RunBuilder::sh("echo ran")
        .with_recordings("/dev/null/nowhere")
        .finish();
    refused(&run);
    assert!(run.stderr.contains("Not a directory"), "{}", run.stderr);
    let Some(disk) = SmallDisk::new("size=1m") else {
        return;
    };
    std::fs::create_dir(disk.path()).unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.directory.path())
        .output();
    assert!(remounted.unwrap().status.success());
    let run = RunBuilder::sh("echo ran")
        .with_recordings(disk.path())
        .finish();
    refused(&run);
    assert!(
        run.stderr.contains("Read-only file system"),
        "{}",
        run.stderr
    );
    // A disk that is full before the start.
    let Some(disk) = SmallDisk::new("size=64k") else {
        return;
    };
    std::fs::create_dir(disk.path()).unwrap();
    disk.fill();
    let run = RunBuilder::sh("echo ran")
        .with_recordings(disk.path())
        .finish();
    refused(&run);
    assert!(
        run.stderr.contains("No space left on device"),
        "{}",
        run.stderr
    );
}

#[test]
fn recordings_of_another_user_are_refused_with_a_clear_error() {
    if !nix::unistd::Uid::effective().is_root() {
        skip("becoming another user needs root");
        return;
    }
    let builder = RunBuilder::sh("echo ran").with_own_binary();
    std::fs::create_dir(builder.recordings()).unwrap();
    let output = builder.command().uid(1000).gid(1000).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.is_empty() && output.status.code().is_none() {
        skip("another user cannot start the binary here");
        return;
    }
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(
        said.contains("RECORDINGS_UNUSABLE") && said.contains("Permission denied"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_directory_that_vanishes_does_not_hold_the_run() {
    let builder =
        RunBuilder::sh("echo ready; until [ -e go ]; do sleep 0.02; done; echo more; exit 5");
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_stdout("ready");
    run.until_running();
    std::fs::remove_dir_all(run.recording().path()).unwrap();
    go(&workspace);
    let began = Instant::now();
    let run = run.finish();
    assert!(began.elapsed() < FULL_END_LIMIT, "{:?}", began.elapsed());
    assert_eq!(run.code(), 5, "{}", run.stderr);
    assert_eq!(run.stdout, "ready\nmore\n");
    assert!(
        run.stderr.contains("status.json was not written"),
        "{}",
        run.stderr
    );
    assert!(!run.recording.path().exists());
}

/// Compiles the shim; none, said aloud, without a C compiler.
fn shim(directory: &Path) -> Option<PathBuf> {
    let cc = need("cc")?;
    let library = directory.join("fsync_shim.so");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/fixtures/fsync_shim.c"
    );
    let output = Command::new(cc)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(library)
}

#[test]
fn a_sync_error_is_final_and_never_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = shim(directory.path()) else {
        return;
    };
    // The third fdatasync of the log comes when the run is under way, the sixth later.
    for (policy, call) in [("stop", 3), ("stop", 6), ("continue", 3), ("continue", 6)] {
        let context = format!("{policy}, call {call}");
        let run =
            RunBuilder::sh("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.15; done; echo end")
                .env("LD_PRELOAD", &library)
                .env("FSYNC_SHIM", format!("events.jsonl:{call}"))
                .env("STOCKADE_RECORDING_ON_ERROR", policy)
                .finish();
        let status = run.recording.status();
        assert_eq!(
            status["recordings"]["healthy"], false,
            "{context}: {status}\n{}",
            run.stderr
        );
        let error = status["recordings"]["error"].as_str().unwrap();
        assert!(
            error.contains("sync") && error.contains("os error 5"),
            "{context}: {error}"
        );
        assert!(
            run.stderr.contains("os error 5"),
            "{context}: {}",
            run.stderr
        );
        if policy == "stop" {
            assert_eq!(run.code(), 125, "{context}: {}", run.stderr);
            assert_eq!(status["error"]["code"], "RECORDINGS_UNUSABLE", "{context}");
            assert!(!run.stdout.contains("end"), "{context}");
        } else {
            assert_eq!(run.code(), 0, "{context}: {}", run.stderr);
            assert_eq!(status["status"], "completed", "{context}");
            assert!(run.stdout.ends_with("end\n"), "{context}");
        }
        assert!(is_terminal(&status));
        // Nothing is corrupt, and a later finalize does not change its mind about how the run ended.
        assert_repairable(&run.recording);
        let finalized = run.recording.status();
        assert_eq!(finalized["status"], status["status"], "{context}");
        assert_eq!(
            finalized["error"]["code"], status["error"]["code"],
            "{context}"
        );
    }
}

#[test]
fn a_status_that_cannot_be_synced_is_said_on_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = shim(directory.path()) else {
        return;
    };
    let run = RunBuilder::sh("exit 3")
        .env("LD_PRELOAD", &library)
        .env("FSYNC_SHIM", "status.json:1")
        .finish();
    // The probe of the start, or the end: it is never passed over in silence, and never reported as done.
    assert!([3, 125].contains(&run.code()), "{}", run.stderr);
    assert!(run.stderr.contains("os error 5"), "{}", run.stderr);
    assert!(
        run.recording
            .try_status()
            .is_none_or(|status| status["recordings"]["healthy"] == false)
    );
}

#[test]
fn recordings_inside_the_workspace_are_hidden_from_the_workload_or_refused() {
    let inside = |builder: RunBuilder| {
        let recordings = builder.workspace().join("records");
        builder.with_recordings(recordings)
    };
    let run = inside(RunBuilder::sh(
        "ls -A records; cat records/run/claim.json; touch records/x; ls -A records",
    ))
    .finish();
    assert!(
        !run.stdout.contains("run") && !run.stdout.contains("pid"),
        "{}",
        run.stdout
    );
    assert!(!run.recording.path().parent().unwrap().join("x").exists());
    run.recording.assert_whole();

    let run = inside(RunBuilder::sh("echo ran").flag("--isolation").flag("none")).finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(run.stderr.contains("RECORDINGS_UNUSABLE"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert!(
        !run.recording.path().parent().unwrap().exists(),
        "nothing is written"
    );

    // The same place by another name.
    let builder = RunBuilder::sh("echo ran").flag("--isolation").flag("none");
    let link = builder.workspace().with_file_name("link");
    std::os::unix::fs::symlink(builder.workspace(), &link).unwrap();
    let run = builder.with_recordings(link.join("records")).finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(run.stderr.contains("RECORDINGS_UNUSABLE"), "{}", run.stderr);
}
