//! The structured result: found, checked, and told when it is not there.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::RunBuilder;
use crate::harness::run::Finished;

const SCHEMA: &str = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;

fn asked(script: &str) -> RunBuilder {
    RunBuilder::sh(script).env("STOCKADE_OUTPUT_SCHEMA", SCHEMA)
}

fn assert_completed(run: &Finished, data: &Value) {
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    for document in [
        run.recording.status(),
        run.recording.events_of("complete").remove(0),
    ] {
        assert_eq!(document["status"], "completed");
        assert_eq!(document["data"], *data);
    }
}

/// The details of the error.
fn assert_invalid(run: &Finished, message: &str) -> Value {
    assert_eq!(run.code(), 1, "{}", run.stderr);
    run.recording.assert_whole();
    let mut documents = [
        run.recording.status(),
        run.recording.events_of("complete").remove(0),
    ];
    for document in &documents {
        assert_eq!(document["status"], "failed");
        assert_eq!(document["error"]["code"], "OUTPUT_INVALID");
        let told = document["error"]["message"].as_str().unwrap();
        assert!(told.contains(message), "{told}");
        assert_eq!(document["data"], Value::Null);
        assert_eq!(document["outcome"]["exit_code"], 0);
        assert_eq!(document["outcome"]["by"], "agent");
    }
    documents[0]["error"]["details"].take()
}

#[test]
fn the_last_json_line_of_a_command_is_its_result() {
    for script in [
        r#"echo '{"n":1}'"#,
        r#"echo text; echo '{"n":0}'; echo '{"n":1}'; echo '{torn'; echo Done."#,
        r#"printf '{"n":1}'"#,
        r#"echo '{"n":1}'; echo '{"n":2}' >&2"#,
        // More than the record keeps of the output, in front of it and behind it.
        r#"head -c 300000 /dev/zero | tr '\0' x; echo; echo '{"n":1}'; head -c 300000 /dev/zero | tr '\0' y"#,
    ] {
        assert_completed(&asked(script).finish(), &json!({"n": 1}));
    }
    // Nobody asked: nothing is looked for.
    let run = RunBuilder::sh("echo '{\"n\":1}'").finish();
    assert_completed(&run, &Value::Null);
}

