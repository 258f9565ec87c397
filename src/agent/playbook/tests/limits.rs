//! Limits of a playbook that runs: loops, outputs, what a step reports.

use super::*;
use crate::agent::LineOf;
use crate::playbook::MAX_OUTPUTS_BYTES;

#[test]
fn a_loop_that_was_ended_takes_no_step_of_finally_with_it() {
    let book = playbook(
        "steps:\n  - {id: a, run: a, if: '1 == 2'}\n  - {id: b, run: b, on_failure: 'goto:a'}\nfinally:\n  - {id: f, run: f, retries: {max: 5, delay: 0s}}\n  - {id: g, run: g}\n",
    );
    let mut launches = BTreeMap::<String, u32>::new();
    let story = run(book, |attempt| {
        *launches.entry(attempt.id.clone()).or_default() += 1;
        Some(attempted(i32::from(attempt.id != "g"), ""))
    });
    let count = |id: &str| launches.get(id).copied().unwrap_or(0);
    assert_eq!(
        (count("b"), count("f"), count("g")),
        (MAX_STEP_EXECUTIONS - 1, 6, 1)
    );
    assert_eq!(story.data()["steps"]["g"]["status"], "succeeded");
    let limit = (LimitRule::StepsSkipped, u64::from(MAX_STEP_EXECUTIONS));
    assert_eq!(story.verdict.limit, Some(limit));
    let (code, message) = story.verdict.error.unwrap();
    assert_eq!(code, ErrorCode::BudgetExceeded);
    assert!(message.contains("10000 skipped steps"), "{message}");
}

#[test]
fn skipped_steps_have_a_limit_of_their_own() {
    let skipped: String = (0..200)
        .map(|idx| format!("  - {{id: s{idx}, run: a, if: '1 == 2'}}\n"))
        .collect();
    let book = playbook(&format!(
        "steps:\n{skipped}  - {{id: b, run: b, on_failure: 'goto:s0'}}\nfinally:\n  - {{id: f, run: f}}\n"
    ));
    let mut n_attempts = 0;
    let story = run(book, |attempt| {
        n_attempts += u32::from(attempt.id == "b");
        Some(attempted(i32::from(attempt.id == "b"), ""))
    });
    assert_eq!(n_attempts, MAX_STEP_EXECUTIONS / 200 - 1);
    assert_eq!(story.data()["steps"]["f"]["status"], "succeeded");
    let (_, message) = story.verdict.error.unwrap();
    assert!(message.contains("10000 skipped steps"), "{message}");
}

#[test]
fn attempts_count_for_the_limit_of_loops() {
    let book = playbook(
        "steps:\n  - {id: a, run: a, retries: {max: 98, delay: 0s}, on_failure: 'goto:b'}\n  - {id: b, run: b, on_failure: 'goto:a'}\nfinally:\n  - {id: f, run: f}\n",
    );
    let mut n_attempts = 0;
    let story = run(book, |attempt| {
        n_attempts += u32::from(attempt.id != "f");
        Some(attempted(i32::from(attempt.id != "f"), ""))
    });
    assert_eq!(n_attempts, MAX_STEP_EXECUTIONS);
    let limit = (LimitRule::StepAttempts, u64::from(MAX_STEP_EXECUTIONS));
    assert_eq!(story.verdict.limit, Some(limit));
    let told = "the playbook reached its limit of 10000 attempts";
    assert!(story.lines.iter().any(|line| line.contains(told)));
    let (code, message) = story.verdict.error.unwrap();
    assert_eq!(code, ErrorCode::BudgetExceeded);
    assert!(message.contains(told), "{message}");
}

#[test]
fn outputs_fit_together_or_fail_their_step() {
    let book = playbook(
        "steps:\n  - {id: one, run: a, outputs: {o: stdout}}\n  - {id: two, run: b, outputs: {o: stdout}, on_failure: 'goto:one'}\n",
    );
    // A step that runs again gives its room back: two outputs of 60,000 bytes are never more.
    let mut n_launches = 0;
    let story = run(book, |_| {
        n_launches += 1;
        let code = i32::from(n_launches < 100 && n_launches % 2 == 0);
        Some(attempted(code, &"x".repeat(60_000)))
    });
    assert_eq!(story.verdict.error, None, "{:?}", story.lines.last());

    let step = |idx: u32| {
        format!("  - {{id: s{idx}, run: a, outputs: {{o: stdout}}, on_failure: continue}}\n")
    };
    let steps: String = (0..40).map(step).collect();
    let story = run(playbook(&format!("steps:\n{steps}")), |_| {
        Some(attempted(0, &"x".repeat(60_000)))
    });
    let steps = story.data()["steps"].as_object().unwrap();
    let outputs = steps
        .values()
        .filter_map(|step| step["outputs"]["o"].as_str());
    let kept: usize = outputs.map(str::len).sum();
    assert!(kept <= MAX_OUTPUTS_BYTES, "{kept}");
    assert!(kept > MAX_OUTPUTS_BYTES - 60_100, "{kept}");
    let error = steps["s39"]["error"].as_str().unwrap();
    assert!(error.contains("more than 1048576 bytes in all"), "{error}");
}

#[test]
fn a_summary_is_small_and_leaves_out_what_simply_succeeded_first() {
    let long = "x".repeat(50);
    let step = |idx: u32| {
        format!(
            "  - {{id: s{idx}-{long}, run: a, expect: {{stdout: {{equals: ok}}}}, on_failure: continue}}\n"
        )
    };
    let steps: String = (0..999).map(step).collect();
    let story = run(playbook(&format!("steps:\n{steps}")), |attempt| {
        let is_bad = attempt.id.starts_with("s98");
        Some(attempted(0, if is_bad { "no\n" } else { "ok\n" }))
    });
    let whole = story.data()["steps"].as_object().unwrap();
    assert_eq!(whole.len(), 999);
    let summary = story.verdict.summary.as_ref().unwrap();
    assert!(summary.to_string().len() < 48 * 1024);
    let kept = summary["steps"].as_object().unwrap();
    let is_failed = |step: &&Value| step["status"] == "failed";
    let n_failed = kept.values().filter(is_failed).count();
    assert_eq!(n_failed, 11, "all that failed");
    assert!(kept.len() > 100, "{}", kept.len());
    let n_left_out = summary["steps_left_out"].as_u64().unwrap();
    assert_eq!(u64::try_from(kept.len()).unwrap() + n_left_out, 999);
}

#[test]
fn what_a_step_reports_is_never_an_attempt_of_ours() {
    let book = playbook("steps: [{id: one, run: a}]\n");
    let mut agent = PlaybookAgent::new(book, BTreeMap::new(), 0);
    let line = br#"{"tool":"playbook","action":"one","attempt":1,"of":1,"success":true}"#;
    let observation = Observation::Line(LineOf::Actions, line.to_vec());
    let steps = agent.react(observation, Instant::now());
    let [Step::Record(Report::Action(action))] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert_eq!(
        (action.tool.as_deref(), action.attempt, action.of),
        (Some("reported:playbook"), None, None)
    );
}
