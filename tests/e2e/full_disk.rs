//! Disks that are full, for a while or to the end: nothing is lost that had room, and what is lost is told.

use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crash_follower::over_socket;
use crate::disk::{FULL_END_LIMIT, assert_repairable, error_code, go};
use crate::harness::{RunBuilder, SmallDisk, until};
use crate::process_table;

/// Waits for a file of the workspace, then puts out 2,000 lines of 100 bytes.
const LINES: &str = "echo ready; until [ -e go ]; do sleep 0.02; done; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); printf '%100d\\n' $i; done";

/// Waits until the status says that the disk is full, and gives its words.
fn until_full(socket: &Path) -> String {
    until("the status says that the disk is full", || {
        let (_, status) = over_socket(socket, "GET", "/status", "");
        let recordings = &status["recordings"];
        (recordings["healthy"] == false).then(|| recordings["error"].as_str().unwrap().to_owned())
    })
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
    assert!(until_full(&socket).contains("full"));
    disk.free();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    assert_eq!(run.recording.status()["recordings"]["healthy"], true);
    let text = run.recording.output();
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
            run.stderr
                .contains("status.json was written without its actions"),
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
    until_full(&socket);
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
    run.recording.assert_missing_is_told();
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
    until_full(&socket);
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
