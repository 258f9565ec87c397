//! Steps and attempts: their order, what is on record of them, and what they leave behind.

use serde_json::json;

use super::{attempts, junit, playbook};
use crate::harness::RunBuilder;

#[test]
fn steps_share_the_sandbox_and_each_attempt_is_an_action() {
    let run = playbook(
        "steps:\n  - {id: one, run: 'echo text >/tmp/shared; echo one'}\n  - {id: two, run: [cat, /tmp/shared], outputs: {text: 'stdout.trim()'}}\n  - {id: three, run: 'printf %s \"$TEXT\"', env: {TEXT: '${{ steps.two.outputs.text }}'}, expect: {stdout: {equals: text}}}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let row = |id: &str| json!([id, 1, 1, true, 0, null]);
    assert_eq!(attempts(&run), [row("one"), row("two"), row("three")]);
    let status = run.recording.status();
    assert_eq!(status["status"], "completed");
    assert_eq!(
        status["result"],
        "3 of 3 steps of the playbook test succeeded"
    );
    assert_eq!(status["data"]["playbook"], "test");
    assert_eq!(
        status["data"]["steps"]["two"]["outputs"],
        json!({"text": "text"})
    );
    assert!(
        run.stdout.contains("one\ntext\ntext"),
        "output passes through: {}",
        run.stdout
    );
}

#[test]
fn a_step_without_a_value_is_an_action_that_failed_and_is_not_tried_again() {
    let run = playbook(
        "steps:\n  - {id: one, run: 'echo x', if: '1 == 2', outputs: {o: stdout}}\n  - {id: two, run: 'echo never', env: {O: '${{ number(steps.one.outputs.o) }}'}, retries: {max: 3, delay: 0s}, on_failure: continue}\n  - {id: three, run: 'echo never', if: 'number(steps.one.outputs.o) > 1'}\n",
    )
    .finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let [two, three] = attempts(&run).try_into().unwrap();
    for (action, id, of, part) in [
        (&two, "two", 4, "env O"),
        (&three, "three", 1, "its condition"),
    ] {
        assert_eq!((&action[0], &action[2]), (&json!(id), &json!(of)));
        assert_eq!((&action[1], &action[3]), (&json!(1), &json!(false)));
        let why = action[5].as_str().unwrap();
        assert!(
            why.starts_with(&format!("it was not run: {part} has no value")),
            "{why}"
        );
    }
    assert!(!run.stdout.contains("never"), "{}", run.stdout);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "AGENT_FAILED", "{status}");
}

#[test]
fn a_flaky_step_is_retried_on_record_and_a_failed_one_ends_the_run_with_its_code() {
    let run = playbook(
        "steps:\n  - {id: flaky, run: 'echo x >>/tmp/n; test $(wc -l </tmp/n) -ge 3', retries: {max: 4, delay: 10ms}}\n  - {id: fatal, run: 'echo last words >&2; exit 23'}\n  - {id: never, run: 'echo never'}\nfinally:\n  - {id: clean, run: 'echo clean'}\n",
    )
    .finish();
    assert_eq!(run.code(), 23, "{}", run.stderr);
    let error = "the command exited with code 1";
    let last = "the command exited with code 23";
    assert_eq!(
        attempts(&run),
        [
            json!(["flaky", 1, 5, false, 1, error]),
            json!(["flaky", 2, 5, false, 1, error]),
            json!(["flaky", 3, 5, true, 0, null]),
            json!(["fatal", 1, 1, false, 23, last]),
            json!(["clean", 1, 1, true, 0, null]),
        ]
    );
    let retries: Vec<_> = run
        .recording
        .events_of("retry")
        .iter()
        .map(|retry| {
            json!([
                retry["step"],
                retry["action"],
                retry["attempt"],
                retry["delay_ms"]
            ])
        })
        .collect();
    assert_eq!(
        retries,
        [json!([1, "flaky", 1, 10]), json!([2, "flaky", 2, 10])]
    );
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "COMMAND_FAILED");
    assert_eq!(
        status["error"]["message"],
        "step fatal: the command exited with code 23"
    );
    assert_eq!(status["outcome"]["exit_code"], 23);
    let junit = junit(&run);
    assert!(
        junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\""),
        "{junit}"
    );
    assert_eq!(junit.matches("<flakyFailure").count(), 2, "{junit}");
    assert!(
        junit.contains("<system-err>last words\n</system-err>"),
        "{junit}"
    );
}

