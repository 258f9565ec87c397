//! The watch over a supervisor that may hang.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::run::{Plan, field, wait_until};

/// Flags of a run with this watchdog, whose other clocks no test outwaits.
fn flags(watchdog_ms: &str) -> [&str; 6] {
    [
        "--backstop-ms",
        "0",
        "--grace-ms",
        "60000",
        "--watchdog-ms",
        watchdog_ms,
    ]
}

#[test]
fn a_supervisor_that_does_not_answer_is_killed_and_the_cause_is_told() {
    let started_at = Instant::now();
    let mut run = Plan::new(&flags("600")).start(&["mark:up", "deaf"]);
    run.wait_for("up");
    run.ends_with(125);
    assert!(started_at.elapsed() >= Duration::from_millis(600));
    let told = run.finalized();
    assert!(
        told.contains("--cause watchdog --stop-requested 0"),
        "{told}"
    );
    assert!(run.read("stderr").contains("does not answer and is killed"));
}

#[test]
fn what_a_supervisor_says_beside_is_no_answer() {
    // It goes on to talk without ever reading: the task that drives the run may hang all the same.
    let mut run = Plan::new(&flags("900")).start(&["mark:up", "talk:shows 1"]);
    run.wait_for("up");
    run.ends_with(125);
    let told = run.finalized();
    assert!(told.contains("--cause watchdog"), "{told}");
}

#[test]
fn a_supervisor_that_answers_is_left_alone() {
    let steps = ["mark:up", "alive:7", "say:finished", "exit:0"];
    let mut run = Plan::new(&flags("1500")).start(&steps);
    run.ends_with(0);
}

#[test]
fn a_guardian_that_was_stopped_itself_asks_again_before_it_kills() {
    let interval = Duration::from_millis(800);
    let steps = [
        "asked:3",
        "mark:third",
        "gate:go",
        "alive:4",
        "say:finished",
        "exit:0",
    ];
    // A host that is too slow to stop the guardian within an interval gets another try.
    let mut run = wait_until("a guardian that is stopped in time", || {
        let run = Plan::new(&flags("2400")).start(&steps);
        run.wait_for("third");
        run.signal(Signal::SIGSTOP);
        let is_stopped = || field(run.pid(), "State").is_some_and(|state| state.starts_with('T'));
        wait_until("the guardian is stopped", || {
            (is_stopped() || run.path("finalized").exists()).then_some(())
        });
        (is_stopped() && run.read("stderr").is_empty()).then_some(run)
    });
    // The instant at which it would have given up passes, and more than an interval on top of it.
    let ends_at = Instant::now() + interval * 3;
    while let Some(left) = ends_at.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    run.signal(Signal::SIGCONT);
    std::fs::write(run.path("go"), "").expect("a gate");
    run.ends_with(0);
}
