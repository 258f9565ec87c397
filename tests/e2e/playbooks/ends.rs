//! What ends a step or the run: timeouts, stops and limits.

use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{attempts, junit, playbook, steps};
use crate::harness::{RunBuilder, need::need, until};

#[test]
fn a_step_that_is_too_slow_is_ended_with_its_children_and_nothing_else() {
    let begun = Instant::now();
    let run = playbook(
        "steps:\n  - {id: background, run: 'setsid sh -c \"while :; do echo alive >/tmp/alive; sleep 0.05; done\" >/dev/null 2>&1 &'}\n  - {id: slow, run: 'trap : TERM; sleep 600 & setsid -w sleep 600', timeout: 300ms, on_failure: continue}\n  - {id: look, run: 'rm -f /tmp/alive; until test -e /tmp/alive; do :; done; ! ps -eo args 2>/dev/null | grep -q \"^sleep 600\"'}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let slow = &run.recording.status()["data"]["steps"]["slow"];
    assert_eq!(slow["error"], "it took longer than its timeout of 300ms");
    let limits = run.recording.events_of("limit");
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert_eq!(
        (&limits[0]["rule"], &limits[0]["limit"]),
        (&json!("steps.timeout"), &json!(300))
    );
    assert!(begun.elapsed().as_secs() < 60);
    let survivors = &run.recording.status()["survivors"];
    assert_ne!(
        survivors["killed"], 0,
        "the background did not outlive the run"
    );
}

#[test]
fn a_stop_ends_the_step_and_runs_nothing_more() {
    for pause in ["sleep 600", "exit 1"] {
        let run = playbook(&format!(
            "steps:\n  - {{id: first, run: 'true'}}\n  - {{id: long, run: 'echo begun; {pause}', retries: {{max: 1, delay: 5m, max_delay: 5m}}}}\n  - {{id: never, run: 'true'}}\nfinally:\n  - {{id: clean, run: 'true'}}\n"
        ))
        .start();
        run.until_stdout("begun");
        if pause == "exit 1" {
            until("the pause begins", || {
                (!run.recording().events_of("retry").is_empty()).then_some(())
            });
        }
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["error"]["code"], "RUN_TERMINATED");
        let steps = &status["data"]["steps"];
        assert_eq!(steps["first"]["status"], "succeeded", "{status}");
        assert_eq!(steps["long"]["status"], "failed");
        assert_eq!((steps.get("never"), steps.get("clean")), (None, None));
        let ids: Vec<_> = attempts(&run).iter().map(|row| row[0].clone()).collect();
        assert_eq!(ids, ["first", "long"]);
        run.recording.assert_whole();
        let error = steps["long"]["error"].as_str().unwrap();
        let (told, in_report) = match pause {
            "exit 1" => (
                "the command exited with code 1; the run ended before attempt 2",
                "<failure message=\"the command exited with code 1\"",
            ),
            _ => (
                "the run ended before the step did",
                "the run ended before the step did",
            ),
        };
        assert_eq!(error, told);
        assert!(junit(&run).contains(in_report));
        assert!(!junit(&run).contains("rerunFailure"));
    }
}

#[test]
fn the_limits_of_the_run_hold() {
    let book = "steps:\n  - {id: again, run: 'echo x; exit 1', retries: {max: 20, delay: 0s}}\n";
    let run = playbook(book).flag("--max-steps=3").finish();
    assert_eq!(run.code(), 1);
    assert_eq!(run.recording.status()["error"]["code"], "BUDGET_EXCEEDED");
    assert_eq!(attempts(&run).len(), 3);
    let again = &run.recording.status()["data"]["steps"]["again"];
    assert_eq!(again["attempts"], 3, "what did not begin is none: {again}");
    let run = playbook("steps:\n  - {id: slow, run: 'sleep 600', timeout: 10m}\n")
        .flag("--timeout=1")
        .finish();
    assert_eq!(run.code(), 124);
    assert_eq!(run.recording.status()["error"]["code"], "TIMEOUT");
    let run = playbook("steps:\n  - {id: loud, run: 'yes'}\n")
        .flag("--limit-output=64KiB")
        .finish();
    assert_eq!(run.recording.status()["error"]["code"], "BUDGET_EXCEEDED");
}

/// Prints how many processes were begun by `sleep` with one of these times.
fn count_sleeps(times: &str) -> String {
    format!(
        "for p in /proc/[0-9]*; do tr \"\\0\" \" \" <$p/cmdline; echo; done 2>/dev/null | grep -cE \"^sleep ({times}) \""
    )
}

