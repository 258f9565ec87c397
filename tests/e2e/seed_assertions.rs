//! The 21 assertions of the predecessor's streaming test, held against the binary.
//!
//! What was a function call there is an agent's line here; what was a queue is a connection. Where a name or number differs,
//! the reason stands beside it:
//!
//! | no. | asserted there | here | why |
//! | --- | --- | --- | --- |
//! | 1, 2 | the id of a frame is the step | the id is the event's number in the log; the step is a field | several events belong to one step, and two actions may have said the same step |
//! | 3 | a frame ends with an empty line | the same | |
//! | 4, 5 | a handle's phase is running, then terminated | phase `running`, then `finished` with status `terminated` | phase and status are two things |
//! | 6, 7 | a registry adds, gets, removes; an unknown id is no error | the recordings directory is the registry | it outlives the process |
//! | 8, 14 | failed, with the text of the error | failed, with code and message | later versions of the predecessor do the same |
//! | 9 to 11 | pushed actions are counted and reach a subscriber | the same | |
//! | 12 | a second init empties the log | a second run has a log of its own | one process is one run |
//! | 13 | a summary alone completes | the same | |
//! | 15 | a subscriber gets a sentinel | it gets the terminal event, then the end of the body | the sentinel could be lost |
//! | 16 | three id lines and a complete event | a fourth id, that of the complete event | a client that reconnects behind it is told that nothing follows |
//! | 17 | Last-Event-ID 2 gives the third | the id of the second action gives the third, and the end | ids are log numbers |
//! | 18 | the complete event says completed | the same | |
//! | 19 | status has run id, running, count | the same | |
//! | 20 | an explicit status is kept | a terminal status is kept, whatever comes after it | |
//! | 21 | the default status is starting | the same | |

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::run::{Finished, binary};
use crate::harness::{Reply, Run, RunBuilder, get, request, stream, until};

/// What the predecessor's stream had; ids stay log numbers.
const SEED_STREAM: &str = "/events?types=action,complete";

/// The action that the predecessor's helper makes.
fn action(step: u64) -> String {
    json!({
        "step": step, "timestamp": "2026-01-01T00:00:00Z", "tool": "browser_dom", "action": "click",
        "input_summary": "click #a", "duration_ms": 100, "success": true, "result_text": null,
        "has_screenshot": false, "error": null,
    })
    .to_string()
}

/// An agent that reports `lines`, waits for [`go_on`], and ends with `ending`; its API lingers until a signal.
fn agent(lines: &[String], ending: &str) -> Run {
    let script = format!("cat lines; until [ -e go ]; do sleep 0.02; done; {ending}");
    let run = RunBuilder::sh(&script)
        .flag("--adapter=jsonl")
        .flag("--linger=60");
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(run.workspace().join("lines"), lines).unwrap();
    let run = run.start();
    run.until_running();
    run
}

/// The first actions, on record.
fn agent_with(n_actions: u64, ending: &str) -> Run {
    let run = agent(&(1..=n_actions).map(action).collect::<Vec<_>>(), ending);
    run.until_status("the actions are on record", |status| {
        status["action_count"] == n_actions
    });
    run
}

fn go_on(run: &Run) {
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
}

/// Lets the agent end; the API is still there.
fn complete(run: &Run) -> Value {
    go_on(run);
    run.until_status("the run has ended", |status| status["phase"] == "finished")
}

/// Ends the linger.
fn end(run: Run) -> Finished {
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    run.recording.assert_whole();
    run
}

/// The stream of a run that has ended, as it came over the wire.
fn wire(run: &Run, headers: &[(&str, &str)]) -> Reply {
    request(&run.address(), "GET", SEED_STREAM, headers, b"")
}

/// Its blocks that have data.
fn frames(reply: &Reply) -> Vec<String> {
    let text = reply.text();
    assert!(text.ends_with("\n\n"), "{text:?}");
    let blocks = text.split_inclusive("\n\n").map(str::to_owned);
    blocks.filter(|block| block.contains("data: ")).collect()
}

