//! A plain command as a run: exit codes, recording, replay.

use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Recording, Run, RunBuilder, get, stream};
use nix::sys::signal::Signal;

#[test]
fn the_exit_code_of_the_command_is_the_exit_code_of_the_run() {
    for code in [0, 1, 2, 3, 7, 42, 125, 126, 127, 137, 255] {
        let run = RunBuilder::sh(&format!("exit {code}")).finish();
        assert_eq!(run.code(), code, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["outcome"]["exit_code"], code);
        assert_eq!(
            status["status"],
            if code == 0 { "completed" } else { "failed" }
        );
        run.recording.assert_whole();
    }
}

#[test]
fn death_by_a_signal_is_told_from_an_exit_code() {
    let run = RunBuilder::sh("kill -KILL $$").finish();
    assert_eq!(run.code(), 137);
    let outcome = &run.recording.status()["outcome"];
    assert_eq!(
        (&outcome["exit_code"], &outcome["signal"]),
        (&serde_json::Value::Null, &9.into())
    );
}

#[test]
fn a_command_that_is_missing_or_not_executable_says_so() {
    let run = RunBuilder::new(["no-such-program"]).finish();
    assert_eq!(run.code(), 127);
    assert_eq!(run.recording.status()["error"]["code"], "COMMAND_NOT_FOUND");
    let run = RunBuilder::new(["/etc/passwd"]).finish();
    assert_eq!(run.code(), 126);
    assert_eq!(
        run.recording.status()["error"]["code"],
        "COMMAND_NOT_EXECUTABLE"
    );
    run.recording.assert_whole();
}

#[test]
fn output_passes_through_and_is_recorded() {
    let run = RunBuilder::sh("echo out; echo err >&2; printf 'no newline'").finish();
    assert_eq!(run.stdout, "out\nno newline");
    assert!(run.stderr.contains("err\n"), "{}", run.stderr);
    let text: String = run
        .recording
        .events_of("action.output")
        .iter()
        .filter(|event| event["stream"] == "stdout")
        .map(|event| event["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, "out\nno newline");
}

#[test]
fn a_stop_by_signal_is_no_failure_and_names_its_sender() {
    let run =
        RunBuilder::sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done").start();
    run.until_stdout("ready");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["status"], "terminated");
    assert_eq!(status["error"]["code"], "RUN_TERMINATED");
    assert_eq!(status["outcome"]["by"], "signal");
    assert_eq!(status["outcome"]["sender"]["pid"], std::process::id());
    assert!(run.recording.path().join("stop.json").exists());
    run.recording.assert_whole();
}

#[test]
fn the_stream_is_the_file_and_ends_with_the_terminal_event() {
    let run = RunBuilder::sh("for i in 1 2 3; do echo line $i; sleep 0.05; done").start();
    let frames = follow(&run);
    let run = run.finish();
    let data: Vec<_> = frames
        .iter()
        .map(|frame| frame.data.clone().unwrap())
        .collect();
    assert_eq!(data, run.recording.lines());
    assert_eq!(frames.last().unwrap().event.as_deref(), Some("complete"));
}

fn follow(run: &Run) -> Vec<crate::harness::SseFrame> {
    let address = run.address();
    assert_eq!(get(&address, "/healthz").status, 200);
    stream(&address, "/events", &[]).events()
}

#[test]
fn the_terminal_status_stays_readable_while_the_run_lingers() {
    // Longer than the grace and the guardian's margin behind it: the guardian must not take the linger for a hang.
    let run = RunBuilder::sh("exit 0")
        .flag("--grace=1")
        .flag("--linger=6")
        .start();
    let began = std::time::Instant::now();
    let address = run.address();
    run.until_status("the run has ended", |status| status["phase"] == "finished");
    while began.elapsed() < std::time::Duration::from_secs(5) {
        assert_eq!(get(&address, "/status").json()["status"], "completed");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let run = run.finish();
    assert_eq!(run.code(), 0);
    assert!(!run.stderr.contains("killed"), "{}", run.stderr);
}

#[test]
fn more_output_than_allowed_ends_the_run_with_its_own_code() {
    let run = RunBuilder::sh("while :; do echo 0123456789012345678901234567890123456789; done")
        .flag("--limit-output=100000")
        .finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "BUDGET_EXCEEDED");
    assert_eq!(status["error"]["details"]["rule"], "limits.output");
    let limits = run.recording.events_of("limit");
    assert_eq!(
        (
            limits.len(),
            &limits[0]["rule"],
            &limits[0]["decision"],
            &limits[0]["limit"]
        ),
        (1, &"limits.output".into(), &"stop".into(), &100_000.into())
    );
    let recorded: u64 = run
        .recording
        .events_of("action.output")
        .iter()
        .map(|e| e["bytes"].as_u64().unwrap())
        .sum();
    assert!(recorded <= 100_000, "{recorded}");
    run.recording.assert_whole();
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_hold_the_end() {
    let builder = RunBuilder::sh("head -c 1000000 /dev/zero | tr '\\0' a; echo; exit 0")
        .flag("--timeout=2")
        .flag("--grace=2");
    let recordings = builder.recordings();
    let mut command = builder.command();
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::null());
    // Its standard output stays full: the pipe is open and never read.
    let mut child = command.spawn().unwrap();
    let status = until_within(DEADLINE * 2, "the run ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(124));
    Recording::at(recordings.join("run")).assert_whole();
}

/// Regression: more connections than descriptors were allowed, and a raised limit must not reach the workload.
#[test]
fn the_supervisor_raises_its_descriptor_limit_and_the_workload_keeps_the_callers() {
    let run = RunBuilder::sh("ulimit -S -n; echo ready; exec sleep 60")
        .soft_descriptors(200)
        .start();
    run.until_stdout("ready");
    let limits = format!("/proc/{}/limits", run.supervisor_pid());
    let limits = std::fs::read_to_string(limits).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert!(soft > 200, "{limits}");
    // More than the soft limit of the caller would let in.
    let address = run.address();
    let open: Vec<_> = (0..300)
        .map(|_| std::net::TcpStream::connect(&address).unwrap())
        .collect();
    assert_eq!(get(&address, "/healthz").status, 200);
    drop(open);
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert!(run.stdout.starts_with("200\n"), "{}", run.stdout);
}
