//! What agents report: `--adapter jsonl`, `STOCKADE_ACTIONS_FD`, and everything that they may get wrong.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::run::Finished;
use crate::harness::{RunBuilder, get, until};

/// A run of a shell script that is a jsonl agent.
fn agent(script: &str) -> RunBuilder {
    RunBuilder::sh(script).flag("--adapter=jsonl")
}

/// A jsonl agent that prints these bytes.
fn agent_that_prints(bytes: &[u8]) -> RunBuilder {
    let run = agent("cat lines");
    std::fs::write(run.workspace().join("lines"), bytes).unwrap();
    run
}

/// Chosen fields of all events of one type.
fn fields(run: &Finished, event_type: &str, names: &[&str]) -> Vec<Value> {
    run.recording
        .events_of(event_type)
        .iter()
        .map(|event| names.iter().map(|name| event[*name].clone()).collect())
        .collect()
}

#[test]
fn a_plain_command_reports_actions_on_its_own_descriptor() {
    let run = RunBuilder::sh(
        r#"echo before
        eval "exec 9>&$STOCKADE_ACTIONS_FD"
        echo '{"type":"action.started","call_id":"mine","tool":"t","action":"first"}' >&9
        echo '{"type":"action","call_id":"mine","duration_ms":7,"success":true,"tool":"t","action":"first"}' >&9
        echo '{"tool":"t","action":"second","success":false,"error":"no"}' >&9
        echo after"#,
    )
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stdout, "before\nafter\n");
    let actions = fields(&run, "action", &["step", "tool", "action", "success"]);
    let expected = [
        json!([2, "t", "first", true]),
        json!([3, "t", "second", false]),
        // The command began first and ends last.
        json!([1, "command", "run", true]),
    ];
    assert_eq!(actions, expected);
    let started = fields(&run, "action.started", &["step", "tool"]);
    assert_eq!(started, [json!([1, "command"]), json!([2, "t"])]);
    assert_eq!(run.recording.status()["action_count"], 3);
    run.recording.assert_whole();
}

#[test]
fn the_failure_of_an_agent_is_not_the_exit_code_of_the_run() {
    for (script, exit_code, signal) in [
        ("exit 1", json!(1), Value::Null),
        ("exit 3", json!(3), Value::Null),
        ("exit 255", json!(255), Value::Null),
        ("kill -KILL $$", Value::Null, json!(9)),
    ] {
        let run = agent(&format!("echo '{{\"tool\":\"t\"}}'; {script}")).finish();
        assert_eq!(run.code(), 1, "{script}: {}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["error"]["code"], "AGENT_FAILED", "{script}");
        assert_eq!(status["status"], "failed");
        assert_eq!(status["outcome"]["exit_code"], exit_code, "{script}");
        assert_eq!(status["outcome"]["signal"], signal, "{script}");
        assert_eq!(status["action_count"], 1);
        run.recording.assert_whole();
    }
    let run = RunBuilder::new(["no-such-agent"]).flag("--adapter=jsonl");
    assert_eq!(run.finish().code(), 127);
}

#[test]
fn an_agent_that_does_more_than_max_steps_is_stopped() {
    let script = r#"n=0; while [ $n -lt COUNT ]; do n=$((n + 1)); echo '{"tool":"t"}'; done; WAIT"#;
    let just = script.replace("COUNT", "3").replace("WAIT", "exit 0");
    let run = agent(&just).flag("--max-steps=3").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);

    // It goes on until it is stopped; a signal is enough.
    let more = script.replace("COUNT", "4").replace("WAIT", "sleep 60");
    let run = agent(&more).flag("--max-steps=3").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["code"], "BUDGET_EXCEEDED");
    assert_eq!(status["error"]["details"]["rule"], "max_steps", "{status}");
    assert_eq!(status["outcome"]["by"], "limit");
    assert_eq!(
        fields(&run, "limit", &["rule", "decision", "limit"]),
        [json!(["max_steps", "stop", 3])]
    );
    // What was done is on record, also when it was too much.
    assert_eq!(status["action_count"], 4);
    run.recording.assert_whole();
}

