//! Every way to stop a run, and what a stop leaves: a true record, the right exit code, and nothing else.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crash_follower::{Random, is_terminal, over_socket, rounds, wait_until};
use crate::harness::run::{binary, kill};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Recording, Run, RunBuilder, until};
use crate::process_table;

/// Ends at once when it is asked to.
const WILLING: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";

/// Ends for nothing but SIGKILL.
const STUBBORN: &str = "trap '' TERM INT HUP; echo ready; while :; do sleep 0.05; done";

/// What a stop may take beyond what it has to wait for, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_millis(3500);

fn started(builder: RunBuilder) -> Run {
    let run = builder.start();
    run.until_stdout("ready");
    run
}

fn assert_nothing_left(directory: &Path) {
    until("nothing of the run is left", || {
        process_table::of_run(directory).is_empty().then_some(())
    });
}

fn until_stopping(recording: &Recording) {
    until("the run is stopping", || {
        let status = recording.try_status()?;
        (status["phase"] == "stopping").then_some(())
    });
}

#[test]
fn each_stop_signal_ends_the_run_with_its_own_exit_code() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let run = started(RunBuilder::sh(WILLING));
        run.signal(signal);
        let run = run.finish();
        assert_eq!(run.code(), 128 + signal as i32, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["status"], "terminated");
        assert_eq!(status["error"]["code"], "RUN_TERMINATED");
        assert_eq!(status["outcome"]["stop_signal"], signal as i32);
        assert_eq!(status["outcome"]["sender"]["pid"], std::process::id());
        assert_eq!(status["survivors"]["killed"].as_u64().unwrap_or(0), 0);
        let intent = std::fs::read(run.recording.path().join("stop.json")).unwrap();
        let intent: Value = serde_json::from_slice(&intent).unwrap();
        assert_eq!(intent["by"]["signal"], signal as i32);
        run.recording.assert_whole();
        assert_nothing_left(run.directory.path());
    }
}

#[test]
fn a_stop_through_the_api_is_answered_while_it_happens_and_after_it() {
    let run = started(RunBuilder::sh(WILLING).flag("--linger").flag("60"));
    let socket = run.socket();
    let ask = |body: &str| over_socket(&socket, "POST", "/stop", body);
    let (code, answer) = ask(r#"{"reason":"enough of it"}"#);
    assert_eq!((code, &answer["phase"]), (202, &"stopping".into()));
    assert!(run.recording().path().join("stop.json").exists());
    // Again and again changes nothing.
    until("the run has finished", || {
        let (code, answer) = ask("");
        assert!([200, 202].contains(&code), "{code} {answer}");
        (code == 200).then_some(())
    });
    until("the terminal status is served", || {
        let (_, status) = over_socket(&socket, "GET", "/status", "");
        (status["status"] == "terminated").then_some(())
    });
    assert_eq!(ask("").0, 200);
    // It lingers; a signal ends that, and changes nothing else.
    let before = run.recording().status();
    let asked = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status, before);
    assert_eq!(status["outcome"]["by"], "api");
    assert!(
        status["outcome"]["reason"]
            .as_str()
            .unwrap()
            .contains("enough of it")
    );
    let intent = std::fs::read(run.recording.path().join("stop.json")).unwrap();
    let intent: Value = serde_json::from_slice(&intent).unwrap();
    assert_eq!(intent["reason"], "enough of it");
    run.recording.assert_whole();
}

#[test]
fn the_intent_survives_the_death_of_those_who_had_it() {
    let run = started(RunBuilder::sh(STUBBORN));
    let (code, _) = over_socket(&run.socket(), "POST", "/stop", r#"{"reason":"quota"}"#);
    assert_eq!(code, 202);
    kill(run.guardian_pid(), Signal::SIGKILL);
    let path = run.recording().path().to_owned();
    let run = run.finish();
    assert_nothing_left(run.directory.path());
    let done = std::process::Command::new(binary())
        .arg("finalize")
        .arg(&path)
        .output();
    assert!(done.unwrap().status.success());
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "RUN_TERMINATED");
    assert!(
        status["outcome"]["reason"]
            .as_str()
            .unwrap()
            .contains("quota"),
        "{status}"
    );
    run.recording.assert_whole();
}

#[test]
fn the_deadline_is_exact_and_ends_with_124() {
    let limit = Duration::from_secs(1);
    let run = RunBuilder::sh("echo ready; sleep 60")
        .flag("--timeout")
        .flag("1")
        .finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["status"], "timeout");
    assert_eq!(status["error"]["code"], "TIMEOUT");
    assert_eq!(status["outcome"]["by"], "deadline");
    let took = Duration::from_millis(status["duration_ms"].as_u64().unwrap());
    assert!(took >= limit && took < limit + SLACK, "{took:?}");
    assert_eq!(
        run.recording.events_of("limit")[0]["rule"],
        "timeout_seconds"
    );
    run.recording.assert_whole();
}