#[test]
fn a_loop_ends_when_its_condition_does() {
    let run = playbook(
        "steps:\n  - {id: count, run: 'echo x >>/tmp/n; wc -l </tmp/n', outputs: {n: 'stdout.trim()'}}\n  - {id: enough, run: 'test \"$N\" -ge 3', env: {N: '${{ steps.count.outputs.n }}'}, on_failure: 'goto:count'}\n  - {id: after, run: 'true', directory: sub}\n",
    );
    std::fs::create_dir(run.workspace().join("sub")).unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let ids: Vec<_> = attempts(&run).iter().map(|row| row[0].clone()).collect();
    assert_eq!(
        ids,
        [
            "count", "enough", "count", "enough", "count", "enough", "after"
        ]
    );
    assert_eq!(
        run.recording.status()["data"]["steps"]["count"]["outputs"]["n"],
        "3"
    );
    assert_eq!(junit(&run).matches("<testcase name=\"count\"").count(), 3);
}

#[test]
fn what_a_step_leaves_in_the_background_is_recorded_and_costs_no_time() {
    let run = playbook(
        "steps:\n  - {id: start, run: '(i=0; while test ! -e /tmp/stop; do i=$((i+1)); echo tick $i; sleep 0.05; done; echo background is done) & echo started', expect: {stdout: {contains: started}}}\n  - {id: wait, run: 'sleep 0.3; touch /tmp/stop; sleep 0.3'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let outputs = run.recording.events_of("action.output");
    let late = outputs
        .iter()
        .find(|output| {
            output["text"]
                .as_str()
                .is_some_and(|text| text.contains("background is done"))
        })
        .expect("its output is on record to its end");
    assert_eq!(late["step"], 1, "as output of the step that left it");
    let actions = run.recording.events_of("action");
    assert_eq!(actions[0]["step"], 1);
    let [ended, written] = [&actions[0], late].map(|event| event["seq"].as_u64().unwrap());
    assert!(ended < written, "nobody waited for its pipe");
}

#[test]
fn a_step_that_cannot_start_says_why() {
    let run = playbook("steps:\n  - {id: one, run: [no-such-program]}\n").finish();
    assert_eq!(run.code(), 127, "{}", run.stderr);
    let run = playbook("steps:\n  - {id: one, run: 'true', directory: not/there}\n").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let message = run.recording.status()["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("not/there"), "{message}");
    let row = &attempts(&run)[0];
    assert_eq!((&row[0], &row[3]), (&json!("one"), &json!(false)));
}

#[test]
fn a_step_may_report_actions_of_its_own() {
    let run = playbook(
        "steps:\n  - {id: one, run: 'echo ''{\"tool\":\"mine\",\"action\":\"did it\",\"success\":true}'' >&3'}\n  - {id: two, run: 'echo ''{\"tool\":\"mine\",\"action\":\"again\",\"success\":true}'' >&3'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let reported: Vec<_> = run
        .recording
        .events_of("action")
        .iter()
        .filter(|action| action["tool"] == "mine")
        .map(|action| action["action"].clone())
        .collect();
    assert_eq!(reported, ["did it", "again"]);
    // What looks like one of ours is told apart.
    let line = json!({"tool": "playbook", "action": "two", "attempt": 1, "of": 1, "success": true});
    let book = json!({"version": 1, "name": "test", "steps": [{"id": "one", "run": format!("echo '{line}' >&3")}]});
    let run = RunBuilder::playbook(&book.to_string()).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(attempts(&run).len(), 1);
    let actions = run.recording.events_of("action");
    let forged = actions.iter().find(|action| action["action"] == "two");
    let forged = forged.unwrap();
    assert_eq!(forged["tool"], "reported:playbook");
    assert_eq!((forged.get("attempt"), forged.get("of")), (None, None));
}
