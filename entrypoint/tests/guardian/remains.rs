//! Nothing that descends from a run is left after it, and nothing dead is left during it.

use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::{PATIENT, Plan, Run, field, is_alive, pids, wait_until};

#[test]
fn daemons_are_killed_after_the_supervisor() {
    for end in ["exit:0", "die:9"] {
        let mut run = Run::start(&["orphans:20", "mark:up", "until:15", end]);
        run.wait_for("up");
        // Each round is a sleep, and a shell with a sleep: three survivors.
        wait_until("the daemons", || (run.sleepers() == 40).then_some(()));
        run.signal(Signal::SIGTERM);
        run.ends_with(125);
        assert_eq!(run.processes(), [0; 0]);
        assert!(
            run.finalized().contains(" --survivors 60"),
            "{}",
            run.finalized()
        );
    }
}

#[test]
fn a_finished_run_leaves_nothing_either() {
    let mut run = Run::start(&["orphans:5", "say:finished", "exit:0"]);
    run.ends_with(0);
    assert_eq!(run.processes(), [0; 0]);
}

#[test]
fn a_requested_sweep_spares_the_supervisor_and_what_it_names() {
    let steps = [
        "orphans:2",
        "sleeper",
        "gate:open",
        "sweep-keeping-sleeper",
        "swept",
        "mark:swept",
        "until:15",
        "say:finished",
        "exit:0",
    ];
    let mut run = Run::start(&steps);
    let sleeper: i32 = run.wait_for("sleeper")[0].parse().expect("a pid");
    wait_until("the daemons", || (run.sleepers() == 5).then_some(()));
    std::fs::write(run.path("open"), "").expect("an open gate");
    run.wait_for("swept");
    assert_eq!(run.read("messages"), "swept 7 6 0\n");
    assert!(is_alive(sleeper));
    // The guardian, where it may be looked into, the supervisor, and the sleeper.
    let others = run.processes().into_iter().filter(|pid| *pid != run.pid());
    assert_eq!(others.count(), 2);
    run.signal(Signal::SIGTERM);
    run.ends_with(0);
    assert!(!is_alive(sleeper));
}

#[test]
fn a_thousand_zombies_at_once_are_reaped() {
    let mut run = Run::start(&[
        "zombies:1000",
        "mark:handed",
        "until:15",
        "say:finished",
        "exit:0",
    ]);
    run.wait_for("handed");
    let guardian = run.pid().to_string();
    let is_child = |pid: &i32| field(*pid, "PPid").as_deref() == Some(guardian.as_str());
    wait_until("the supervisor alone", || {
        (pids().iter().filter(|pid| is_child(pid)).count() == 1).then_some(())
    });
    run.signal(Signal::SIGTERM);
    run.ends_with(0);
}

#[test]
fn the_supervisor_dies_with_its_guardian_and_the_lock_is_free() {
    let mut run = Run::start(&["mark:up", "deaf"]);
    let supervisor: i32 = run.wait_for("up")[0].parse().expect("a pid");
    let lock = File::open(run.path("run.lock")).expect("a lock file");
    assert!(lock.try_lock().is_err(), "the run must be locked");
    kill(Pid::from_raw(run.pid()), Signal::SIGKILL).expect("a living guardian");
    run.wait();
    wait_until("the supervisor's death", || {
        (!is_alive(supervisor)).then_some(())
    });
    wait_until("a free lock", || lock.try_lock().ok());
}

#[test]
fn the_run_is_locked_while_finalize_works() {
    let mut run = Plan::new(PATIENT).finalize("hang").start(&["die:9"]);
    run.wait_for("finalized");
    let lock = File::open(run.path("run.lock")).expect("a lock file");
    assert!(lock.try_lock().is_err(), "the run must be locked");
    run.ends_with(125);
    lock.try_lock().expect("a free lock");
}
