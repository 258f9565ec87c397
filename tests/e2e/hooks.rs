//! Hooks: what runs at the beginning of a stop and behind the end of the agent, and that it never changes the end.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crash_follower::over_socket;
use crate::harness::run::{Finished, kill};
use crate::harness::{RunBuilder, until};
use crate::process_table;
use crate::services::{left, willing};

/// Notes when it is asked to end.
const AGENT: &str =
    "trap 'echo agent >> order; exit 0' TERM; echo ready; while :; do sleep 0.05; done";

fn with_description(script: &str, description: &str) -> RunBuilder {
    let run = RunBuilder::sh(script);
    let file = run.workspace().parent().unwrap().join("run.yaml");
    std::fs::write(&file, description).unwrap();
    run.flag("--config").flag(file)
}

fn hook(name: &str, script: &str) -> String {
    format!("hooks.{name}: [sh, -c, {script:?}]\n")
}

/// The only event of a hook of that name.
fn event(run: &Finished, name: &str) -> Value {
    let events = run.recording.events_of("hook");
    let own: Vec<_> = events
        .iter()
        .filter(|event| event["hook"] == name)
        .collect();
    assert_eq!(own.len(), 1, "{events:?}");
    own[0].clone()
}

fn assert_nothing_left(run: &Finished) {
    run.recording.assert_whole();
    assert_eq!(
        process_table::of_run(run.directory.path()),
        Vec::<String>::new()
    );
}

#[test]
fn every_kind_of_stop_runs_the_hook_before_the_agent_is_asked() {
    let description = hook(
        "pre_stop",
        "echo $STOCKADE_HOOK $STOCKADE_RUN_STATUS >> order; echo said",
    );
    for (kind, code, status) in [
        ("signal", 143, "terminated"),
        ("api", 143, "terminated"),
        ("deadline", 124, "timeout"),
    ] {
        let mut run = with_description(AGENT, &description);
        if kind == "deadline" {
            run = run.flag("--timeout=2");
        }
        let run = run.start();
        run.until_stdout("ready");
        match kind {
            "signal" => run.signal(Signal::SIGTERM),
            "api" => {
                over_socket(&run.socket(), "POST", "/stop", "");
            }
            _ => {}
        }
        let run = run.finish();
        assert_eq!(run.code(), code, "{kind}: {}", run.stderr);
        assert_eq!(
            left(&run, "order"),
            format!("pre_stop {status}\nagent\n"),
            "{kind}"
        );
        let event = event(&run, "pre_stop");
        assert_eq!(event["success"], true, "{kind}: {event}");
        assert_eq!(event["result_text"], "said\n");
        // It is no action, and no output of the agent.
        assert_eq!(run.recording.status()["action_count"], 1);
        assert_eq!(run.stdout, "ready\n");
        assert_nothing_left(&run);
    }
}

#[test]
fn an_agent_that_ends_by_itself_is_not_stopped() {
    let description = hook("pre_stop", "touch hooked");
    let run = with_description("true", &description).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(run.recording.events_of("hook").is_empty());
    assert!(!run.directory.path().join("workspace/hooked").exists());
}

#[test]
fn the_last_hook_sees_the_outcome_and_changes_nothing_of_it() {
    let script =
        "echo $STOCKADE_RUN_STATUS,$STOCKADE_RUN_ERROR,$STOCKADE_RUN_EXIT_CODE > seen; exit 9";
    for tier in ["best", "container", "none"] {
        for (agent, code, seen) in [
            ("exit 0", 0, "completed,,0\n"),
            ("exit 3", 3, "failed,COMMAND_FAILED,3\n"),
        ] {
            let run = with_description(agent, &hook("post_run", script))
                .flag("--isolation")
                .flag(tier)
                .finish();
            assert_eq!(run.code(), code, "{tier}: {}", run.stderr);
            assert_eq!(left(&run, "seen"), seen, "{tier}");
            let event = event(&run, "post_run");
            assert_eq!(event["success"], false, "{event}");
            assert_eq!(event["exit_code"], 9, "{event}");
            assert_eq!(event["error"], "the hook exited with code 9");
            assert_nothing_left(&run);
        }
    }
    let run = with_description("echo ready; exec sleep 600", &hook("post_run", script)).start();
    run.until_stdout("ready");
    run.signal(Signal::SIGINT);
    let run = run.finish();
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert_eq!(left(&run, "seen"), "terminated,RUN_TERMINATED,\n");
}