#[test]
fn the_idle_limit_counts_from_the_last_event() {
    let script = "for i in 1 2 3 4; do echo $i; sleep 0.4; done; sleep 60";
    let run = RunBuilder::sh(script)
        .flag("--idle-timeout")
        .flag("1")
        .finish();
    assert_eq!(run.code(), 124, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["outcome"]["by"], "idle");
    assert_eq!(run.stdout, "1\n2\n3\n4\n");
    let took = Duration::from_millis(status["duration_ms"].as_u64().unwrap());
    let expected = Duration::from_millis(2200);
    assert!(took >= expected && took < expected + SLACK, "{took:?}");
    run.recording.assert_whole();
}

#[test]
fn a_workload_that_ignores_the_signal_is_killed_within_the_grace_and_counted() {
    let run = started(RunBuilder::sh(STUBBORN).flag("--grace").flag("3"));
    let asked = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
    // Two of the three seconds are for asking, by the reserve for the kill and for the record.
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert!(
        status["survivors"]["killed"].as_u64().unwrap() >= 1,
        "{status}"
    );
    assert!(
        status["survivors"]["names"]
            .as_array()
            .unwrap()
            .contains(&"sh".into()),
        "{status}"
    );
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());
}

#[test]
fn a_second_signal_leaves_a_second_and_a_third_nothing() {
    let run = started(RunBuilder::sh(STUBBORN).flag("--grace").flag("30"));
    let recording = run.recording();
    run.signal(Signal::SIGTERM);
    until_stopping(&recording);
    let second = Instant::now();
    run.signal(Signal::SIGINT);
    let run = run.finish();
    let took = second.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(1) + SLACK,
        "{took:?}"
    );
    // The first signal stands, and the supervisor did it by itself, before the guardian would have.
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    assert_eq!(run.recording.status()["status"], "terminated");
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());

    let run = started(RunBuilder::sh(STUBBORN).flag("--grace").flag("30"));
    let recording = run.recording();
    run.signal(Signal::SIGTERM);
    until_stopping(&recording);
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGHUP);
    let third = Instant::now();
    let run = run.finish();
    assert!(third.elapsed() < SLACK, "{:?}", third.elapsed());
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["status"], "terminated");
    assert_eq!(status["outcome"]["stop_signal"], 15, "{status}");
    // The supervisor did it by itself, and so the record says what was killed.
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    let names = status["survivors"]["names"].as_array().unwrap();
    assert!(names.contains(&"sh".into()), "{status}");
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());
}

#[test]
fn requests_through_the_api_are_no_signals_and_the_first_signal_behind_them_changes_nothing() {
    let run = started(RunBuilder::sh(STUBBORN).flag("--grace").flag("8"));
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(over_socket(&run.socket(), "POST", "/stop", "").0, 202);
    }
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    // Six of the eight seconds are for asking.
    let took = began.elapsed();
    let slowest = Duration::from_secs(6) + SLACK;
    assert!(took >= Duration::from_secs(5) && took < slowest, "{took:?}");
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["outcome"]["by"], "api", "{status}");
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());

    let run = started(RunBuilder::sh(STUBBORN).flag("--grace").flag("30"));
    assert_eq!(over_socket(&run.socket(), "POST", "/stop", "").0, 202);
    run.signal(Signal::SIGTERM);
    let second = Instant::now();
    run.signal(Signal::SIGINT);
    let run = run.finish();
    let took = second.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(1) + SLACK,
        "{took:?}"
    );
    assert!(!run.stderr.contains("is killed"), "{}", run.stderr);
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());
}

