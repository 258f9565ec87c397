//! Playbooks whose run something else ends.

use super::*;

/// The verdict of a run that ends from outside, after these observations.
fn interrupted(book: &str, observations: Vec<Observation>) -> Verdict {
    let mut agent = PlaybookAgent::new(playbook(book), BTreeMap::new(), 0);
    let now = Instant::now();
    for observation in [Observation::Begun].into_iter().chain(observations) {
        let _ = agent.react(observation, now);
    }
    let steps = agent.react(Observation::Interrupted(None), now);
    match <[Step; 1]>::try_from(steps) {
        Ok([Step::Finish(verdict)]) => verdict,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_that_is_to_run_again_and_does_not_keeps_what_it_had() {
    let book = "steps:\n  - {id: one, run: a, outputs: {o: stdout.trim()}}\n  - {id: two, run: b, on_failure: goto:one}\n";
    let one = Observation::Attempted(attempted(0, "kept\n"));
    let two = Observation::Attempted(attempted(1, ""));
    let verdict = interrupted(book, vec![one, two, Observation::NotBegun]);
    let step = &verdict.data.as_ref().unwrap()["steps"]["one"];
    assert_eq!(
        (&step["status"], &step["attempts"], &step["outputs"]["o"]),
        (&json!("succeeded"), &json!(1), &json!("kept"))
    );
    let junit = &verdict.files[0].text;
    assert!(
        junit.contains("failures=\"1\" errors=\"0\" skipped=\"0\""),
        "{junit}"
    );
}

#[test]
fn a_step_that_never_began_is_no_failed_attempt() {
    let two = "steps:\n  - {id: one, run: a}\n  - {id: two, run: b}\n";
    let one_ended = Observation::Attempted(attempted(0, ""));
    let verdict = interrupted(two, vec![one_ended, Observation::NotBegun]);
    let step = &verdict.data.as_ref().unwrap()["steps"]["two"];
    assert_eq!(
        (&step["status"], &step["attempts"]),
        (&json!("skipped"), &json!(0))
    );
    assert_eq!(step["error"], "the run ended before the step began");
    let junit = &verdict.files[0].text;
    assert!(
        junit.contains("failures=\"0\" errors=\"0\" skipped=\"1\""),
        "{junit}"
    );

    let retried = "steps:\n  - {id: one, run: a, retries: {max: 5, delay: 20s}}\n";
    let failed = || Observation::Attempted(attempted(1, "seen"));
    for observations in [
        vec![failed()],
        vec![failed(), Observation::Waited, Observation::NotBegun],
    ] {
        let verdict = interrupted(retried, observations);
        let step = &verdict.data.as_ref().unwrap()["steps"]["one"];
        assert_eq!(
            (&step["status"], &step["attempts"]),
            (&json!("failed"), &json!(1))
        );
        assert_eq!(step["exit_code"], 1);
        assert_eq!(
            step["error"],
            "the command exited with code 1; the run ended before attempt 2"
        );
        let junit = &verdict.files[0].text;
        assert!(!junit.contains("rerunFailure"), "{junit}");
        assert!(
            junit.contains("<failure message=\"the command exited with code 1\""),
            "{junit}"
        );
    }
    // One that runs is an attempt, without the output of the one before.
    let verdict = interrupted(retried, vec![failed(), Observation::Waited]);
    let step = &verdict.data.as_ref().unwrap()["steps"]["one"];
    assert_eq!(
        (&step["attempts"], &step["exit_code"]),
        (&json!(2), &Value::Null)
    );
    let junit = &verdict.files[0].text;
    assert_eq!(junit.matches("seen").count(), 1, "{junit}");
}

#[test]
fn the_end_of_the_run_keeps_what_was_done() {
    let book = playbook("steps:\n  - {id: one, run: a}\n  - {id: two, run: b}\n");
    let mut agent = PlaybookAgent::new(book, BTreeMap::new(), 0);
    let now = Instant::now();
    let _ = agent.react(Observation::Begun, now);
    let _ = agent.react(Observation::Attempted(attempted(0, "")), now);
    let steps = agent.react(Observation::Interrupted(None), now);
    let [Step::Finish(verdict)] = &steps[..] else {
        panic!("{steps:?}");
    };
    let data = verdict.data.as_ref().unwrap();
    assert_eq!(data["steps"]["one"]["status"], "succeeded");
    assert_eq!(data["steps"]["two"]["status"], "failed");
    assert_eq!(
        data["steps"]["two"]["error"],
        "the run ended before the step did"
    );
}