#[test]
fn a_result_that_is_missing_or_of_another_form_fails_the_run() {
    let details = assert_invalid(
        &asked(r#"echo '{"n":1}'; echo '{"n":"one"}'"#).finish(),
        "/n is of the type string, not integer",
    );
    let violation = json!({
        "path": "/n",
        "schema": "/properties/n/type",
        "reason": "is of the type string, not integer",
    });
    assert_eq!(
        details,
        json!({"violations": [violation], "violation_count": 1})
    );
    assert_invalid(
        &asked("echo '[]'").finish(),
        "the whole is of the type array, not object",
    );
    assert_invalid(
        &asked("echo nothing").finish(),
        "no line of standard output",
    );
    assert_invalid(&asked("true").finish(), "no line of standard output");
    let long = r#"printf '{"n":"'; head -c 1100000 /dev/zero | tr '\0' x; echo '"}'"#;
    assert_invalid(&asked(long).finish(), "longer than 1048576 bytes");
    let deep = r#"head -c 500 /dev/zero | tr '\0' '['; head -c 500 /dev/zero | tr '\0' ']'"#;
    assert_invalid(&asked(deep).finish(), "is no JSON: recursion limit");
}

#[test]
fn what_was_refused_is_kept_as_an_artifact() {
    let run = asked(r#"echo '{"n":"one"}'"#).finish();
    assert_invalid(&run, "not integer");
    let added = run.recording.events_of("artifact").remove(0);
    assert_eq!(added["path"], "output-rejected.json");
    let kept = run.recording.path().join("artifacts/output-rejected.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, json!({"n": "one"}));
}

#[test]
fn an_agent_reports_its_result_or_prints_it() {
    let agent = |script: &str| asked(script).flag("--adapter=jsonl").finish();
    let reported = r#"echo '{"type":"result","result":"x","data":{"n":1}}'; echo '{"n":2}'"#;
    assert_completed(&agent(reported), &json!({"n": 1}));
    let printed = r#"echo '{"n":1}'; echo '{"tool":"t"}'; echo '{"type":"message","text":"x"}'"#;
    assert_completed(&agent(printed), &json!({"n": 1}));
    let wrong = r#"echo '{"n":1}'; echo '{"type":"result","data":{"n":null}}'"#;
    assert_invalid(&agent(wrong), "/n is of the type null, not integer");
    assert_invalid(
        &agent(r#"echo '{"tool":"t"}'"#),
        "no line of standard output",
    );
}

#[test]
fn a_file_of_the_workspace_is_the_result() {
    let filed = |script: &str| asked(script).flag("--output-file=out/result.json");
    let run = filed(r#"mkdir out; echo '{"n":1}' > out/result.json; echo '{"n":"x"}'"#).finish();
    assert_completed(&run, &json!({"n": 1}));
    let run = filed(r#"mkdir out; echo '{"n":1.5}' > out/result.json; echo '{"n":1}'"#).finish();
    assert_invalid(&run, "/n is of the type number, not integer");
    let run = filed("mkdir out; echo '{\"n\":1}'").finish();
    assert_invalid(&run, "the output file out/result.json is missing");
    let run = filed("mkdir out; ln -s /etc/passwd out/result.json").finish();
    assert_invalid(&run, "links are not followed");
    let run = filed("mkdir out; mkfifo out/result.json").finish();
    assert_invalid(&run, "is no regular file");
    let run = filed("mkdir out; head -c 1100000 /dev/zero > out/result.json").finish();
    assert_invalid(&run, "is larger than 1048576 bytes");

    let stale = filed("true");
    std::fs::create_dir(stale.workspace().join("out")).unwrap();
    std::fs::write(stale.workspace().join("out/result.json"), "{\"n\":1}").unwrap();
    assert_invalid(&stale.finish(), "was there before the run");

    // Without a schema any JSON is a result.
    let run = RunBuilder::sh("echo 7 > seven")
        .flag("--output-file=seven")
        .finish();
    assert_completed(&run, &json!(7));
}

#[test]
fn a_run_that_ends_otherwise_keeps_its_own_code() {
    let code = |run: &Finished| run.recording.status()["error"]["code"].clone();
    let run = asked("echo '{\"n\":\"x\"}'; exit 7").finish();
    assert_eq!((run.code(), code(&run)), (7, json!("COMMAND_FAILED")));
    let run = asked("sleep 60").flag("--timeout=1").finish();
    assert_eq!((run.code(), code(&run)), (124, json!("TIMEOUT")));
    let run = asked("echo ready; sleep 60").start();
    run.until_status("it runs", |status| status["phase"] == "running");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!((run.code(), code(&run)), (143, json!("RUN_TERMINATED")));
    let agent = r#"echo '{"type":"result","data":{"n":"x"}}'; exit 3"#;
    let run = asked(agent).flag("--adapter=jsonl").finish();
    assert_eq!((run.code(), code(&run)), (1, json!("AGENT_FAILED")));
    assert_eq!(run.recording.status()["data"], json!({"n": "x"}));
}

#[test]
fn a_large_result_is_checked_whole_and_kept_as_an_artifact() {
    let schema = r#"{"properties":{"list":{"items":{"type":"integer"}}}}"#;
    let script = |last: &str| {
        format!("printf '{{\"list\":['; yes 1, | head -n 60000 | tr -d '\\n'; echo '{last}]}}'")
    };
    let run = |last: &str| {
        RunBuilder::sh(&script(last))
            .env("STOCKADE_OUTPUT_SCHEMA", schema)
            .finish()
    };
    let good = run("2");
    assert_eq!(good.code(), 0, "{}", good.stderr);
    assert_eq!(good.recording.status()["data"]["artifact"], "data.json");
    assert_invalid(
        &run("\"2\""),
        "/list/60000 is of the type string, not integer",
    );
}

#[test]
fn a_secret_in_a_result_is_nowhere() {
    let secret = "correct/horse~battery";
    let script = r#"printf '{"n":1,"%s":"%s"}' "$PASSWORD" "$PASSWORD" > result.json"#;
    for schema in [SCHEMA, r#"{"additionalProperties":false}"#] {
        let run = RunBuilder::sh(script)
            .env("STOCKADE_OUTPUT_SCHEMA", schema)
            .env("MY_SECRET", secret)
            .flag("--credential=PASSWORD=env:MY_SECRET")
            .flag("--output-file=result.json")
            .finish();
        let status = run.recording.status();
        assert_eq!(run.code(), i32::from(schema != SCHEMA), "{}", run.stderr);
        assert!(!status.to_string().contains(secret), "{status}");
        assert!(
            status.to_string().contains("[redacted:PASSWORD]"),
            "{status}"
        );
        for line in run.recording.lines() {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(!run.stderr.contains(secret), "{}", run.stderr);
        if let Ok(kept) =
            std::fs::read_to_string(run.recording.path().join("artifacts/output-rejected.json"))
        {
            assert!(!kept.contains(secret), "{kept}");
        }
    }
}

#[test]
fn a_run_whose_supervisor_dies_never_completes_whatever_it_gave() {
    let run = asked("echo '{\"n\":1}'; sleep 60").start();
    run.until_status("it runs", |status| status["phase"] == "running");
    crate::harness::run::kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "SUPERVISOR_CRASHED");
    assert_eq!(status["data"], Value::Null);
    run.recording.assert_whole();
}

#[test]
fn a_run_whose_supervisor_dies_still_says_how_it_ended_and_where_to_look() {
    for asks_for_status in [false, true] {
        let mut builder = RunBuilder::sh("sleep 60").flag("--log-level=error");
        if asks_for_status {
            builder = builder.flag("--json");
        }
        let run = builder.start();
        run.until_status("it runs", |status| status["phase"] == "running");
        crate::harness::run::kill(run.supervisor_pid(), Signal::SIGKILL);
        let run = run.finish();
        assert_eq!(run.code(), 125, "{}", run.stderr);
        let lines: Vec<&str> = run.stderr.lines().collect();
        let [.., end, place] = lines.as_slice() else {
            panic!("{}", run.stderr);
        };
        assert!(
            end.starts_with("stockade: failed (SUPERVISOR_CRASHED): "),
            "{end}"
        );
        let path = run.recording.path().display().to_string();
        assert_eq!(*place, format!("stockade: recorded in {path}"));
        if asks_for_status {
            let printed: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!(printed, run.recording.status());
        } else {
            assert_eq!(run.stdout, "");
        }
    }
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_the_end_of_a_crashed_run() {
    // More than a pipe takes, and nobody reads before the end.
    let label = format!("--label=long={}", "x".repeat(200));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    nix::fcntl::fcntl(
        &filler,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .unwrap();
    while std::io::Write::write(&mut filler, &[b'x'; 4096]).is_ok() {}
    nix::fcntl::fcntl(
        &filler,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()),
    )
    .unwrap();
    let builder = RunBuilder::sh("sleep 60").flag("--json").flag(label);
    let mut command = builder.command();
    let mut child = command
        .stdout(writer)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(command);
    let claim = builder.recordings().join("run/claim.json");
    let supervisor = crate::harness::until("the supervisor claims the run", || {
        let claim: Value = serde_json::from_slice(&std::fs::read(&claim).ok()?).ok()?;
        i32::try_from(claim["pid"].as_i64()?).ok()
    });
    crate::harness::run::kill(supervisor, Signal::SIGKILL);
    let status = crate::harness::until("the run ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(125));
    drop(reader);
}

#[test]
fn a_schema_that_cannot_be_used_stops_nothing_but_the_start() {
    let run = RunBuilder::sh("touch started").env("STOCKADE_OUTPUT_SCHEMA", r#"{"type":"strnig"}"#);
    let workspace = run.workspace();
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let told = "/type = \"strnig\" is no type";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(!workspace.join("started").exists());
    assert_eq!(run.recording.status()["error"]["code"], "SETUP_FAILED");
}

#[test]
fn a_number_that_cannot_be_kept_is_refused_and_never_rounded() {
    let long = "12345678901234567890123456789";
    let why =
        |place: &str| format!("{place} is the number {long}, of which not all digits can be kept");
    let run = asked(&format!("echo '{{\"n\":{long}}}'")).finish();
    assert_invalid(&run, &why("/n"));
    let run = asked(&format!("echo '{{\"n\":{long}}}' >result.json"))
        .flag("--output-file=result.json")
        .finish();
    assert_invalid(&run, &why("/n"));
    let reported = format!("echo '{{\"type\":\"result\",\"data\":{{\"n\":{long}}}}}'");
    let run = asked(&reported).flag("--adapter=jsonl").finish();
    assert_invalid(&run, &why("/data/n"));
    // Nobody asked: it is recorded as it could be read, and told.
    let run = RunBuilder::sh(&reported).flag("--adapter=jsonl").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let logs = run.recording.events_of("log");
    let is_told = |log: &&Value| log["message"].as_str().unwrap().contains(&why("/data/n"));
    assert_eq!(logs.iter().filter(is_told).count(), 1, "{logs:?}");
    let schema = format!("{{\"properties\":{{\"n\":{{\"const\":{long}}}}}}}");
    let run = RunBuilder::sh("true")
        .env("STOCKADE_OUTPUT_SCHEMA", schema)
        .finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(
        run.stderr.contains(&why("/properties/n/const")),
        "{}",
        run.stderr
    );
    // What a double holds is kept to the last digit.
    let exact = "{\"n\":1,\"x\":[2.5761654984353947e-201,0.1,18446744073709551615]}";
    let run = asked(&format!("echo '{exact}'")).finish();
    assert_eq!(run.recording.status()["data"].to_string(), exact);
}

#[test]
fn a_result_that_was_cut_off_is_not_replaced_by_what_was_printed_before_it() {
    let run = asked(r#"echo '{"n":1}'; printf '{"n":2,"b":'"#).finish();
    assert_invalid(&run, "the output is not whole");
}
