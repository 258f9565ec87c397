//! Playbooks that run without processes: a script says how each launch and each look ends.

mod interruption;
mod limits;
mod looks;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PlaybookAgent;
use crate::agent::{
    Attempt, Attempted, Exit, Launch, NotStarted, Observation, Probe, Report, Role, SandboxState,
    Seen, Step, Verdict,
};
use crate::document::Format;
use crate::event::LimitRule;
use crate::event::action::ProcessUsage;
use crate::playbook::{Argument, MAX_STEP_EXECUTIONS, Playbook};
use crate::run::ErrorCode;
use crate::text::Excerpt;

/// More events than any playbook here makes, so that a loop is a failure and not a hang.
const MAX_EVENTS: usize = 50_000;

fn playbook(steps: &str) -> Playbook {
    let text = format!("version: 1\nname: test\n{steps}");
    crate::playbook::parse(text.as_bytes(), Format::Yaml, "test.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// A run of a playbook: what it did, one line each, and how it ended.
struct Story {
    lines: Vec<String>,
    verdict: Verdict,
}

impl Story {
    fn data(&self) -> &Value {
        self.verdict.data.as_ref().unwrap()
    }

    fn junit(&self) -> &str {
        &self.verdict.files[0].text
    }
}

fn exit(code: i32) -> Exit {
    Exit {
        code: Some(code),
        signal: None,
        duration: Duration::from_millis(5),
        usage: ProcessUsage::default(),
        oom: None,
    }
}

fn attempted(code: i32, stdout: &str) -> Attempted {
    Attempted {
        exit: exit(code),
        timed_out: false,
        stdout: Excerpt::whole(stdout),
        stderr: Excerpt::whole(""),
    }
}

fn text(name: &str, value: &str) -> BTreeMap<String, Argument> {
    BTreeMap::from([(name.to_owned(), Argument::Text(value.to_owned()))])
}

/// Runs from the first step on, with exit code 0 for every launch that `launched` gives nothing for, and nothing to see.
fn run(playbook: Playbook, launched: impl FnMut(&Attempt) -> Option<Attempted>) -> Story {
    run_with(playbook, BTreeMap::new(), 0, launched, |_| Seen::Nothing)
}

fn run_with(
    playbook: Playbook,
    arguments: BTreeMap<String, Argument>,
    from: usize,
    mut launched: impl FnMut(&Attempt) -> Option<Attempted>,
    mut look: impl FnMut(&Probe) -> Seen,
) -> Story {
    let mut agent = PlaybookAgent::new(playbook, arguments, from);
    let mut now = Instant::now();
    let mut lines = Vec::new();
    let mut next = Some(Observation::Begun);
    for _ in 0..MAX_EVENTS {
        let observation = next.take().expect("the agent waits for nothing");
        for step in agent.react(observation, now) {
            match step {
                Step::Launch(Launch {
                    role: Role::Attempt(attempt),
                    argv,
                }) => {
                    assert!(next.is_none(), "one thing at a time");
                    lines.push(format!("{} {}/{}", attempt.id, attempt.attempt, attempt.of));
                    next = Some(match argv.first().map(String::as_str) {
                        Some("no-such-program") => Observation::NotStarted(NotStarted {
                            code: ErrorCode::CommandNotFound,
                            message: "cannot find the program".to_owned(),
                            sandbox: SandboxState::Works,
                        }),
                        _ => {
                            let ended = launched(&attempt).unwrap_or_else(|| attempted(0, ""));
                            Observation::Attempted(ended)
                        }
                    });
                }
                Step::Launch(other) => panic!("{other:?}"),
                Step::Wait(time) => {
                    assert!(next.is_none(), "one thing at a time");
                    now += time;
                    lines.push(format!("wait {time:?}"));
                    next = Some(Observation::Waited);
                }
                Step::Probe(probe) => {
                    assert!(next.is_none(), "one thing at a time");
                    next = Some(Observation::Probed(look(&probe)));
                }
                Step::Conclude(conclusion) => lines.push(match conclusion.failure {
                    None => "ok".to_owned(),
                    Some(failure) => format!("failed: {failure}"),
                }),
                Step::Record(Report::Checked(action)) => {
                    let why = action.error.as_deref().unwrap_or_default();
                    lines.push(format!("checked {:?} {why}", action.success));
                }
                Step::Record(Report::Limit(limit)) => lines.push(limit.detail),
                Step::Record(Report::Retry { attempt, of, .. }) => {
                    lines.push(format!("retry {attempt}/{of}"));
                }
                Step::Record(Report::Log { message, .. }) => lines.push(message),
                Step::Record(other) => panic!("{other:?}"),
                Step::Finish(verdict) => return Story { lines, verdict },
            }
        }
    }
    panic!("the playbook has no end: {lines:#?}");
}

#[test]
fn steps_run_in_order_and_outputs_reach_later_ones_by_their_environment() {
    let book = playbook(
        "parameters:\n  who: {type: string, default: x}\nsteps:\n  - {id: one, run: 'a', outputs: {head: 'stdout.trim()'}}\n  - {id: two, run: 'b', env: {HEAD: '${{ steps.one.outputs.head }}', WHO: '${{ params.who }}'}}\n",
    );
    let mut seen = Vec::new();
    let odd = "it's \"$(rm -rf /)\" `id` ${{ params.other }} {} \n end";
    let story = run_with(
        book,
        text("who", odd),
        0,
        |attempt| {
            seen.push(attempt.env.clone());
            Some(attempted(0, " ${{ params.who }} \n"))
        },
        |_| Seen::Nothing,
    );
    assert_eq!(story.lines, ["one 1/1", "ok", "two 1/1", "ok"]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        seen,
        [
            vec![],
            vec![pair("HEAD", "${{ params.who }}"), pair("WHO", odd)]
        ]
    );
    assert_eq!(story.verdict.error, None);
    assert_eq!(
        story.verdict.result.as_deref(),
        Some("2 of 2 steps of the playbook test succeeded")
    );
    let one = json!({"status": "succeeded", "attempts": 1, "exit_code": 0, "duration_ms": 0,
        "outputs": {"head": "${{ params.who }}"}});
    assert_eq!(story.data()["steps"]["one"], one);
}

#[test]
fn a_failed_attempt_is_repeated_with_growing_pauses_and_then_fails_the_run() {
    let book = playbook(
        "steps:\n  - {id: flaky, run: a, retries: {max: 3, delay: 1s, backoff: 2, max_delay: 3s}}\n  - {id: never, run: b}\nfinally:\n  - {id: clean, run: c}\n",
    );
    let story = run(book, |attempt| {
        (attempt.id == "flaky").then(|| attempted(7, "no"))
    });
    let failed = "failed: the command exited with code 7";
    assert_eq!(
        story.lines,
        [
            "flaky 1/4",
            failed,
            "retry 1/4",
            "wait 1s",
            "flaky 2/4",
            failed,
            "retry 2/4",
            "wait 2s",
            "flaky 3/4",
            failed,
            "retry 3/4",
            "wait 3s",
            "flaky 4/4",
            failed,
            "clean 1/1",
            "ok",
        ]
    );
    assert_eq!(
        story.verdict.error,
        Some((
            ErrorCode::CommandFailed,
            "step flaky: the command exited with code 7".to_owned()
        ))
    );
    assert_eq!(story.verdict.exit, Some(Box::new(exit(7))));
    assert_eq!(story.data()["steps"]["flaky"]["attempts"], 4);
    assert_eq!(story.data()["steps"].get("never"), None);
    assert_eq!(story.data()["steps"]["clean"]["status"], "succeeded");
    assert_eq!(story.junit().matches("<rerunFailure").count(), 3);
}

#[test]
fn a_step_that_succeeds_at_last_is_a_success() {
    let book = playbook("steps:\n  - {id: flaky, run: a, retries: {max: 5, delay: 0s}}\n");
    let story = run(book, |attempt| {
        Some(attempted(i32::from(attempt.attempt < 3), ""))
    });
    assert_eq!(story.verdict.error, None);
    assert_eq!(story.data()["steps"]["flaky"]["attempts"], 3);
    assert_eq!(story.junit().matches("<flakyFailure").count(), 2);
}

#[test]
fn each_way_on_after_a_failure_is_taken() {
    let book = playbook(
        "steps:\n  - {id: one, run: a, on_failure: continue}\n  - {id: two, run: b, on_failure: 'goto:four'}\n  - {id: three, run: c}\n  - {id: four, run: d, if: \"steps.two.status == 'failed'\"}\n  - {id: five, run: e, if: 'run.failed'}\n",
    );
    let story = run(book, |attempt| {
        Some(attempted(
            i32::from(attempt.id == "one" || attempt.id == "two"),
            "",
        ))
    });
    let failed = "failed: the command exited with code 1";
    assert_eq!(
        story.lines,
        [
            "one 1/1",
            failed,
            "two 1/1",
            failed,
            "four 1/1",
            "ok",
            "step five was skipped: its condition does not hold",
        ]
    );
    assert_eq!(story.verdict.error, None);
    assert_eq!(story.data()["steps"]["one"]["status"], "failed");
    assert_eq!(story.data()["steps"]["five"]["status"], "skipped");
}

#[test]
fn a_jump_back_without_end_is_ended_and_finally_still_runs() {
    let book = playbook(
        "steps:\n  - {id: one, run: a}\n  - {id: two, run: b, on_failure: 'goto:one'}\nfinally:\n  - {id: clean, run: c}\n",
    );
    let mut n_launches = 0;
    let story = run(book, |attempt| {
        n_launches += 1;
        Some(attempted(i32::from(attempt.id == "two"), ""))
    });
    assert_eq!(n_launches, MAX_STEP_EXECUTIONS + 1);
    assert_eq!(story.lines.last().map(String::as_str), Some("ok"));
    let (code, message) = story.verdict.error.unwrap();
    assert_eq!(code, ErrorCode::BudgetExceeded);
    assert!(message.contains("limit of 10000 attempts"), "{message}");
}

#[test]
fn the_run_may_begin_with_a_later_step() {
    let book = playbook("steps:\n  - {id: one, run: a}\n  - {id: two, run: b}\n");
    let story = run_with(book, BTreeMap::new(), 1, |_| None, |_| Seen::Nothing);
    assert_eq!(
        story.lines,
        [
            "step one was skipped: the run begins at step two",
            "two 1/1",
            "ok"
        ]
    );
    assert_eq!(story.data()["steps"]["one"]["status"], "skipped");
}

#[test]
fn what_is_expected_is_judged_and_told() {
    let cases = [
        (
            "{exit: 3}",
            attempted(0, ""),
            Some("the command exited with code 0, not with 3"),
        ),
        ("{exit: [3, 4]}", attempted(4, ""), None),
        (
            "{stdout: {contains: x}}",
            attempted(0, "abc"),
            Some("stdout does not contain \"x\"; it was \"abc\""),
        ),
        ("{stdout: {equals: abc}}", attempted(0, "abc\n"), None),
        (
            "{stdout: {matches: '^b'}}",
            attempted(0, "abc"),
            Some("stdout does not match ^b; it was \"abc\""),
        ),
    ];
    for (expect, ended, failure) in cases {
        let book = playbook(&format!(
            "steps:\n  - {{id: one, run: a, expect: {expect}}}\n"
        ));
        let story = run(book, |_| Some(ended.clone()));
        let expected =
            failure.map(|failure| (ErrorCode::AgentFailed, format!("step one: {failure}")));
        assert_eq!(story.verdict.error, expected, "{expect}");
        assert_eq!(story.verdict.exit, None, "no exit is handed on: {expect}");
    }
    let late = Attempted {
        timed_out: true,
        ..attempted(0, "")
    };
    let story = run(
        playbook("steps:\n  - {id: one, run: a, timeout: 2s}\n"),
        |_| Some(late.clone()),
    );
    let (_, message) = story.verdict.error.unwrap();
    assert_eq!(message, "step one: it took longer than its timeout of 2s");
}

#[test]
fn a_program_that_is_not_there_fails_with_its_own_code() {
    let story = run(
        playbook("steps:\n  - {id: one, run: [no-such-program]}\n"),
        |_| None,
    );
    assert_eq!(
        story.lines,
        ["one 1/1"],
        "its action is ended by the session"
    );
    let (code, _) = story.verdict.error.unwrap();
    assert_eq!(code, ErrorCode::CommandNotFound);
}
