//! The exit code of the guardian is the run's.

use crate::run::{PATIENT, Plan, Run};

#[test]
fn every_exit_code_of_a_finished_supervisor_passes_through() {
    for code in 0..=255 {
        let mut run = Run::start(&["say:finished", &format!("exit:{code}")]);
        run.ends_with(code);
        assert_eq!(
            (run.finalized(), run.path("status.crashed").exists()),
            (String::new(), false),
            "code {code}"
        );
    }
}

#[test]
fn an_announced_code_outlives_the_supervisor() {
    for last in ["die:9", "die:6", "exit:101", "exit:0"] {
        let mut run = Run::start(&["say:finished 143", last]);
        run.ends_with(143);
        assert_eq!(run.finalized(), "", "{last}");
    }
    Run::start(&["say:finished", "die:9"]).ends_with(125);
}

#[test]
fn an_exit_without_a_word_is_finalized() {
    for (code, finalize, expected) in [
        (3, "125", 125),
        (0, "125", 125),
        (0, "0", 0),
        (101, "137", 137),
    ] {
        let mut run = Plan::new(PATIENT)
            .finalize(finalize)
            .start(&[&format!("exit:{code}")]);
        run.ends_with(expected);
        let words = format!(
            "--from-guardian --run-dir-fd 3 --lock-fd 4 --cause exited:{code} --stop-requested 0 --survivors 0"
        );
        assert_eq!(run.finalized(), words);
        assert_eq!(
            (run.read("status.json"), run.path("status.crashed").exists()),
            ("running".to_owned(), false)
        );
    }
}

#[test]
fn a_wrong_command_line_is_told_apart() {
    let output = std::process::Command::new(crate::run::example())
        .args(["guardian", "--nonsense"])
        .output()
        .expect("an output");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "stockade guardian: unknown argument \"--nonsense\"\n"
    );
}