#[test]
fn nothing_of_an_attempt_that_was_too_slow_is_left_beside_the_next_one() {
    let book = json!({"version": 1, "name": "test", "steps": [
        {"id": "background", "run": "setsid sleep 3111 >/dev/null 2>&1 &"},
        {"id": "slow", "timeout": "500ms", "retries": {"max": 1, "delay": "0s"},
         "env": {"DEAF": "trap '' TERM; sleep 3112 & sleep 3113"},
         // One in its session, one in its own, one that has lost its parent before.
         "run": format!(
             "if test -e second; then {}; exit 0; fi; touch second; sh -c \"$DEAF\" & setsid sh -c \"$DEAF\" & (setsid sh -c \"$DEAF\" &); until test $({}) = 6; do :; done; touch there; sleep 30",
             count_sleeps("3112|3113"), count_sleeps("3112|3113")
         ),
         "outputs": {"left": "stdout.trim()"}, "expect": {"exit": [0, 1], "file": {"path": "there"}}},
        {"id": "look", "run": count_sleeps("3111"), "outputs": {"left": "stdout.trim()"}},
    ]});
    let run = RunBuilder::playbook(&book.to_string()).finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    let steps = steps(&run);
    assert_eq!(steps["slow"]["attempts"], 2, "{steps}");
    assert_eq!(steps["slow"]["outputs"]["left"], "0", "{steps}");
    assert_eq!(steps["look"]["outputs"]["left"], "1", "{steps}");
    let survivors = &run.recording.status()["survivors"];
    assert_eq!(survivors["names"], json!(["sleep"]), "{survivors}");
}

#[test]
fn what_is_left_of_a_slow_attempt_has_its_grace_to_clean_up() {
    let run = playbook(
        "steps:\n  - {id: slow, run: '(trap \"sleep 0.4; echo clean >cleaned; exit\" TERM; touch up; while :; do sleep 0.05; done) & until test -e up; do :; done; sleep 30', timeout: 1s, on_failure: continue}\n  - {id: look, run: cat cleaned}\n",
    )
    .finish();
    assert_eq!(run.code(), 0, "{}\n{:#?}", run.stderr, attempts(&run));
    assert_eq!(steps(&run)["slow"]["status"], "failed");
}

#[test]
fn a_stop_during_the_checks_keeps_what_the_command_did_and_counts_no_look() {
    if need("python3").is_none() {
        return;
    }
    let server = "import socket; s = socket.create_server(('127.0.0.1', 8125)); open('up', 'w'); c = s.accept(); print('asked', flush=True); s.accept()";
    let book = json!({"version": 1, "name": "test", "steps": [
        {"id": "serve", "run": "python3 -c \"$SERVER\" & until test -e up; do :; done", "env": {"SERVER": server}},
        {"id": "look", "run": "echo done", "expect": {"http": {"url": "http://127.0.0.1:8125/", "timeout": "60s"}}},
    ]});
    let run = RunBuilder::playbook(&book.to_string()).start();
    run.until_stdout("asked");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let look = run.recording.events_of("action").pop().unwrap();
    assert_eq!(look["action"], "look");
    assert_eq!(
        (&look["success"], &look["exit_code"], &look["result_text"]),
        (&json!(false), &json!(0), &json!("done\n"))
    );
    assert_eq!(look["error"], "the run ended during the checks of the step");
    let survivors = &run.recording.status()["survivors"];
    assert_eq!(survivors["names"], json!(["python3"]), "{survivors}");
}

#[test]
fn a_pause_that_the_playbook_asks_for_is_no_silence() {
    let run = playbook("steps:\n  - {id: one, run: 'exit 3', retries: {max: 1, delay: 2500ms}}\n")
        .flag("--idle-timeout=1")
        .finish();
    assert_eq!(run.code(), 3, "{}", run.stderr);
    let run = playbook("steps:\n  - {id: one, run: 'sleep 600'}\n")
        .flag("--idle-timeout=1")
        .finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
}

/// A look at a URL may take 5 minutes; the step behind it may not be silent for as long.
#[test]
fn a_look_that_has_ended_is_no_excuse_for_silence() {
    let steps = "steps:\n  - {id: one, run: 'echo x >f', expect: {file: {path: f}}}\n  - {id: two, run: 'sleep 600'}\n";
    let run = playbook(steps).flag("--idle-timeout=1").finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
    // A file may be looked at for 5 s, which would have been added to the second.
    let duration = run.recording.status()["duration_ms"].as_u64().unwrap();
    assert!(duration < 5_000, "{duration}");
}

#[test]
fn a_loop_that_reached_its_limit_ends_by_it_and_tells_no_exit_of_another_step() {
    let skipped: String = (0..190)
        .map(|idx| format!("  - {{id: s{idx}, run: 'true', if: '1 == 2'}}\n"))
        .collect();
    let book = format!(
        "steps:\n{skipped}  - {{id: back, run: 'exit 3', on_failure: 'goto:s0'}}\nfinally:\n  - {{id: f, run: 'exit 0'}}\n"
    );
    let run = playbook(&book).flag("--max-steps=1000").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "BUDGET_EXCEEDED", "{status}");
    assert_eq!(
        status["error"]["details"],
        json!({"rule": "steps.skipped", "limit": 10_000})
    );
    let outcome = &status["outcome"];
    assert_eq!(outcome["by"], "limit", "{outcome}");
    assert_eq!(
        outcome["exit_code"],
        json!(null),
        "that of finally decided nothing: {outcome}"
    );
    assert_eq!(status["data"]["steps"]["f"]["status"], "succeeded");
    let [limit] = run.recording.events_of("limit").try_into().unwrap();
    assert_eq!(
        (&limit["rule"], &limit["decision"]),
        (&json!("steps.skipped"), &json!("end_steps"))
    );
}