#[test]
fn the_last_hook_runs_behind_the_agent_and_before_services_are_stopped() {
    let services = format!("services:\n{}", willing("a"));
    let description = format!("{}{services}", hook("post_run", "echo hook >> order"));
    let run = with_description("sleep 600 & echo agent >> order", &description).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(left(&run, "order"), "agent\nhook\na\n");
    assert_eq!(run.recording.status()["survivors"]["killed"], 1);
    assert_nothing_left(&run);
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started_and_the_stop_goes_on() {
    let deaf = "trap '' TERM; setsid sleep 600 & echo begun; while :; do sleep 0.05; done";
    let description = format!(
        "{}{}hooks.pre_stop_seconds: 1\nhooks.post_run_seconds: 1\n",
        hook("pre_stop", deaf),
        hook("post_run", deaf)
    );
    let run = with_description(AGENT, &description).start();
    run.until_stdout("ready");
    let begun = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(left(&run, "order"), "agent\n");
    for name in ["pre_stop", "post_run"] {
        let event = event(&run, name);
        assert_eq!(event["success"], false, "{event}");
        let error = event["error"].as_str().unwrap();
        assert!(error.starts_with("it did not end within 1."), "{error}");
        assert_eq!(event["result_text"], "begun\n");
        let took = event["duration_ms"].as_u64().unwrap();
        assert!((1_000..2_500).contains(&took), "{took} ms");
    }
    // What a hook leaves is ours, and no survivor of the agent.
    assert_eq!(run.recording.status()["survivors"]["killed"], 0);
    assert_nothing_left(&run);
}

#[test]
fn a_hook_that_cannot_be_started_is_on_record_and_nothing_else_happens() {
    let run = with_description("true", "hooks.post_run: [no-such-program]\n").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let event = event(&run, "post_run");
    assert_eq!(event["success"], false);
    let error = event["error"].as_str().unwrap();
    assert!(error.contains("no-such-program"), "{error}");
    assert_eq!(run.recording.status()["status"], "completed");
}

#[test]
fn a_third_signal_ends_a_hook_at_once() {
    let description = format!(
        "{}hooks.pre_stop_seconds: 20\n",
        hook("pre_stop", ": > hooked; exec sleep 600")
    );
    let run = with_description(AGENT, &description)
        .flag("--grace=60")
        .start();
    run.until_stdout("ready");
    let begun = Instant::now();
    run.signal(Signal::SIGTERM);
    let directory = run.directory.path().to_owned();
    until("the hook runs", || {
        directory.join("workspace/hooked").exists().then_some(())
    });
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        run.signal(signal);
    }
    let run = run.finish();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(event(&run, "pre_stop")["success"], false);
    assert_nothing_left(&run);
}

#[test]
fn a_second_signal_leaves_half_of_its_second_to_the_agent_and_not_all_to_the_hook() {
    let description = format!(
        "{}hooks.pre_stop_seconds: 20\n",
        hook("pre_stop", ": > hooked; exec sleep 600")
    );
    let run = with_description(AGENT, &description)
        .flag("--grace=60")
        .start();
    run.until_stdout("ready");
    run.signal(Signal::SIGTERM);
    let directory = run.directory.path().to_owned();
    until("the hook runs", || {
        directory.join("workspace/hooked").exists().then_some(())
    });
    run.signal(Signal::SIGINT);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(event(&run, "pre_stop")["success"], false);
    // It had the time to end by itself.
    assert_eq!(left(&run, "order"), "agent\n");
    assert_eq!(run.recording.status()["survivors"]["killed"], 0);
    assert_nothing_left(&run);
}

