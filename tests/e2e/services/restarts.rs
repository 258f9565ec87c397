//! Services that end by themselves.

use nix::sys::signal::Signal;

use crate::harness::until;
use crate::services::{last, left, states, with_services};

#[test]
fn a_service_that_dies_is_started_again_after_pauses_that_double_until_it_is_given_up() {
    let services = "- {name: a, command: [sh, -c, 'echo x >> starts; exit 3'], restart: on-failure, max_restarts: 3, required: false}\n";
    let script = "until [ \"$(wc -l < starts)\" = 4 ]; do sleep 0.05; done; sleep 0.5";
    let run = with_services(script, services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(left(&run, "starts").lines().count(), 4);
    let events = run.recording.events_of("service");
    let delays: Vec<u64> = events
        .iter()
        .filter_map(|event| event["delay_ms"].as_u64())
        .collect();
    assert_eq!(delays, [200, 400, 800]);
    let failed = last(&run.recording, "a");
    assert_eq!(failed["state"], "failed");
    assert_eq!(
        failed["reason"],
        "its program exited with code 3, after it was started again 3 times"
    );
    let service = &run.recording.status()["services"][0];
    assert_eq!(service["restarts"], 3, "{service}");
}

#[test]
fn a_service_that_is_started_again_is_looked_at_again_and_the_agent_goes_on() {
    // It dies once, when the agent says so.
    let command = "rm -f up; test -e second && : > came-back; : > up; until [ -e die ]; do sleep 0.05; done; rm die; : > second; exit 1";
    let services = format!(
        "- {{name: a, command: [sh, -c, {command:?}], ready: {{file: up}}, restart: always}}\n"
    );
    let script =
        ": > die; until [ -e came-back ] && [ -e up ]; do sleep 0.05; done; sleep 0.3; echo fine";
    let run = with_services(script, &services).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stdout, "fine\n");
    assert_eq!(
        states(&run.recording, "a"),
        [
            "starting",
            "ready",
            "exited",
            "restarting",
            "starting",
            "ready",
            "stopped"
        ]
    );
}

#[test]
fn the_run_fails_when_a_required_service_is_gone_for_good() {
    let services = "- {name: a, command: [sh, -c, ': > up; until [ -e die ]; do sleep 0.05; done; kill -9 $$'], ready: {file: up}}\n";
    let script = "trap 'echo asked > asked; exit 0' TERM; : > die; while :; do sleep 0.05; done";
    let run = with_services(script, services).finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "AGENT_FAILED");
    assert_eq!(status["error"]["details"]["service"], "a");
    assert_eq!(
        status["error"]["message"],
        "the service a is gone: its program was killed by signal 9 (SIGKILL)"
    );
    // The agent is stopped like in any other stop.
    assert_eq!(left(&run, "asked"), "asked\n");
    run.recording.assert_whole();
}

#[test]
fn a_stop_during_the_pause_before_a_restart_starts_nothing() {
    let services = "- {name: a, command: [sh, -c, 'echo x >> starts; exit 3'], restart: always, max_restarts: 1000}\n";
    let run = with_services("exec sleep 600", services).start();
    let recording = run.recording();
    until("the service is started again for the fifth time", || {
        recording.try_status()?;
        let n = recording.events_of("service");
        let n = n.iter().filter(|event| event["state"] == "restarting");
        (n.count() >= 5).then_some(())
    });
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(last(&run.recording, "a")["state"], "stopped");
    assert_eq!(run.recording.status()["services"][0]["state"], "stopped");
}
