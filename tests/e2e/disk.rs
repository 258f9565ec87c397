//! Disks that are read-only, gone or broken, and recordings that the workload could reach.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash_follower::is_terminal;
use crate::harness::need::{need, skip};
use crate::harness::run::{Finished, binary};
use crate::harness::{Recording, RunBuilder, SmallDisk};

/// Longest time that a run may take to its end once its disk is full: three steps of half a second for the record, the
/// drain of the API, and what a busy machine adds.
pub const FULL_END_LIMIT: Duration = Duration::from_secs(8);

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
pub fn assert_repairable(recording: &Recording) {
    let done = finalize(recording.path());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    match recording.missing() {
        None => recording.assert_whole(),
        Some(_) => recording.assert_missing_is_told(),
    }
}

pub fn error_code(recording: &Recording) -> Value {
    recording.status()["error"]["code"].clone()
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
        .arg(disk.top())
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
pub fn shim(directory: &Path) -> Option<PathBuf> {
    compiled(directory, "fsync_shim")
}

/// A library of the fixtures, to be loaded by LD_PRELOAD; none where no compiler is.
pub fn compiled(directory: &Path, name: &str) -> Option<PathBuf> {
    let cc = need("cc")?;
    let library = directory.join(format!("{name}.so"));
    let source = format!("{}/tests/e2e/fixtures/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(cc)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([&source, "-ldl"])
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
fn a_name_that_cannot_be_made_durable_is_never_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = shim(directory.path()) else {
        return;
    };
    // The first sync of the log makes the names of the run's directory and of its files durable; what is replaced later has a
    // sync of its own.
    for (names, told) in [
        ("/recordings$:1", "cannot sync events.jsonl"),
        ("/recordings/run$:2", "status.json was not written"),
    ] {
        let run = RunBuilder::sh("exit 0")
            .env("LD_PRELOAD", &library)
            .env("FSYNC_SHIM", names)
            .finish();
        assert!(run.stderr.contains("os error 5"), "{names}: {}", run.stderr);
        assert!(run.stderr.contains(told), "{names}: {}", run.stderr);
    }
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
