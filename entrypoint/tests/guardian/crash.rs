//! A supervisor that dies leaves a terminal status: by `finalize`, or else by the prepared crash status.

use crate::run::{PATIENT, Plan, Run};

#[test]
fn a_supervisor_killed_by_a_signal_is_finalized() {
    for signal in [9, 11, 6] {
        let mut run = Run::start(&["say:ready", &format!("die:{signal}")]);
        run.ends_with(125);
        let words = format!(
            "--from-guardian --run-dir-fd 3 --lock-fd 4 --cause signaled:{signal} --stop-requested 0 --survivors 0"
        );
        assert_eq!(run.finalized(), words);
        assert_eq!(
            run.read("status.json"),
            "running",
            "the fake finalize leaves it alone, and so must the guardian"
        );
    }
}

#[test]
fn the_code_of_finalize_is_the_code_of_the_run() {
    for (finalize, expected) in [("124", 124), ("2", 2), ("0", 0)] {
        Plan::new(PATIENT)
            .finalize(finalize)
            .start(&["die:9"])
            .ends_with(expected);
    }
}

#[test]
fn the_stop_exit_code_and_the_wish_for_the_status_are_passed_on_to_finalize() {
    let wishes = ["--stop-exit-code", "0", "--print-status", "yes"];
    let mut run = Plan::new(&[PATIENT, &wishes].concat()).start(&["die:9"]);
    run.ends_with(125);
    assert!(
        run.finalized()
            .ends_with(" --survivors 0 --stop-exit-code 0 --print-status yes"),
        "{}",
        run.finalized()
    );
}

#[test]
fn a_finalize_that_fails_is_replaced_by_the_crash_status() {
    for finalize in ["abort", "hang"] {
        let mut run = Plan::new(PATIENT).finalize(finalize).start(&["die:9"]);
        run.ends_with(125);
        assert_eq!(
            run.read("status.json"),
            "crashed",
            "finalize that does {finalize}"
        );
        assert!(!run.path("status.crashed").exists());
    }
}

#[test]
fn a_finalize_that_cannot_start_is_replaced_by_the_crash_status() {
    let mut run = Plan::new(PATIENT)
        .script("rm \"$0\"; kill -9 $$")
        .start(&[]);
    run.ends_with(125);
    assert_eq!(run.read("status.json"), "crashed");
    assert!(
        run.read("stderr")
            .contains("cannot start finalize: No such file or directory"),
        "{}",
        run.read("stderr")
    );
}

#[test]
fn a_supervisor_that_cannot_start_is_told_by_its_error() {
    let mut run =
        Plan::new(&[PATIENT, &["--program", "/nonexistent/stockade"]].concat()).start(&[]);
    run.ends_with(125);
    assert_eq!(run.read("status.json"), "crashed");
    assert!(
        run.read("stderr")
            .contains("cannot start the supervisor: No such file or directory"),
        "{}",
        run.read("stderr")
    );
}

#[test]
fn without_a_prepared_crash_status_the_status_stays_and_stderr_says_so() {
    let mut run = Plan::new(&["--backstop-ms", "0", "--grace-ms", "1000"])
        .finalize("abort")
        .start(&["die:9"]);
    run.ends_with(125);
    assert_eq!(run.read("status.json"), "running");
    assert!(
        run.read("stderr").contains("no crash status was prepared"),
        "{}",
        run.read("stderr")
    );
}

#[test]
fn what_is_no_message_is_ignored_and_told_once() {
    let long = format!("say:{}", "x".repeat(2000));
    let mut run = Run::start(&[
        "say:nonsense",
        "say:ready ",
        &long,
        "say:finished",
        "exit:5",
    ]);
    run.ends_with(5);
    assert_eq!(
        run.read("stderr"),
        "stockade guardian: ignoring what the supervisor sent: message is of an unknown kind\n"
    );
}
