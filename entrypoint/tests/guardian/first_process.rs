//! The guardian as PID 1 of a pid namespace.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::{PATIENT, Plan, Run, field, pids, skip, wait_until};

/// Runs a command as PID 1; it is killed if unshare is.
const NAMESPACE: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Starts a run as PID 1, or says why that cannot be.
fn start(steps: &[&str]) -> Option<Run> {
    let (program, arguments) = NAMESPACE.split_first().expect("a program");
    let probe = Command::new(program).args(arguments).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip("no pid namespace can be made here");
        return None;
    }
    Some(Plan::new(PATIENT).wrapped(NAMESPACE).start(steps))
}

/// The pid of PID 1 as seen from here: the child of unshare.
fn guardian(run: &Run) -> Pid {
    let unshare = run.pid().to_string();
    let child = pids()
        .into_iter()
        .find(|pid| field(*pid, "PPid").as_deref() == Some(unshare.as_str()));
    Pid::from_raw(child.expect("a guardian"))
}

#[test]
fn pid_1_passes_signals_on_and_leaves_nothing() {
    let Some(mut run) = start(&[
        "orphans:10",
        "mark:up",
        "until:50",
        "until:15",
        "say:finished",
        "exit:42",
    ]) else {
        return;
    };
    run.wait_for("up");
    wait_until("the daemons", || (run.sleepers() == 20).then_some(()));
    let pid = guardian(&run);
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -50 {pid}")])
            .output()
            .expect("a shell")
            .status
            .success()
    );
    // The kernel would hand out the lower number first.
    run.wait_for("messages");
    kill(pid, Signal::SIGTERM).expect("a living guardian");
    run.ends_with(42);
    assert_eq!(run.processes(), [0; 0]);
    // The sender is outside the namespace, so it has no pid inside.
    assert_eq!(
        run.read("messages")
            .lines()
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>(),
        ["signal 50 0", "signal 15 0"]
    );
}

#[test]
fn pid_1_finalizes_and_counts_survivors() {
    let Some(mut run) = start(&["orphans:10", "gate:open", "die:9"]) else {
        return;
    };
    wait_until("the daemons", || (run.sleepers() == 20).then_some(()));
    std::fs::write(run.path("open"), "").expect("an open gate");
    run.ends_with(125);
    assert_eq!(run.processes(), [0; 0]);
    let finalized = run.finalized();
    assert!(
        finalized.contains("--cause signaled:9 --stop-requested 0 --survivors 30 "),
        "{finalized}"
    );
    assert_eq!(
        finalized.matches("--survivor-name=").count(),
        30,
        "{finalized}"
    );
}

#[test]
fn pid_1_reaps_a_thousand_zombies() {
    let Some(mut run) = start(&[
        "zombies:1000",
        "mark:handed",
        "gate:open",
        "say:finished",
        "exit:0",
    ]) else {
        return;
    };
    run.wait_for("handed");
    let guardian = guardian(&run).to_string();
    let is_child = |pid: &i32| field(*pid, "PPid").as_deref() == Some(guardian.as_str());
    wait_until("the supervisor alone", || {
        (pids().iter().filter(|pid| is_child(pid)).count() == 1).then_some(())
    });
    std::fs::write(run.path("open"), "").expect("an open gate");
    run.ends_with(0);
}
