//! The end of services: their order, their time, and that nothing of them is left.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash_follower::over_socket;
use crate::harness::run::kill;
use crate::harness::{Run, until};
use crate::process_table;
use crate::services::{last, left, states, willing, with_services};

fn three() -> String {
    ["a", "b", "c"].map(willing).concat()
}

fn assert_nothing_left(run: &crate::harness::run::Finished) {
    assert_eq!(
        process_table::of_run(run.directory.path()),
        Vec::<String>::new()
    );
}

/// The tiers that this host has for tests.
const TIERS: [&str; 3] = ["best", "container", "none"];

#[test]
fn services_are_stopped_behind_the_agent_and_in_the_reverse_of_their_order_in_every_tier() {
    for tier in TIERS {
        let run = with_services("echo agent >> order", &three())
            .flag("--isolation")
            .flag(tier)
            .finish();
        assert_eq!(run.code(), 0, "{tier}: {}", run.stderr);
        assert_eq!(left(&run, "order"), "agent\nc\nb\na\n", "{tier}");
        for name in ["a", "b", "c"] {
            let states = states(&run.recording, name);
            assert_eq!(states, ["starting", "ready", "stopped"], "{tier}");
            assert_eq!(last(&run.recording, name)["exit_code"], 0, "{tier}");
        }
        let status = run.recording.status();
        assert_eq!(status["survivors"]["killed"], 0, "{tier}: {status}");
        run.recording.assert_whole();
        assert_nothing_left(&run);
    }
}

fn until_ready(run: &Run) {
    run.until_stdout("ready");
}

#[test]
fn a_stop_asks_the_agent_first_and_services_behind_it() {
    let agent = "trap 'sleep 0.3; echo agent >> order; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    // Where the workload may reach the socket the API asks for a token, which is another matter.
    let ways = TIERS.map(|tier| (tier, false)).into_iter();
    for (tier, by_api) in ways.chain([("best", true)]) {
        let run = with_services(agent, &three())
            .flag("--isolation")
            .flag(tier)
            .start();
        until_ready(&run);
        if by_api {
            let body = "{\"reason\": \"enough\"}";
            let (code, _) = over_socket(&run.socket(), "POST", "/stop", body);
            assert_eq!(code, 202, "{tier}");
        } else {
            run.signal(Signal::SIGTERM);
        }
        let run = run.finish();
        assert_eq!(run.code(), 143, "{tier}: {}", run.stderr);
        let by = &run.recording.status()["outcome"]["by"];
        assert_eq!(by, if by_api { "api" } else { "signal" }, "{tier}");
        assert_eq!(left(&run, "order"), "agent\nc\nb\na\n", "{tier}");
        assert_eq!(run.recording.status()["survivors"]["killed"], 0, "{tier}");
        assert_nothing_left(&run);
    }
}

#[test]
fn a_deadline_stops_them_in_the_same_order() {
    let run = with_services("exec sleep 600", &three())
        .flag("--timeout=2")
        .finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
    assert_eq!(left(&run, "order"), "c\nb\na\n");
    assert_nothing_left(&run);
}

#[test]
fn a_deaf_service_is_killed_after_its_own_grace_counted_and_named() {
    let deaf = "- {name: deaf, command: [sh, -c, \"trap '' TERM; : > up; while :; do sleep 0.05; done\"], ready: {file: up}, stop_grace_seconds: 1}\n";
    let services = format!("{}{deaf}", willing("a"));
    let begun = Instant::now();
    let run = with_services("true", &services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_secs(6));
    let stopped = last(&run.recording, "deaf");
    assert_eq!(stopped["state"], "stopped");
    assert_eq!(stopped["signal"], 9);
    assert_eq!(stopped["reason"], "it did not end within 1s and was killed");
    let took = stopped["duration_ms"].as_u64().unwrap();
    assert!((1_000..3_000).contains(&took), "{took} ms");
    // The one before it still has its turn.
    assert_eq!(left(&run, "order"), "a\n");
    let survivors = &run.recording.status()["survivors"];
    assert!(survivors["killed"].as_u64().unwrap() >= 1, "{survivors}");
    assert_eq!(survivors["names"][0], "sh");
    assert_nothing_left(&run);
}

