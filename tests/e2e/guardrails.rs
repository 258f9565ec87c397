//! Guardrails: agents that fail again and again, or go in circles, through the real binary.

use serde_json::{Value, json};

use crate::harness::run::Finished;
use crate::harness::{RunBuilder, get};

/// A run of a shell script that is a jsonl agent; it waits at its end, so that only a stop ends it.
fn endless(script: &str) -> RunBuilder {
    RunBuilder::sh(&format!("{script}; exec sleep 60")).flag("--adapter=jsonl")
}

/// `{n}` stands for the number of the round, from 1.
fn rounds(count: u32, lines: &[&str]) -> String {
    let round = |n: u32| {
        let line = |line: &&str| format!("echo '{}'\n", line.replace("{n}", &n.to_string()));
        lines.iter().map(line).collect::<String>()
    };
    (1..=count).map(round).collect()
}

/// Rule, decision, step, seen and limit of each guardrail event.
fn decisions(run: &Finished) -> Vec<Value> {
    let events = run.recording.events_of("guardrail");
    events
        .iter()
        .map(|event| {
            assert!(!event["detail"].as_str().unwrap().is_empty(), "{event}");
            ["rule", "decision", "step", "seen", "limit"]
                .map(|field| event[field].clone())
                .into_iter()
                .collect()
        })
        .collect()
}

fn assert_stopped(run: &Finished, code: &str, rule: &str, n_actions: u64) {
    assert_eq!(run.code(), 1, "{}", run.stderr);
    run.recording.assert_whole();
    let status = run.recording.status();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["code"], code);
    assert_eq!(status["error"]["details"]["rule"], rule);
    assert_eq!(status["error"]["details"]["step"], n_actions);
    assert_eq!(status["outcome"]["by"], "limit");
    let reason = status["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("guardrails."), "{reason}");
    assert_eq!(status["action_count"], n_actions);
}

const SAME: &str = r#"{"tool":"shell","action":"run","input_summary":"make","success":true,"result_text":"nothing to do"}"#;

#[test]
fn an_agent_that_repeats_itself_is_told_of_and_then_stopped() {
    let run = endless(&rounds(7, &[SAME])).finish();
    assert_stopped(&run, "STUCK", "repeated_action", 7);
    let expected = [
        json!(["repeated_action", "hint", 3, 3, 7]),
        json!(["repeated_action", "warn", 5, 5, 7]),
        json!(["repeated_action", "stop", 7, 7, 7]),
    ];
    assert_eq!(decisions(&run), expected);
    let detail = run.recording.events_of("guardrail")[0]["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("shell run make"),
        "{detail}"
    );

    // One round less: the agent ends by itself, and the warnings are on record.
    let script = rounds(6, &[SAME]);
    let run = RunBuilder::sh(&script).flag("--adapter=jsonl").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(decisions(&run), expected[..2]);
}

#[test]
fn cycles_of_two_and_three_actions_are_found_by_the_defaults() {
    let other = SAME.replace("make", "ls");
    let third = SAME.replace("nothing to do", "");
    for (lines, n_actions) in [(vec![SAME, &other], 14), (vec![SAME, &other, &third], 21)] {
        let run = endless(&rounds(7, &lines)).finish();
        assert_stopped(&run, "STUCK", "repeated_cycle", n_actions);
        let seen: Vec<_> = decisions(&run).iter().map(|d| d[3].clone()).collect();
        assert_eq!(seen, [3, 5, 7]);
    }
}