#[test]
fn pre_stop_runs_in_a_run_that_was_paused_and_goes_on_for_its_end() {
    let description = format!(
        "{}{}services:\n{}",
        hook("pre_stop", "echo hook >> order"),
        hook("post_run", "echo last >> order"),
        willing("a")
    );
    let run = with_description(AGENT, &description).start();
    run.until_stdout("ready");
    let ask = |path: &str| over_socket(&run.socket(), "POST", path, "");
    assert_eq!(ask("/pause").0, 200);
    assert_eq!(ask("/stop").0, 202);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(left(&run, "order"), "hook\nagent\nlast\na\n");
    assert_eq!(run.recording.events_of("run.resumed").len(), 1);
    for name in ["pre_stop", "post_run"] {
        assert_eq!(event(&run, name)["success"], true);
    }
    assert_eq!(run.recording.status()["survivors"]["killed"], 0);
    assert_nothing_left(&run);
}

/// The rungs of a run with what each says beside its time: a hook, or how many were killed.
fn rungs(run: &Finished) -> Vec<String> {
    let steps = run.recording.events_of("stop.step");
    let said = |step: &Value| {
        let word = |key: &str| step[key].as_str().map(str::to_owned);
        let of = word("hook").or_else(|| Some(step["processes"].as_u64()?.to_string()));
        let of = of.map_or(String::new(), |of| format!(" {of}"));
        let is_timed = step["left_ms"].is_u64();
        assert_eq!(is_timed, step["rung"] != "kill", "{step}");
        format!("{}{of}", word("rung").unwrap())
    };
    steps.iter().map(said).collect()
}

#[test]
fn the_steps_of_a_stop_are_events_and_where_nothing_is_to_be_done_there_is_none() {
    let description = format!(
        "{}{}services:\n{}",
        hook("pre_stop", "true"),
        hook("post_run", "true"),
        willing("a")
    );
    let run = with_description(
        "setsid sh -c 'trap \"\" TERM; : > deaf; while :; do sleep 0.05; done' & \
         trap 'exit 0' TERM; until test -e deaf; do sleep 0.02; done; echo ready; while :; do sleep 0.05; done",
        &description,
    )
    .flag("--grace=6")
    .start();
    run.until_stdout("ready");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let told = rungs(&run);
    assert_eq!(
        told[..2],
        ["hook pre_stop".to_owned(), "signal".to_owned()],
        "{told:?}"
    );
    assert!(told[2].starts_with("kill "), "{told:?}");
    assert_eq!(
        told[3..],
        ["hook post_run".to_owned(), "services".to_owned()],
        "{told:?}"
    );
    run.recording.assert_whole();

    let run = RunBuilder::sh("echo done").finish();
    assert_eq!(rungs(&run), Vec::<String>::new());
    let run = RunBuilder::sh("sleep 600 & echo done").finish();
    assert_eq!(rungs(&run), ["kill 1"]);
}

#[test]
fn what_a_hook_prints_is_cut_redacted_and_counted() {
    let script = "echo hidden-secret-value; yes | head -c 100000";
    let run = with_description("true", &hook("post_run", script))
        .env("HIDDEN", "hidden-secret-value")
        .flag("--credential=KEY=env:HIDDEN")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let event = event(&run, "post_run");
    let text = event["result_text"].as_str().unwrap();
    assert!(text.len() < 10_000, "{} bytes", text.len());
    assert!(!text.contains("hidden-secret-value"), "{text}");
    assert!(
        event["truncated"]["total_bytes"].as_u64().unwrap() > 100_000,
        "{event}"
    );
    assert!(
        run.recording.status()["usage"]["output_bytes"]
            .as_u64()
            .unwrap()
            > 100_000
    );
    assert_eq!(run.stdout, "");
}

