//! What a playbook leaves: its report and its structured result.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{junit, playbook};
use crate::harness::RunBuilder;
use crate::harness::run::kill;

#[test]
fn the_report_is_copied_where_it_was_asked_for() {
    let run = playbook("steps:\n  - {id: one, run: 'true'}\n");
    let wanted = run.workspace().with_file_name("report.xml");
    std::fs::write(&wanted, "an older one").unwrap();
    let run = run.flag("--junit").flag(&wanted).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let report = std::fs::read_to_string(&wanted).unwrap();
    assert_eq!(report, junit(&run));
    assert!(report.contains("<testcase name=\"one\""), "{report}");

    // When the supervisor dies, the report of an earlier run does not stand for this one.
    let run = playbook("steps:\n  - {id: one, run: 'echo begun; sleep 600'}\n");
    let wanted = run.workspace().with_file_name("report.xml");
    std::fs::write(&wanted, "an older one").unwrap();
    let run = run.flag("--junit").flag(&wanted).start();
    run.until_stdout("begun");
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(!wanted.exists());

    let run = playbook("steps:\n  - {id: one, run: 'touch ran'}\n");
    let run = run.flag("--junit=/no/such/place/report.xml").finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(!run.directory.path().join("workspace/ran").exists());
    let run = RunBuilder::sh("true").flag("--junit=report.xml").finish();
    assert_eq!(run.code(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("--playbook"), "{}", run.stderr);
}

#[test]
fn outputs_have_a_limit_in_all_and_never_take_the_rest_of_the_result_away() {
    let one = |number: u32| json!({"id": format!("s{number}"), "run": "head -c 60000 /dev/zero | tr '\\0' x", "outputs": {"o": "stdout"}, "on_failure": "continue"});
    let list: Vec<Value> = (1..=20).map(one).collect();
    let book = json!({"version": 1, "name": "test", "steps": list});
    let run = RunBuilder::playbook(&book.to_string()).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let data = run.recording.status()["data"].clone();
    let artifact = run.recording.path().join("artifacts/data.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(artifact).unwrap()).unwrap();
    assert_eq!(
        (&data["truncated"], &data["artifact"]),
        (&json!(true), &json!("data.json"))
    );
    for number in 1..=20 {
        let id = format!("s{number}");
        let (brief, full) = (&data["steps"][&id], &whole["steps"][&id]);
        for key in ["status", "attempts", "exit_code", "error"] {
            assert_eq!(brief[key], full[key], "{key} of {number}");
        }
        assert_eq!(brief["attempts"], 1);
        if number <= 17 {
            assert_eq!(full["outputs"]["o"].as_str().unwrap().len(), 60_000);
        } else {
            let error = full["error"].as_str().unwrap();
            assert!(error.contains("more than 1048576 bytes in all"), "{error}");
        }
    }
}

const SCHEMA: &str =
    r#"{"type":"object","required":["answer"],"properties":{"answer":{"type":"integer"}}}"#;

#[test]
fn the_result_that_is_asked_for_stands_beside_the_steps() {
    let asked =
        |book: Value| RunBuilder::playbook(&book.to_string()).env("STOCKADE_OUTPUT_SCHEMA", SCHEMA);
    let say = |answer: u32| format!("echo '{{\"answer\":{answer}}}'");
    let run = asked(json!({"version": 1, "name": "test", "steps": [
        {"id": "one", "run": format!("{}; (sleep 0.3; {}) &", say(41), say(40))},
        {"id": "two", "retries": {"max": 1, "delay": "0s"},
         "run": format!("test -e again || {{ touch again; {}; exit 1; }}; printf '{{\"answer\":42}}'; sleep 0.5 &", say(43))},
        {"id": "three", "run": "sleep 0.6; echo no JSON"},
        {"id": "four", "run": format!("{}; exit 1", say(44)), "on_failure": "continue"},
    ], "finally": [{"id": "clean", "run": say(45)}]}))
    .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let data = run.recording.status()["data"].clone();
    assert_eq!(data["output"], json!({"answer": 42}));
    assert_eq!(data["steps"]["two"]["attempts"], 2);
    assert_eq!(data["steps"]["clean"]["status"], "succeeded");

    let one = |run: &str| {
        asked(json!({"version": 1, "name": "test", "steps": [{"id": "one", "run": run}]}))
    };
    let run = one("echo '{\"answer\":\"x\"}'").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "OUTPUT_INVALID");
    assert_eq!(status["data"]["steps"]["one"]["status"], "succeeded");
    assert_eq!(status["data"].get("output"), None);

    let run = one("echo '{\"answer\":7}' >result.json")
        .flag("--output-file=result.json")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let data = run.recording.status()["data"].clone();
    assert_eq!(data["output"], json!({"answer": 7}));
    assert_eq!(data["steps"]["one"]["status"], "succeeded");
}