#[test]
fn actions_that_differ_in_input_or_result_are_no_repetition() {
    for lines in [
        // What was typed differs, and nothing else.
        [
            r#"{"tool":"browser","action":"type","input_summary":"type into #q","input":{"text":"{n}"},"success":true}"#,
        ],
        [r#"{"tool":"shell","input_summary":"cat log","success":true,"result_text":"line {n}"}"#],
        // Neither input nor result: nothing says that two of them are the same.
        [r#"{"tool":"shell","action":"run"}"#],
    ] {
        let script = rounds(30, &lines);
        let run = RunBuilder::sh(&script).flag("--adapter=jsonl").finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
        assert_eq!(decisions(&run), [] as [Value; 0]);
        assert_eq!(run.recording.status()["action_count"], 30);
    }
}

#[test]
fn the_input_of_the_beginning_counts_at_the_end() {
    let lines = [
        r#"{"type":"action.started","call_id":"c{n}","tool":"t","input_summary":"page {n}"}"#,
        r#"{"type":"action","call_id":"c{n}","tool":"t","success":true}"#,
    ];
    let script = rounds(20, &lines);
    let run = RunBuilder::sh(&script).flag("--adapter=jsonl").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let same = lines[0].replace("page {n}", "page");
    let run = endless(&rounds(7, &[&same, lines[1]])).finish();
    assert_stopped(&run, "STUCK", "repeated_action", 7);
}

#[test]
fn the_nth_error_in_a_row_ends_the_run_and_a_success_begins_anew() {
    let bad = r#"{"tool":"t","input_summary":"try {n}","success":false,"error":"no"}"#;
    let unknown = r#"{"tool":"t","input_summary":"ask {n}"}"#;
    let good = r#"echo '{"tool":"t","input_summary":"good","success":true}'"#;
    let limit = |run: RunBuilder| run.env("STOCKADE_GUARDRAILS_MAX_CONSECUTIVE_ERRORS", "3");

    let script = [
        rounds(2, &[bad]),
        good.to_owned(),
        rounds(2, &[bad, unknown]),
    ]
    .join("\n");
    let run = limit(RunBuilder::sh(&script).flag("--adapter=jsonl")).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(decisions(&run), [] as [Value; 0]);

    let script = [rounds(2, &[bad, unknown]), rounds(1, &[bad])].join("\n");
    let run = limit(endless(&script)).finish();
    assert_stopped(&run, "GUARDRAIL_BLOCKED", "consecutive_errors", 5);
    assert_eq!(
        decisions(&run),
        [json!(["consecutive_errors", "stop", 5, 3, 3])]
    );

    // The default is ten.
    let run = RunBuilder::sh(&rounds(9, &[bad]))
        .flag("--adapter=jsonl")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let run = endless(&rounds(10, &[bad])).finish();
    assert_stopped(&run, "GUARDRAIL_BLOCKED", "consecutive_errors", 10);
}

#[test]
fn what_is_switched_off_decides_nothing() {
    let failing = r#"{"tool":"t","input_summary":"x","success":false}"#;
    let run = RunBuilder::sh(&rounds(30, &[failing]))
        .flag("--adapter=jsonl")
        .env("STOCKADE_GUARDRAILS_MAX_CONSECUTIVE_ERRORS", "0")
        .env("STOCKADE_GUARDRAILS_STUCK_CYCLE", "0")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(decisions(&run), [] as [Value; 0]);
}

#[test]
fn a_tool_below_a_plain_command_is_watched_too() {
    let script = "eval \"exec 9>&$STOCKADE_ACTIONS_FD\"; { REPORTS } >&9; exec sleep 60";
    let run = RunBuilder::sh(&script.replace("REPORTS", &rounds(8, &[SAME]))).finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "STUCK");
    // Step 1 is the command itself, which repeats nothing.
    assert_eq!(status["error"]["details"]["step"], 8);
    run.recording.assert_whole();
}

#[test]
fn decisions_are_counted_and_streamed() {
    let script = rounds(5, &[SAME]) + "until [ -e go ]; do sleep 0.02; done";
    let run = RunBuilder::sh(&script).flag("--adapter=jsonl").start();
    run.until_status("the actions are done", |status| status["action_count"] == 5);
    let address = run.address();
    let counted = |decision: &str, n: u32| {
        format!(
            "stockade_guardrail_decisions_total{{rule=\"repeated_action\",decision=\"{decision}\"}} {n}"
        )
    };
    crate::harness::until("the decisions are counted", || {
        let metrics = get(&address, "/metrics").text();
        [counted("hint", 1), counted("warn", 1), counted("stop", 0)]
            .iter()
            .all(|line| metrics.contains(line.as_str()))
            .then_some(())
    });
    let stream = get(
        &address,
        "/events?types=guardrail&format=ndjson&follow=false",
    )
    .text();
    let seen: Vec<Value> = stream
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(seen.len(), 2, "{stream}");
    assert!(seen.iter().all(|event| event["type"] == "guardrail"));
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
    assert_eq!(run.finish().code(), 0);
}

#[test]
fn the_names_in_a_decision_have_no_secret() {
    let secret = "correct-horse-battery";
    let run = endless(&rounds(7, &[&SAME.replace("make", secret)]))
        .env("MY_SECRET", secret)
        .flag("--credential=PASSWORD=env:MY_SECRET")
        .finish();
    assert_stopped(&run, "STUCK", "repeated_action", 7);
    for line in run.recording.lines() {
        assert!(!line.contains(secret), "{line}");
    }
    assert!(!run.recording.status().to_string().contains(secret));
}

/// A step that fails five times and works then.
const FLAKY: &str = "version: 1\nname: flaky\nsteps:\n  - {id: flaky, run: 'echo x >> n; test $(wc -l < n) -gt 5', retries: {max: 9, delay: 0s}}\n";

#[test]
fn attempts_at_a_step_are_bounded_by_what_the_description_sets_and_by_no_default() {
    let run = RunBuilder::playbook(FLAKY).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(decisions(&run), Vec::<Value>::new());
    let errors = ("STOCKADE_GUARDRAILS_MAX_CONSECUTIVE_ERRORS", "3");
    let repeated = ("STOCKADE_GUARDRAILS_STUCK_STOP", "4");
    for ((name, bound), code, n_attempts) in
        [(errors, "GUARDRAIL_BLOCKED", 3), (repeated, "STUCK", 4)]
    {
        let run = RunBuilder::playbook(FLAKY)
            .env(name, bound)
            .env("STOCKADE_GUARDRAILS_STUCK_HINT", "0")
            .env("STOCKADE_GUARDRAILS_STUCK_WARN", "0")
            .finish();
        assert_eq!(run.code(), 1, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["error"]["code"], code, "{status}");
        assert_eq!(run.recording.events_of("action").len(), n_attempts);
        let detail = decisions(&run)[0].to_string();
        assert!(detail.contains("stop"), "{detail}");
        run.recording.assert_whole();
    }
}

#[test]
fn attempts_that_cannot_start_and_repeated_looks_count_as_attempts() {
    let absent = "version: 1\nname: absent\nsteps:\n  - {id: absent, run: [/no/such/program], retries: {max: 9, delay: 0s}}\n";
    let looks = "version: 1\nname: looks\nsteps:\n  - {id: looks, run: 'true', expect: {file: {path: never}}, retries: {max: 9, delay: 0s, retry: verify}}\n";
    for playbook in [absent, looks] {
        let run = RunBuilder::playbook(playbook)
            .env("STOCKADE_GUARDRAILS_MAX_CONSECUTIVE_ERRORS", "3")
            .finish();
        assert_eq!(run.code(), 1, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["error"]["code"], "GUARDRAIL_BLOCKED", "{status}");
        assert_eq!(run.recording.events_of("action").len(), 3);
        run.recording.assert_whole();
    }
}