#[test]
fn a_stopped_workload_hears_the_signal_all_the_same() {
    let run = RunBuilder::sh(
        "trap 'exit 0' TERM; echo ready; kill -STOP $$; while :; do sleep 0.05; done",
    )
    .start();
    run.until_stdout("ready");
    let directory = run.directory.path().to_owned();
    until("the workload is stopped", || {
        process_table::of_run(&directory)
            .iter()
            .any(|process| process.contains("state: 'T'"))
            .then_some(())
    });
    let asked = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert!(
        asked.elapsed() < Duration::from_secs(2) + SLACK,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(
        run.recording.status()["survivors"]["killed"]
            .as_u64()
            .unwrap_or(0),
        0
    );
}

#[test]
fn daemons_that_escape_the_session_are_killed_counted_and_named() {
    let script = "(setsid sh -c 'trap \"\" TERM HUP; touch a; while :; do sleep 1; done' & ) ; (setsid setsid sh -c 'touch b; sleep 1000; :' & ) ; until [ -e a ] && [ -e b ]; do sleep 0.02; done; echo ready";
    for isolation in ["full", "none"] {
        let run = RunBuilder::sh(script)
            .flag("--isolation")
            .flag(isolation)
            .start();
        let directory = run.directory.path().to_owned();
        let run = run.finish();
        assert_eq!(run.code(), 0, "{isolation}: {}", run.stderr);
        assert_eq!(run.stdout, "ready\n");
        let survivors = &run.recording.status()["survivors"];
        // Each has a child, unless that is just being forked.
        let killed = survivors["killed"].as_u64().unwrap();
        assert!((2..=4).contains(&killed), "{isolation}: {survivors}");
        let names = survivors["names"].as_array().unwrap();
        assert!(names.contains(&"sh".into()), "{survivors}");
        run.recording.assert_whole();
        assert_nothing_left(&directory);
    }
}

#[test]
fn a_stop_leaves_nothing_without_isolation_either() {
    let script = "trap '' TERM; for i in 1 2 3 4 5; do setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & done; echo ready; while :; do sleep 0.05; done";
    let run = started(
        RunBuilder::sh(script)
            .flag("--isolation")
            .flag("none")
            .flag("--grace")
            .flag("2"),
    );
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert!(
        status["survivors"]["killed"].as_u64().unwrap() >= 6,
        "{status}"
    );
    run.recording.assert_whole();
    assert_nothing_left(run.directory.path());
}

#[test]
fn a_background_child_that_holds_the_output_does_not_hold_the_run() {
    let began = Instant::now();
    let run = RunBuilder::sh("sleep 1000 & echo done").finish();
    assert!(
        began.elapsed() < Duration::from_secs(2) + SLACK,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (0, "done\n"),
        "{}",
        run.stderr
    );
    let action = &run.recording.events_of("action")[0];
    assert_eq!(action["exit_code"], 0);
    // The action took as long as its command, not as long as its child.
    assert!(action["duration_ms"].as_u64().unwrap() < 1000, "{action}");
    assert_eq!(run.recording.status()["survivors"]["killed"], 1);
    assert_nothing_left(run.directory.path());
}

#[test]
fn the_exit_code_of_a_stop_can_be_chosen() {
    let run = started(RunBuilder::sh(WILLING).flag("--stop-exit-code").flag("77"));
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 77, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(
        (&status["status"], &status["outcome"]["stop_signal"]),
        (&"terminated".into(), &15.into())
    );
}

#[test]
fn a_stop_in_the_first_milliseconds_is_never_lost() {
    let mut random = Random::seeded();
    let (mut died, mut recorded) = (0, 0);
    for round in 0..rounds(120) {
        let seed = random.0;
        // Half of them in the first 10 ms, the others up to where the command runs.
        let limit = if round % 2 == 0 { 10 } else { 80 };
        let after = random.duration(Duration::from_millis(limit));
        let builder = RunBuilder::sh("sleep 1000");
        let directory = builder.workspace().parent().unwrap().to_owned();
        let began = Instant::now();
        let mut child = builder
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("stderr")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let _guard = process_table::KillOnPanic(i32::try_from(child.id()).unwrap());
        wait_until(began + after);
        kill(i32::try_from(child.id()).unwrap(), Signal::SIGTERM);
        let status = until_within(
            DEADLINE,
            &format!("seed {seed} {after:?}: the run ends"),
            || child.try_wait().unwrap(),
        );
        let said = std::fs::read_to_string(directory.join("stderr")).unwrap();
        let context = format!("seed {seed} {after:?}: {status:?}\n{said}");
        let recording = Recording::at(builder.recordings().join("run"));
        if status.signal() == Some(15) {
            died += 1;
            assert!(recording.try_status().is_none(), "{context}");
        } else {
            recorded += 1;
            assert_eq!(status.code(), Some(143), "{context}");
            let status = recording.status();
            assert!(is_terminal(&status), "{context}");
            assert_eq!(status["error"]["code"], "RUN_TERMINATED", "{context}");
            assert_eq!(status["outcome"]["stop_signal"], 15, "{context}");
            recording.assert_whole();
        }
        assert_nothing_left(&directory);
    }
    eprintln!("{died} died of the signal before there was a run, {recorded} are on record");
    assert!(recorded > 0);
}