/// Hears nothing, and goes on.
const DEAF: &str = "trap '' TERM INT HUP; echo ready; : > $0.up; while :; do sleep 0.05; done";

#[test]
fn hooks_an_agent_and_services_that_hear_nothing_together_take_no_longer_than_the_grace() {
    for tier in ["best", "container", "none"] {
        let description = format!(
            "{}{}hooks.pre_stop_seconds: 8\nhooks.post_run_seconds: 8\nservices:\n- {{name: deaf, command: [sh, -c, {DEAF:?}, deaf], ready: {{file: deaf.up}}, stop_grace_seconds: 8}}\n",
            hook("pre_stop", DEAF),
            hook("post_run", DEAF),
        );
        let run = with_description(DEAF, &description)
            .flag("--isolation")
            .flag(tier)
            .start();
        run.until_stdout("ready");
        let begun = Instant::now();
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        let took = begun.elapsed();
        // The supervisor keeps to its grace by itself; the rest is the time of a busy machine.
        assert!(!run.stderr.contains("is killed"), "{tier}: {}", run.stderr);
        assert!(took < Duration::from_secs(10), "{tier}: {took:?}");
        assert_eq!(run.code(), 143, "{tier}: {}", run.stderr);
        for name in ["pre_stop", "post_run"] {
            let event = event(&run, name);
            assert_eq!(event["signal"], 9, "{tier}: {event}");
            let took = event["duration_ms"].as_u64().unwrap();
            assert!(took < 6_000, "{tier}: {event}");
        }
        assert_nothing_left(&run);
    }
}

#[test]
fn nothing_of_a_hook_survives_a_supervisor_or_a_guardian_that_is_killed() {
    let hooked = "setsid sleep 600 & echo $$ > hooked; exec sleep 600";
    for name in ["pre_stop", "post_run"] {
        for of_guardian in [false, true] {
            let agent = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
            let seconds = format!("hooks.{name}_seconds: 60\n");
            let run = with_description(agent, &format!("{}{seconds}", hook(name, hooked)))
                .flag("--grace=120")
                .start();
            run.until_stdout("ready");
            let (recording, directory) = (run.recording(), run.directory.path().to_owned());
            let (guardian, supervisor) = (run.guardian_pid(), run.supervisor_pid());
            run.signal(Signal::SIGTERM);
            until("the hook runs", || {
                let said = std::fs::read_to_string(directory.join("workspace/hooked"));
                said.is_ok_and(|said| said.ends_with('\n')).then_some(())
            });
            kill(
                if of_guardian { guardian } else { supervisor },
                Signal::SIGKILL,
            );
            until("nothing of the run is left", || {
                process_table::of_run(&directory).is_empty().then_some(())
            });
            // What did not end by itself has not ended well.
            assert!(recording.events_of("hook").is_empty(), "{name}");
            if !of_guardian {
                let run = run.finish();
                assert_eq!(run.code(), 143, "{name}: {}", run.stderr);
                let status = run.recording.status();
                assert_eq!(status["status"], "terminated", "{name}: {status}");
                run.recording.assert_whole();
            }
        }
    }
}

#[test]
fn what_a_hook_leaves_behind_ends_with_it_and_is_no_survivor_of_the_agent() {
    let hooked = "setsid sh -c 'trap \"\" TERM; echo > left; exec sleep 600' > /dev/null 2>&1 & until [ -e left ]; do sleep 0.02; done";
    for tier in ["best", "container", "none"] {
        let run = with_description("true", &hook("post_run", hooked))
            .flag("--isolation")
            .flag(tier)
            .finish();
        assert_eq!(run.code(), 0, "{tier}: {}", run.stderr);
        assert_eq!(event(&run, "post_run")["success"], true, "{tier}");
        assert_eq!(run.recording.status()["survivors"]["killed"], 0, "{tier}");
        assert_nothing_left(&run);
    }
}