#[test]
fn the_last_result_line_is_the_result_of_the_run() {
    let run = agent(
        r#"echo '{"type":"result","result":"too early","data":{"kept":false}}'
        echo '{"tool":"t"}'
        echo '{"type":"result","result":"done \u00fc","data":{"list":[1,2.5,null],"text":"x"}}'"#,
    )
    .finish();
    let expected = json!({"list": [1, 2.5, null], "text": "x"});
    for document in [
        run.recording.status(),
        run.recording.events_of("complete").remove(0),
    ] {
        assert_eq!(document["result"], "done \u{fc}");
        assert_eq!(document["data"], expected);
        assert_eq!(document["action_count"], 1);
    }

    let run = agent(r#"echo '{"type":"result","data":[]}'; exit 4"#).finish();
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "AGENT_FAILED");
    assert_eq!(
        (&status["result"], &status["data"]),
        (&Value::Null, &json!([]))
    );
}

#[test]
fn a_long_result_is_an_artifact() {
    // The cut falls into a character, and the text has everything that JSON escapes.
    let long = "\u{1f600}\"\\\n\u{1}x".repeat(10_000);
    let mut lines = json!({"tool": "t", "result_text": long}).to_string();
    lines.push('\n');
    let run = agent("cat lines; until [ -e go ]; do sleep 0.02; done");
    std::fs::write(run.workspace().join("lines"), lines).unwrap();
    let run = run.start();
    run.until_status("the action is on record", |s| s["action_count"] == 1);
    let address = run.address();

    let manifest = get(&address, "/artifacts").json();
    let listed = &manifest["artifacts"][0];
    let path = listed["path"]
        .as_str()
        .unwrap_or_else(|| panic!("{manifest}"));
    let served = get(&address, &format!("/artifacts/{path}"));
    assert_eq!(served.status, 200);
    assert_eq!(served.text(), long);
    let sha256: String = Sha256::digest(&served.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(listed["sha256"], sha256);
    assert_eq!(listed["size"], long.len());

    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
    let run = run.finish();
    let action = run.recording.events_of("action").remove(0);
    assert_eq!(action["artifact"], path);
    let kept = action["result_text"].as_str().unwrap();
    assert!(
        long.starts_with(kept) && kept.len() <= 16 * 1024,
        "{action}"
    );
    assert_eq!(action["truncated"]["total_bytes"], long.len());
    assert_eq!(action["truncated"]["kept_bytes"], kept.len());
    let added = run.recording.events_of("artifact").remove(0);
    assert_eq!(
        (&added["path"], &added["sha256"]),
        (&listed["path"], &listed["sha256"])
    );
    let file = run.recording.path().join("artifacts").join(path);
    assert_eq!(std::fs::read_to_string(file).unwrap(), long);
    run.recording.assert_whole();
}

#[test]
fn nothing_that_an_agent_prints_fails_the_run() {
    let mut lines: Vec<Vec<u8>> = vec![
        b"{}".into(),
        b"{".into(),
        b"}".into(),
        b"".into(),
        b"   ".into(),
        b"null".into(),
        b"[1,2]".into(),
        b"\"text\"".into(),
        b"{\"type\":7}".into(),
        b"{\"type\":\"unheard.of\",\"x\":1}".into(),
        b"{\"type\":\"action\"}".into(),
        b"{\"type\":\"complete\",\"status\":\"completed\"}".into(),
        b"{\"type\":\"log.opened\",\"epoch\":\"0\"}".into(),
        b"{\"tool\":1e999}".into(),
        b"{\"tool\":\"\\ud800\"}".into(),
        b"\xef\xbb\xbf{\"tool\":\"after a byte order mark\"}".into(),
        b"{\"tool\":\"\xff\xfe\"}".into(),
        b"\x00\x01\x02\xff\x1b[31mred\x1b[0m".into(),
        b"id: 7\ndata: {}\n\nevent: complete".into(),
        format!("{{\"tool\":{}", "[".repeat(20_000)).into_bytes(),
        format!("{{\"tool\":\"{}\"}}", "long".repeat(20_000)).into_bytes(),
    ];
    lines.push(b"{\"tool\":\"good\",\"success\":true}\r".into());
    // Without a newline at the end.
    lines.push(b"{\"tool\":\"last\",\"success\":true}".into());
    let run = agent_that_prints(&lines.join(&b'\n')).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let tools: Vec<String> = run
        .recording
        .events_of("action")
        .iter()
        .map(|action| action["tool"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(tools.len(), 3, "{tools:?}");
    assert_eq!(tools[1..], ["good", "last"]);
    // A name is cut, and the agent cannot speak for the supervisor.
    assert!(tools[0].len() <= 1024 && tools[0].starts_with("longlong"));
    assert_eq!(run.recording.events_of("log.opened").len(), 1);
    assert!(run.recording.events_of("agent.raw").len() >= 10);
}

#[test]
fn a_line_without_end_is_bounded_and_reported() {
    let megabyte_and_a_half = 3 << 19;
    let mut lines = b"{\"tool\":\"before\"}\n{\"tool\":\"".to_vec();
    lines.resize(lines.len() + megabyte_and_a_half, b'x');
    lines.extend(b"\"}\n{\"tool\":\"after\"}\n");
    // The longest line that is read, for comparison.
    let fits = format!(
        "{{\"tool\":\"fits\",\"result_text\":\"{}\"}}\n",
        "y".repeat(1_000_000)
    );
    lines.extend(fits.as_bytes());
    let run = agent_that_prints(&lines).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let tools = fields(&run, "action", &["tool"]);
    assert_eq!(
        tools,
        [json!(["before"]), json!(["after"]), json!(["fits"])]
    );
    let reports = fields(&run, "log", &["level", "message"]);
    let message = "a line of more than 1048576 bytes was not read";
    assert_eq!(reports, [json!(["warn", message])]);
    let longest = run.recording.lines().iter().map(String::len).max().unwrap();
    assert!(longest < 64 * 1024, "a record of {longest} bytes");
    run.recording.assert_whole();
}

#[test]
fn steps_are_ours_and_the_agents_number_is_kept() {
    let run = agent(
        r#"for step in 5 5 100 -1 0; do echo "{\"tool\":\"t\",\"step\":$step}"; done
        echo '{"tool":"t"}'
        echo '{"tool":"t","step":"seven"}'"#,
    )
    .finish();
    let steps = fields(&run, "action", &["step", "agent_step"]);
    let expected = [
        json!([1, 5]),
        json!([2, 5]),
        json!([3, 100]),
        json!([4, -1]),
        json!([5, 0]),
        json!([6, null]),
        json!([7, null]),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn what_is_open_at_a_stop_is_cancelled() {
    let run = agent(
        r#"for id in a b c; do
            echo "{\"type\":\"action.started\",\"call_id\":\"$id\",\"tool\":\"$id\",\"action\":\"x\"}"
        done
        echo '{"type":"action","call_id":"b","tool":"b","success":true}'
        while :; do sleep 0.05; done"#,
    )
    .start();
    run.until_status("b has ended", |status| {
        status["actions"].as_array().is_some_and(|a| a.len() == 1)
    });
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let actions = fields(&run, "action", &["step", "call_id", "success", "cancelled"]);
    let expected = [
        json!([2, "b", true, null]),
        json!([1, "a", null, true]),
        json!([3, "c", null, true]),
    ];
    assert_eq!(actions, expected);
    for action in run.recording.events_of("action") {
        assert!(action["duration_ms"].is_u64(), "{action}");
    }
    run.recording.assert_whole();
}

#[test]
fn the_trace_of_the_caller_goes_on_in_the_workload() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let run = RunBuilder::sh("echo \"[$TRACEPARENT]\"");
    let run = run.env("TRACEPARENT", traceparent).finish();
    let seen = run.stdout.trim().trim_matches(['[', ']']);
    assert_eq!(seen.split('-').nth(1), traceparent.split('-').nth(1));
    let run = RunBuilder::sh("echo \"[$TRACEPARENT]\"").finish();
    assert_eq!(run.stdout, "[]\n", "nothing is made up");
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned();
    let long = format!("{traceparent}-{}", "0".repeat(60_000));
    for wrong in ["garbage".to_owned(), format!("{traceparent}\n"), zero, long] {
        let run = RunBuilder::sh("echo \"[$TRACEPARENT]\"")
            .env("TRACEPARENT", &wrong)
            .finish();
        assert_eq!(run.stdout, "[]\n", "{wrong:.80}");
        assert!(
            run.stderr.contains("TRACEPARENT is not of the form"),
            "{:.2000}",
            run.stderr
        );
        assert!(run.stderr.len() < 10_000);
    }
}

#[test]
fn actions_are_seen_while_the_agent_runs() {
    let run = agent("echo '{\"tool\":\"t\"}'; until [ -e go ]; do sleep 0.02; done").start();
    run.until_status("the action counts", |status| status["action_count"] == 1);
    let seen = until("the action is in the file", || {
        run.recording().events_of("action").pop()
    });
    assert_eq!(seen["tool"], "t");
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
    assert_eq!(run.finish().code(), 0);
}