fn ids(frames: &[String]) -> Vec<u64> {
    frames
        .iter()
        .flat_map(|frame| frame.lines())
        .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
        .collect()
}

fn data(frame: &str) -> Value {
    let line = frame.lines().find_map(|line| line.strip_prefix("data: "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no data in {frame:?}"))).unwrap()
}

/// Numbers of the actions in the log.
fn action_seqs(run: &Run) -> Vec<u64> {
    let actions = run.recording().events_of("action");
    actions.iter().map(|a| a["seq"].as_u64().unwrap()).collect()
}

#[test]
fn seed_01_a_frame_begins_with_its_id() {
    let run = agent_with(5, "exit 0");
    complete(&run);
    let frames = frames(&wire(&run, &[]));
    assert_eq!(data(&frames[4])["step"], 5);
    let seq = action_seqs(&run)[4];
    assert!(frames[4].starts_with(&format!("id: {seq}\n")), "{frames:?}");
    end(run);
}

#[test]
fn seed_02_an_action_has_an_id_line_then_a_data_line() {
    let run = agent_with(1, "exit 0");
    complete(&run);
    let frames = frames(&wire(&run, &[]));
    let lines: Vec<&str> = frames[0].lines().collect();
    assert_eq!(lines[0], format!("id: {}", action_seqs(&run)[0]));
    assert!(lines[1].starts_with("data: "), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    let mut event = data(&frames[0]);
    assert_eq!(event["agent_step"], 1);
    // The fields of the seed, with the time of the record in the place of the helper's.
    let mut expected: Value = serde_json::from_str(&action(1)).unwrap();
    for (name, value) in expected.as_object_mut().unwrap() {
        if name != "timestamp" {
            assert_eq!(event[name].take(), value.take(), "{name}");
        }
    }
    end(run);
}

#[test]
fn seed_03_a_frame_ends_with_an_empty_line() {
    let run = agent_with(2, "exit 0");
    complete(&run);
    for frame in frames(&wire(&run, &[])) {
        assert!(frame.ends_with("\n\n"), "{frame:?}");
        assert_eq!(frame.matches("\n\n").count(), 1, "{frame:?}");
    }
    end(run);
}

#[test]
fn seed_04_a_run_with_a_live_agent_is_running() {
    let run = agent(&[], "exit 0");
    let status = get(&run.address(), "/status").json();
    assert_eq!(status["phase"], "running");
    assert_eq!(status["status"], "running");
    complete(&run);
    end(run);
}

#[test]
fn seed_05_a_stopped_run_is_terminated() {
    let run = agent(&[], "exit 0");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    let status = run.recording.status();
    assert_eq!(status["status"], "terminated");
    assert_eq!(status["phase"], "finished");
    assert_eq!(run.code(), 143, "{}", run.stderr);
}

#[test]
fn seed_06_a_run_is_found_by_its_id_until_it_is_removed() {
    let run = RunBuilder::sh("exit 0").finish();
    assert_eq!(run.recording.status()["run_id"], "run");
    // It is there: nobody else can have its id.
    let recordings = run.directory.path().join("recordings");
    let before = run.recording.lines();
    let same_id = RunBuilder::sh("exit 0").with_recordings(&recordings);
    assert_eq!(same_id.finish().code(), 125);
    assert_eq!(run.recording.lines(), before);
    // The newest run is never removed.
    let newer = RunBuilder::sh("exit 0")
        .with_recordings(&recordings)
        .flag("--run-id=newer");
    assert_eq!(newer.finish().code(), 0);
    prune(&recordings);
    assert!(recordings.join("newer/status.json").exists());
    assert!(!run.recording.path().exists());
    let again = RunBuilder::sh("exit 0").with_recordings(&recordings);
    assert_eq!(again.finish().code(), 0);
}

#[test]
fn seed_07_removing_what_is_not_there_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    prune(&directory.path().join("recordings"));
}

fn prune(recordings: &std::path::Path) {
    let output = Command::new(binary())
        .args(["prune", "--max-runs=0", "--recordings"])
        .arg(recordings)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn seed_08_a_failure_keeps_the_text_of_its_error() {
    let failing = json!({"tool": "t", "success": false, "error": "boom"}).to_string();
    let run = agent(&[failing], "exit 1");
    let status = complete(&run);
    assert_eq!(status["status"], "failed");
    assert_eq!(status["actions"][0]["error"], "boom");
    assert_eq!(status["error"]["message"], "the agent exited with code 1");
    end(run);
}

#[test]
fn seed_09_two_actions_make_a_log_of_two_in_order() {
    let run = agent_with(2, "exit 0");
    complete(&run);
    let steps: Vec<Value> = frames(&wire(&run, &[]))
        .iter()
        .map(|frame| data(frame)["step"].take())
        .collect();
    assert_eq!(steps, [json!(1), json!(2), Value::Null]);
    end(run);
}

#[test]
fn seed_10_two_actions_are_counted() {
    let run = agent_with(2, "exit 0");
    assert_eq!(get(&run.address(), "/status").json()["action_count"], 2);
    assert_eq!(complete(&run)["action_count"], 2);
    end(run);
}

#[test]
fn seed_11_a_waiting_reader_is_given_the_action() {
    let run = agent(&[], &format!("echo '{}'", action(1)));
    let mut reader = stream(&run.address(), SEED_STREAM, &[]);
    assert_eq!(reader.status(), 200);
    go_on(&run);
    let frame = until("a frame with data", || {
        reader.next_frame().filter(|frame| frame.data.is_some())
    });
    let event: Value = serde_json::from_str(&frame.data.unwrap()).unwrap();
    assert_eq!(
        (&event["type"], &event["step"]),
        (&json!("action"), &json!(1))
    );
    end(run);
}

#[test]
fn seed_12_a_new_run_begins_with_an_empty_log() {
    let first = agent_with(3, "exit 0");
    complete(&first);
    let first = end(first);
    let recordings = first.directory.path().join("recordings");
    let second = RunBuilder::sh("exit 0")
        .with_recordings(&recordings)
        .flag("--run-id=second")
        .finish();
    assert_eq!(second.code(), 0, "{}", second.stderr);
    let second = crate::harness::Recording::at(recordings.join("second"));
    second.assert_whole();
    assert_eq!(second.status()["run_id"], "second");
    assert_eq!(second.status()["action_count"], 1);
    assert_ne!(second.status()["epoch"], first.recording.status()["epoch"]);
    assert!(second.events().iter().all(|e| e["run_id"] == "second"));
}

#[test]
fn seed_13_a_result_alone_completes_the_run() {
    let run = agent(
        &[json!({"type": "result", "result": "all done"}).to_string()],
        "exit 0",
    );
    let status = complete(&run);
    assert_eq!(status["status"], "completed");
    assert_eq!(status["result"], "all done");
    assert_eq!(status["error"], Value::Null);
    assert_eq!(end(run).code(), 0);
}

#[test]
fn seed_14_an_error_fails_the_run_and_is_kept() {
    let run = agent_with(1, "exit 7");
    let status = complete(&run);
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["code"], "AGENT_FAILED");
    assert_eq!(status["error"]["message"], "the agent exited with code 7");
    assert_eq!(end(run).code(), 1);
}

#[test]
fn seed_15_a_waiting_reader_is_given_the_end() {
    let run = agent(&[], "exit 0");
    let reader = stream(&run.address(), SEED_STREAM, &[]);
    go_on(&run);
    let frames = reader.events();
    let last = frames.last().unwrap();
    assert_eq!(last.event.as_deref(), Some("complete"));
    assert!(last.id.is_some());
    end(run);
}

#[test]
fn seed_16_three_actions_and_the_end_are_replayed_in_order() {
    let run = agent_with(3, "exit 0");
    complete(&run);
    let reply = wire(&run, &[]);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let frames = frames(&reply);
    let mut expected = action_seqs(&run);
    expected.push(run.recording().lines().len() as u64);
    assert_eq!(ids(&frames), expected);
    assert!(frames[3].contains("\nevent: complete\n"), "{}", frames[3]);
    end(run);
}

#[test]
fn seed_17_a_reader_that_has_two_is_given_the_third() {
    let run = agent_with(3, "exit 0");
    complete(&run);
    let seqs = action_seqs(&run);
    let last = seqs[1].to_string();
    let frames = frames(&wire(&run, &[("Last-Event-ID", &last)]));
    assert_eq!(ids(&frames)[0], seqs[2]);
    assert_eq!(frames.len(), 2, "the third action and the end: {frames:?}");
    end(run);
}

#[test]
fn seed_18_the_end_of_a_completed_run_says_completed() {
    let run = agent_with(1, "exit 0");
    complete(&run);
    let reply = wire(&run, &[]);
    assert!(reply.text().contains("event: complete\n"));
    assert!(reply.text().contains("\"completed\""));
    let frames = frames(&reply);
    assert_eq!(data(frames.last().unwrap())["status"], "completed");
    end(run);
}

#[test]
fn seed_19_the_status_has_run_state_and_count() {
    let run = agent_with(1, "exit 0");
    let reply = get(&run.address(), "/status");
    assert_eq!(reply.status, 200);
    let status = reply.json();
    assert_eq!(status["run_id"], "run");
    assert_eq!(status["status"], "running");
    assert_eq!(status["action_count"], 1);
    complete(&run);
    end(run);
}

#[test]
fn seed_20_a_terminal_status_is_kept() {
    let run = agent_with(1, "exit 0");
    let before = complete(&run);
    let on_disk = run.recording().status();
    // A signal now only ends the linger.
    let run = end(run);
    assert_eq!(run.code(), 0);
    for status in [on_disk, run.recording.status()] {
        assert_eq!(status["status"], "completed");
        assert_eq!(status["outcome"], before["outcome"]);
        assert_eq!(status["last_event_id"], before["last_event_id"]);
    }
}

#[test]
fn seed_21_a_run_begins_as_starting() {
    let run = RunBuilder::sh("exit 0").finish();
    let phases: Vec<Value> = run.recording.events_of("run.phase");
    assert_eq!(phases[0]["status"], "starting");
    assert_eq!(phases[0]["phase"], "starting");
    let order: Vec<&Value> = phases.iter().map(|phase| &phase["phase"]).collect();
    assert_eq!(order, ["starting", "running", "stopping"]);
}

/// SEED, regression 4: the second of two actions with one step was dropped by readers that took the step for an id.
#[test]
fn regression_04_two_actions_with_the_same_step_are_two() {
    let run = agent(&[action(1), action(1)], "exit 0");
    complete(&run);
    let frames = frames(&wire(&run, &[]));
    assert_eq!(ids(&frames).len(), 3);
    let steps = [&frames[0], &frames[1]].map(|f| data(f)["step"].take());
    assert_eq!(steps, [json!(1), json!(2)]);
    let kept = [&frames[0], &frames[1]].map(|f| data(f)["agent_step"].take());
    assert_eq!(kept, [json!(1), json!(1)]);
    end(run);
}

/// SEED, regression 6: an EventSource that came back after the end was given the whole stream again, for ever.
#[test]
fn regression_06_a_reconnect_after_the_end_is_told_that_nothing_follows() {
    let run = agent_with(1, "exit 0");
    let last = complete(&run)["last_event_id"].to_string();
    let reply = wire(&run, &[("Last-Event-ID", &last)]);
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    end(run);
}

/// SEED, regression 10: an agent that failed with 7 left a container that had ended with 0.
#[test]
fn regression_10_the_failure_of_the_child_is_that_of_the_process() {
    let command = RunBuilder::sh("exit 7").finish();
    assert_eq!(command.code(), 7);
    let agent = RunBuilder::sh("exit 7").flag("--adapter=jsonl").finish();
    assert_eq!(agent.code(), 1);
    for run in [command, agent] {
        assert_eq!(run.recording.status()["outcome"]["exit_code"], 7);
    }
}
