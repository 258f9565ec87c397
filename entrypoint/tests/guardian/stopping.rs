//! Patience with a supervisor that does not stop.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use stockade_entrypoint::message::SAME_SIGNAL_INTERVAL;

use crate::run::{DEFAULT_SIGNALS, Plan, Run, wait_until};

/// Flags of a run with this backstop and grace.
fn flags<'a>(backstop_ms: &'a str, grace_ms: &'a str) -> [&'a str; 4] {
    ["--backstop-ms", backstop_ms, "--grace-ms", grace_ms]
}

/// Checks cause, stop request and time of an end by force.
fn check(run: &mut Run, started_at: Instant, words: &str, bounds_ms: [u64; 2]) {
    run.ends_with(125);
    let took = started_at.elapsed();
    assert!(run.finalized().contains(words), "{}", run.finalized());
    let [least, most] = bounds_ms.map(Duration::from_millis);
    assert!(took >= least && took < most, "{took:?}");
}

#[test]
fn a_supervisor_that_ignores_a_stop_is_killed_two_seconds_after_the_grace() {
    let mut run = Plan::new(&flags("0", "200")).start(&["mark:up", "deaf"]);
    run.wait_for("up");
    let started_at = Instant::now();
    run.signal(Signal::SIGTERM);
    check(
        &mut run,
        started_at,
        "--cause backstop --stop-requested 1",
        [2200, 8000],
    );
}

#[test]
fn a_second_stop_leaves_two_seconds() {
    let mut run = Plan::new(&flags("0", "60000"))
        .wrapped(DEFAULT_SIGNALS)
        .start(&["mark:up", "deaf"]);
    run.wait_for("up");
    let started_at = Instant::now();
    run.signal(Signal::SIGTERM);
    run.signal(Signal::SIGQUIT);
    check(
        &mut run,
        started_at,
        "--cause backstop --stop-requested 1",
        [2000, 8000],
    );
}

#[test]
fn the_same_signal_twice_at_once_is_one_request_for_both_sides() {
    let steps = [
        "mark:up",
        "until:15",
        "mark:first",
        "until:28",
        "mark:heard",
        "deaf",
    ];
    // A host that is too slow to signal twice within the interval gets another try.
    let mut run = wait_until("two signals in the interval", || {
        let run = Plan::new(&flags("0", "60000"))
            .wrapped(DEFAULT_SIGNALS)
            .start(&steps);
        run.wait_for("up");
        let first_at = Instant::now();
        run.signal(Signal::SIGTERM);
        run.wait_for("first");
        run.signal(Signal::SIGTERM);
        // Behind SIGTERM in the order in which the kernel hands out what is pending.
        run.signal(Signal::SIGWINCH);
        run.wait_for("heard");
        (first_at.elapsed() < SAME_SIGNAL_INTERVAL).then_some(run)
    });
    let messages = run.read("messages");
    let n_terms = messages
        .lines()
        .filter(|line| line.starts_with("signal 15 "))
        .count();
    assert_eq!(n_terms, 1, "{messages}");
    // This is the second request; were it the third, the supervisor would be killed half a second later.
    let started_at = Instant::now();
    run.signal(Signal::SIGQUIT);
    check(
        &mut run,
        started_at,
        "--cause backstop --stop-requested 1",
        [2000, 8000],
    );
}

#[test]
fn a_third_stop_kills_within_half_a_second() {
    let mut run = Plan::new(&flags("0", "60000"))
        .wrapped(DEFAULT_SIGNALS)
        .start(&["mark:up", "deaf"]);
    run.wait_for("up");
    let started_at = Instant::now();
    for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP] {
        run.signal(signal);
    }
    check(
        &mut run,
        started_at,
        "--cause backstop --stop-requested 1",
        [500, 2000],
    );
}

#[test]
fn the_backstop_of_the_deadline_needs_no_stop() {
    let started_at = Instant::now();
    let mut run = Plan::new(&flags("300", "60000")).start(&["deaf"]);
    check(
        &mut run,
        started_at,
        "--cause deadline --stop-requested 0",
        [300, 8000],
    );
}

#[test]
fn a_stop_that_the_supervisor_announces_is_guarded_too() {
    let started_at = Instant::now();
    let mut run =
        Plan::new(&flags("0", "60000")).start(&["say:stopping", "say:stopping 100", "deaf"]);
    check(
        &mut run,
        started_at,
        "--cause backstop --stop-requested 0",
        [2100, 8000],
    );
}

#[test]
fn a_stopped_supervisor_is_killed_as_well() {
    let mut run = Plan::new(&flags("500", "0")).start(&["mark:up", "die:19", "deaf"]);
    run.ends_with(125);
    assert!(
        run.finalized().contains("--cause deadline"),
        "{}",
        run.finalized()
    );
}
