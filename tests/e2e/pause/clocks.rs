//! What stands still with the workload: the deadline and the guardian's clock behind it, silence, steps, services.

use std::time::{Duration, Instant};

use crate::crash_follower::wait_until;
use crate::harness::{RunBuilder, until};
use crate::pause::{ALL, Means, ask, assert_stands, pause, workload};

/// What an end may take beyond its time, on a machine that is busy with other tests.
const SLACK_MS: u64 = 2500;

fn took_ms(run: &crate::harness::run::Finished) -> u64 {
    run.recording.status()["duration_ms"].as_u64().unwrap()
}

#[test]
fn the_deadline_is_later_by_the_pause_and_no_more() {
    for means in ALL {
        let run = RunBuilder::sh("echo ready; while :; do sleep 0.05; done")
            .flag("--timeout")
            .flag("2");
        let Some(run) = means.of(run) else {
            continue;
        };
        let run = run.start();
        run.until_stdout("ready");
        pause(&run, means);
        assert_stands(&run, Duration::from_millis(2500));
        let (code, answer) = ask(&run, "/resume");
        assert_eq!((code, &answer["changed"]), (200, &true.into()), "{answer}");
        let run = run.finish();
        assert_eq!(run.code(), 124, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["outcome"]["by"], "deadline", "{status}");
        let paused = status["paused_ms"].as_u64().unwrap();
        let took = took_ms(&run);
        assert!(
            took >= 2000 + paused && took < 2000 + paused + SLACK_MS,
            "{took} ms with {paused} ms of pause"
        );
        run.recording.assert_whole();
    }
}

#[test]
fn the_guardian_waits_for_a_run_that_is_paused_beyond_its_backstop() {
    // Timeout, grace and 8 s: the guardian would kill the supervisor after 10 s.
    let run = RunBuilder::sh("echo ready; while :; do sleep 0.05; done")
        .flag("--timeout")
        .flag("1")
        .flag("--grace")
        .flag("1")
        .start();
    run.until_stdout("ready");
    pause(&run, Means::CgroupV2);
    assert_stands(&run, Duration::from_secs(11));
    let (code, answer) = ask(&run, "/resume");
    assert_eq!((code, &answer["changed"]), (200, &true.into()), "{answer}");
    let run = run.finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
    assert_eq!(run.recording.status()["outcome"]["by"], "deadline");
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    run.recording.assert_whole();
}

#[test]
fn silence_is_not_counted_while_the_run_is_paused() {
    let run = RunBuilder::sh("echo ready; while :; do sleep 0.05; done")
        .flag("--idle-timeout")
        .flag("1")
        .start();
    run.until_stdout("ready");
    pause(&run, Means::CgroupV2);
    assert_stands(&run, Duration::from_millis(2000));
    let (_, answer) = ask(&run, "/resume");
    assert_eq!(answer["changed"], true, "{answer}");
    let resumed = Instant::now();
    let run = run.finish();
    assert!(resumed.elapsed() >= Duration::from_millis(900));
    assert_eq!(run.code(), 124, "{}", run.stderr);
    assert_eq!(run.recording.status()["outcome"]["by"], "idle");
    run.recording.assert_whole();
}

#[test]
fn a_step_of_a_playbook_has_its_own_time_beside_the_pause() {
    // A command with 2 s for 1 s of work, and looks with 3 s for what comes after 1 s.
    let text = "version: 1\nname: test\nsteps:\n\
        - id: work\n  run: [sh, -c, 'echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done']\n  timeout: 2s\n\
        - id: wait\n  run: [sh, -c, '(sleep 1; : > there) & echo begun']\n  expect: {file: {path: there}}\n  verify: {within: 3s}\n";
    for means in [Means::CgroupV2, Means::Signals] {
        let Some(run) = means.of(RunBuilder::playbook(text)) else {
            continue;
        };
        let run = run.start();
        for word in ["ready", "begun"] {
            run.until_stdout(word);
            pause(&run, means);
            wait_until(Instant::now() + Duration::from_millis(3200));
            let (_, answer) = ask(&run, "/resume");
            assert_eq!(answer["changed"], true, "{answer}");
        }
        let run = run.finish();
        assert_eq!(run.code(), 0, "{}{}", run.stdout, run.stderr);
        assert_eq!(run.recording.events_of("run.paused").len(), 2);
        run.recording.assert_whole();
    }
}

#[test]
fn a_run_that_starts_pauses_with_its_services_and_their_time() {
    let service =
        "i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; : > up; exec sleep 600";
    let services = format!(
        "services:\n- name: slow\n  command: [sh, -c, {service:?}]\n  ready: {{file: up, timeout_seconds: 4}}\n"
    );
    for means in ALL {
        let run = RunBuilder::sh("test -e up && echo there");
        let file = run.workspace().parent().unwrap().join("run.yaml");
        std::fs::write(&file, &services).unwrap();
        let Some(run) = means.of(run.flag("--config").flag(file)) else {
            continue;
        };
        let run = run.start();
        until("the service runs", || {
            let mut own = workload(&run).into_iter();
            own.find(|process| process.name == "sleep")
        });
        pause(&run, means);
        assert_eq!(run.recording().status()["phase"], "starting");
        assert_stands(&run, Duration::from_millis(4500));
        let (_, answer) = ask(&run, "/resume");
        assert_eq!(answer["changed"], true, "{answer}");
        let run = run.finish();
        assert_eq!(run.code(), 0, "{}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "there\n");
        run.recording.assert_whole();
    }
}
