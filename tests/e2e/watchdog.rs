//! A supervisor that hangs: the guardian's watchdog, and the backstop behind the deadline.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash_follower::wait_until;
use crate::disk::shim;
use crate::harness::run::{Run, kill};
use crate::harness::{RunBuilder, until};
use crate::process_table;

/// Has a daemon in a session of its own that ignores everything it can, and goes on until it is told.
const SCRIPT: &str = "setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' & \
                      echo ready; until [ -e go ]; do sleep 0.02; done";

fn until_stopped(pid: i32) {
    until("the process is stopped", || {
        process_table::read(pid)
            .is_some_and(|process| process.state == 'T')
            .then_some(())
    });
}

fn started(flags: &[&str]) -> Run {
    let builder = flags
        .iter()
        .fold(RunBuilder::sh(SCRIPT), |builder, flag| builder.flag(*flag));
    let run = builder.start();
    run.until_stdout("ready");
    run.until_running();
    run
}

#[test]
fn a_supervisor_that_hangs_is_killed_by_the_watchdog_and_the_record_says_so() {
    let run = started(&["--watchdog=2"]);
    let directory = run.directory.path().to_owned();
    kill(run.supervisor_pid(), Signal::SIGSTOP);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "SUPERVISOR_CRASHED", "{status}");
    let message = status["error"]["message"].as_str().unwrap();
    assert!(message.contains("did not answer the watchdog"), "{message}");
    run.recording.assert_whole();
    assert_eq!(process_table::of_run(&directory), [""; 0]);
}

#[test]
fn a_supervisor_that_hangs_after_a_stop_was_asked_for_leaves_a_stopped_run() {
    let run = started(&["--watchdog=2", "--grace=60"]);
    kill(run.supervisor_pid(), Signal::SIGSTOP);
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "RUN_TERMINATED", "{status}");
    run.recording.assert_whole();
}

#[test]
fn a_supervisor_that_sleeps_past_the_deadline_is_killed_by_the_backstop() {
    let began = Instant::now();
    let run = started(&["--watchdog=0", "--timeout=4", "--grace=1"]);
    let directory = run.directory.path().to_owned();
    kill(run.supervisor_pid(), Signal::SIGSTOP);
    let run = run.finish();
    // Timeout, grace, and 8 s behind them.
    assert!(began.elapsed() >= Duration::from_secs(4 + 1 + 8));
    assert_eq!(run.code(), 124, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["status"], "timeout", "{status}");
    assert_eq!(status["outcome"]["by"], "deadline", "{status}");
    // It was the guardian that ended it: a supervisor records the limit first.
    assert!(run.recording.events_of("limit").is_empty());
    run.recording.assert_whole();
    assert_eq!(process_table::of_run(&directory), [""; 0]);
}

#[test]
fn a_run_that_is_stopped_as_a_whole_and_continued_goes_on() {
    let run = started(&["--watchdog=2"]);
    let workspace = run.directory.path().join("workspace");
    let (guardian, supervisor) = (run.guardian_pid(), run.supervisor_pid());
    for pid in [guardian, supervisor] {
        kill(pid, Signal::SIGSTOP);
        until_stopped(pid);
    }
    // Longer than the supervisor may be silent.
    wait_until(Instant::now() + Duration::from_secs(4));
    // The one that could kill wrongly is up first.
    kill(guardian, Signal::SIGCONT);
    kill(supervisor, Signal::SIGCONT);
    std::fs::write(workspace.join("go"), "").unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
}

#[test]
fn a_disk_that_is_slower_than_the_watchdog_is_no_hang() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = shim(directory.path()) else {
        return;
    };
    // Every sync of the log takes longer than the supervisor may be silent, once the run is under way.
    let run = RunBuilder::sh("for i in 1 2 3 4 5; do echo $i; sleep 1; done; echo end")
        .flag("--watchdog=3")
        .env("LD_PRELOAD", &library)
        .env("FSYNC_SHIM", "slow=4000:4")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(run.stdout.ends_with("end\n"), "{}", run.stdout);
    assert!(!run.stderr.contains("does not answer"), "{}", run.stderr);
    assert_eq!(run.recording.status()["status"], "completed");
}