#[test]
fn many_deaf_services_together_take_no_longer_than_the_grace() {
    let deaf = |name: &str| {
        format!(
            "- {{name: {name}, command: [sh, -c, \"trap '' TERM; : > {name}; while :; do sleep 0.05; done\"], ready: {{file: {name}}}, stop_grace_seconds: 4}}\n"
        )
    };
    let services = ["a", "b", "c", "d"].map(deaf).concat();
    let run = with_services("echo ready; exec sleep 600", &services)
        .flag("--grace=4")
        .start();
    until_ready(&run);
    let begun = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(
        begun.elapsed() < Duration::from_millis(5_500),
        "{:?}",
        begun.elapsed()
    );
    for name in ["a", "b", "c", "d"] {
        assert_eq!(last(&run.recording, name)["state"], "stopped");
    }
    assert_nothing_left(&run);
}

#[test]
fn what_a_service_started_ends_with_it_and_before_the_next_one_is_stopped() {
    // The daemon has a session of its own and is nobody's child; the service before it looks for it at its own end.
    let forks = "setsid sh -c 'echo $$ > daemon; trap \"\" TERM; while :; do sleep 0.05; done' > /dev/null 2>&1 & \
        until [ -s daemon ]; do sleep 0.05; done; : > b.up; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    // What is dead and not yet reaped has ended.
    let looks = "trap 'grep -q \"^State:.[^ZX]\" /proc/$(cat daemon)/status 2> /dev/null && echo alive > seen || echo gone > seen; exit 0' TERM; : > a.up; while :; do sleep 0.05; done";
    for tier in TIERS {
        let services = format!(
            "- {{name: a, command: [sh, -c, {looks:?}], ready: {{file: a.up}}}}\n\
             - {{name: b, command: [sh, -c, {forks:?}], ready: {{file: b.up}}, stop_grace_seconds: 1}}\n"
        );
        let run = with_services("kill -0 $(cat daemon)", &services)
            .flag("--isolation")
            .flag(tier)
            .finish();
        assert_eq!(run.code(), 0, "{tier}: {}", run.stderr);
        assert_eq!(left(&run, "seen"), "gone\n", "{tier}");
        assert_nothing_left(&run);
    }
}

#[test]
fn what_the_agent_leaves_is_killed_before_services_are_stopped() {
    let looks = "trap 'kill -0 $(cat left) 2> /dev/null && echo alive > seen || echo gone > seen; exit 0' TERM; : > a.up; while :; do sleep 0.05; done";
    let agent = "setsid sh -c 'echo $$ > left; exec sleep 600' > /dev/null 2>&1 & until [ -s left ]; do sleep 0.05; done";
    for tier in TIERS {
        let services =
            format!("- {{name: a, command: [sh, -c, {looks:?}], ready: {{file: a.up}}}}\n");
        let run = with_services(agent, &services)
            .flag("--isolation")
            .flag(tier)
            .finish();
        assert_eq!(run.code(), 0, "{tier}: {}", run.stderr);
        assert_eq!(left(&run, "seen"), "gone\n", "{tier}");
        let survivors = &run.recording.status()["survivors"];
        assert_eq!(survivors["killed"], 1, "{tier}: {survivors}");
        assert_eq!(survivors["names"][0], "sleep", "{tier}");
        assert_nothing_left(&run);
    }
}

#[test]
fn nothing_of_a_service_survives_a_supervisor_or_a_guardian_that_is_killed() {
    for of_guardian in [false, true] {
        let run = with_services("echo ready; exec sleep 600", &three()).start();
        until_ready(&run);
        let recording = run.recording();
        let directory = run.directory.path().to_owned();
        let pid = match of_guardian {
            true => run.guardian_pid(),
            false => run.supervisor_pid(),
        };
        kill(pid, Signal::SIGKILL);
        until("nothing of the run is left", || {
            process_table::of_run(&directory).is_empty().then_some(())
        });
        // What they could not do they did not pretend.
        let events = recording.events_of("service");
        assert!(events.iter().all(|event| event["state"] != "stopped"));
    }
}

#[test]
fn a_stop_while_services_start_ends_those_that_began() {
    let services = format!(
        "{}- {{name: slow, command: [sleep, '600'], ready: {{file: never}}}}\n",
        willing("a")
    );
    let run = with_services("touch agent", &services).start();
    let recording = run.recording();
    until("the second service starts", || {
        recording.try_status()?;
        (!states(&recording, "slow").is_empty()).then_some(())
    });
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(left(&run, "order"), "a\n");
    assert_eq!(last(&run.recording, "slow")["state"], "stopped");
    assert!(!run.directory.path().join("workspace/agent").exists());
    assert_nothing_left(&run);
}
