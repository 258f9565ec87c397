//! The commands that people ask a run with: by its name, over cut connections, and when nobody answers any more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::harness::asked::{ask, asked};
use crate::harness::run::{Capture, kill};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Run, RunBuilder, until};

/// Bytes that the proxy lets through before it cuts a connection: the status document that is asked for first, and a few
/// events, of which the one about the isolation has a thousand.
const CUT_AFTER_BYTES: usize = 5_000;

/// An agent that goes on when the file `go` is there.
const GATED: &str = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"{\\\"tool\\\":\\\"t\\\",\\\"action\\\":\\\"a$i\\\"}\"; done; \
                     until [ -e go ]; do sleep 0.02; done; echo '{\"tool\":\"t\",\"action\":\"last\"}'";

fn gated() -> Run {
    RunBuilder::sh(GATED)
        .flag("--adapter=jsonl")
        .flag("--max-steps=100")
        .flag("--linger=30")
        .start()
}

fn open_gate(run: &Run) {
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
}

fn recordings(run: &Run) -> std::path::PathBuf {
    run.directory.path().join("recordings")
}

#[test]
fn a_run_is_asked_by_its_id_as_the_latest_by_its_directory_socket_and_address() {
    let run = gated();
    run.until_running();
    let address = format!("http://{}", run.address());
    let socket = format!("unix:{}", run.socket().display());
    let directory = run.recording().path().display().to_string();
    for target in ["latest", "run", &directory, &socket, &address] {
        let (code, stdout, stderr) = ask(&recordings(&run), &["status", target]);
        assert_eq!(code, 0, "{target}: {stderr}");
        assert!(stdout.contains("running for"), "{target}: {stdout}");
        assert!(stdout.contains("the status API at"), "{target}: {stdout}");
        let (code, stdout, _) = ask(&recordings(&run), &["status", "--json", target]);
        let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &document["status"]), (0, &"running".into()));
    }
    let (code, stdout, stderr) = ask(&recordings(&run), &["stop", "--reason", "enough"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("run run: terminated (RUN_TERMINATED)"),
        "{stdout}"
    );
    assert!(stdout.contains("had to be killed"), "{stdout}");
    run.signal(Signal::SIGTERM);
    let finished = run.finish();
    assert_eq!(finished.code(), 143);
    let status = finished.recording.status();
    assert!(
        status["outcome"]["reason"].to_string().contains("enough"),
        "{status}"
    );
    let recordings = finished.directory.path().join("recordings");
    let (code, stdout, _) = ask(&recordings, &["status"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("terminated after"), "{stdout}");
    assert!(
        stdout.contains("the recording; the run has ended"),
        "{stdout}"
    );
    let (code, stdout, _) = ask(&recordings, &["stop"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "run run had ended: terminated\n")
    );
}

#[test]
fn tail_loses_nothing_over_cut_connections_and_ends_with_the_code_of_the_run() {
    let run = gated();
    run.until_running();
    let proxy = CuttingProxy::start(&run.address());
    let mut tail = asked(
        &recordings(&run),
        &["tail", "--json", &format!("http://{}", proxy.address)],
    )
    .spawn()
    .unwrap();
    let mut stdout = Capture::of(tail.stdout.take().unwrap());
    let mut stderr = Capture::of(tail.stderr.take().unwrap());
    until("tail has seen the 40th action", || {
        stdout.so_far().contains("\"a40\"").then_some(())
    });
    open_gate(&run);
    let status = until_within(3 * DEADLINE, "tail ends", || tail.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", stderr.all());
    assert!(
        proxy.n_cut.load(Ordering::SeqCst) > 3,
        "the proxy cut too little"
    );
    let seen: Vec<String> = stdout.all().lines().map(str::to_owned).collect();
    assert_eq!(seen, run.recording().lines());
    run.signal(Signal::SIGTERM);
    run.finish();
}

#[test]
fn tail_goes_on_from_the_recording_when_the_supervisor_is_killed() {
    let run = gated();
    run.until_running();
    let mut tail = asked(&recordings(&run), &["tail", "--json"])
        .spawn()
        .unwrap();
    let mut stdout = Capture::of(tail.stdout.take().unwrap());
    let mut stderr = Capture::of(tail.stderr.take().unwrap());
    until("tail has seen the 40th action", || {
        stdout.so_far().contains("\"a40\"").then_some(())
    });
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let finished = run.finish();
    assert_eq!(finished.code(), 125);
    let status = until_within(3 * DEADLINE, "tail ends", || tail.try_wait().unwrap());
    // The code of the run, not of a follower that gave up.
    assert_eq!(status.code(), Some(125), "{}", stderr.all());
    let seen: Vec<String> = stdout.all().lines().map(str::to_owned).collect();
    assert_eq!(seen, finished.recording.lines());
    assert!(seen.last().unwrap().contains("SUPERVISOR_CRASHED"));
}

#[test]
fn tail_shows_people_lines_of_the_types_they_want() {
    let finished = RunBuilder::sh("echo one; echo two; exit 3").finish();
    let recordings = finished.directory.path().join("recordings");
    let (code, stdout, stderr) = ask(&recordings, &["tail"]);
    assert_eq!(code, 3, "{stderr}");
    for part in [
        "running",
        "▸ 1 command",
        "  │ one\n  │ two\n",
        "failed (COMMAND_FAILED)",
    ] {
        assert!(stdout.contains(part), "{part:?} in {stdout}");
    }
    let (code, stdout, _) = ask(&recordings, &["tail", "--types", "action", "--no-follow"]);
    assert_eq!(code, 3);
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    let (code, stdout, stderr) = ask(&recordings, &["tail", "--types", "acton"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("action.output"), "{stderr}");
    let last = finished.recording.lines().len();
    let after = (last - 1).to_string();
    let (_, stdout, _) = ask(&recordings, &["tail", "--json", "--after", &after]);
    assert_eq!(stdout.trim_end(), finished.recording.lines()[last - 1]);
    let beyond = ["tail", "--json", "--after", "100000"];
    let (code, stdout, stderr) = ask(&recordings, &beyond);
    assert_eq!((code, stdout.lines().count()), (3, last), "{stderr}");
    let told = format!("there is no event 100000 yet, the last one is {last}; all of them follow");
    assert!(stderr.contains(&told), "{stderr}");
}

#[test]
fn a_place_beyond_the_log_of_a_live_run_is_no_log_that_was_begun_anew() {
    let run = gated();
    run.until_running();
    let arguments = ["tail", "--no-follow", "--json", "--after", "100000"];
    let (code, stdout, stderr) = ask(&recordings(&run), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("{\"seq\":1,"), "{stdout}");
    assert!(stderr.contains("there is no event 100000 yet"), "{stderr}");
    assert!(!stderr.contains("begun anew"), "{stderr}");
    run.signal(Signal::SIGTERM);
    run.finish();
}

#[test]
fn a_run_that_cannot_be_reached_is_never_called_finished() {
    let run = RunBuilder::sh("until [ -e go ]; do sleep 0.02; done")
        .flag("--listen=none")
        .flag("--socket=none")
        .start();
    until("the run is running", || {
        let status = run.recording().try_status()?;
        (status["phase"] == "running").then_some(())
    });
    let (code, stdout, stderr) = ask(&recordings(&run), &["status"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.contains("the run cannot be reached"), "{stdout}");
    assert_last_known(&stdout);
    assert!(stdout.contains("running"), "{stdout}");
    assert!(stderr.contains("has no status API"), "{stderr}");
    let (code, _, stderr) = ask(&recordings(&run), &["stop"]);
    assert_eq!(code, 125);
    assert!(stderr.contains("goes on"), "{stderr}");
    let (code, stdout, _) = ask(&recordings(&run), &["tail", "--no-follow"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("running"), "{stdout}");
    open_gate(&run);
    assert_eq!(run.finish().code(), 0);
}

#[test]
fn a_record_without_an_end_says_so() {
    let run = gated();
    run.until_running();
    until("40 actions are on record", || {
        (run.recording().events_of("action").len() == 40).then_some(())
    });
    let (guardian, supervisor) = (run.guardian_pid(), run.supervisor_pid());
    kill(guardian, Signal::SIGKILL);
    kill(supervisor, Signal::SIGKILL);
    let finished = run.finish();
    let recordings = finished.directory.path().join("recordings");
    let (code, stdout, stderr) = until("the lock is free", || {
        let told = ask(&recordings, &["status"]);
        told.1.contains("it has no end").then_some(told)
    });
    assert_eq!(code, 1, "{stdout}");
    assert_last_known(&stdout);
    assert!(stderr.contains("stockade finalize"), "{stderr}");
    let (code, stdout, stderr) = ask(&recordings, &["tail"]);
    assert_eq!(code, 125);
    assert!(stdout.contains("t a1"), "{stdout}");
    assert!(stderr.contains("its record has no end"), "{stderr}");
}

/// The status is told as that of a time in the past, and never as one that still holds.
fn assert_last_known(stdout: &str) {
    let row = stdout.lines().find(|line| line.starts_with("status"));
    let row = row.unwrap_or_else(|| panic!("no status in {stdout}"));
    assert!(row.contains("last known: running at "), "{row}");
    assert!(
        row.contains(", recorded ") && row.ends_with(" ago"),
        "{row}"
    );
}

#[test]
fn what_a_foreign_server_says_cannot_harm_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the process.
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4_096];
            let _ = client.read(&mut request);
            let long = "x".repeat(5_000);
            let body = format!(
                r#"{{"code":"A\u001b[2J","detail":"\u001b]0;pwn\u0007\u001b[2Jgone {long}"}}"#
            );
            let _ = write!(
                client,
                "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let empty = tempfile::tempdir().unwrap();
    for command in ["status", "tail", "stop"] {
        let (code, stdout, stderr) = ask(empty.path(), &[command, &address]);
        assert_eq!((code, stdout.as_str()), (125, ""), "{command}: {stderr}");
        assert!(
            stderr.contains("refuses: gone xxx"),
            "{command}: {stderr:?}"
        );
        let is_harmful = |c: char| c.is_control() && c != '\n';
        assert!(!stderr.contains(is_harmful), "{command}: {stderr:?}");
        assert!(stderr.len() < 2_000, "{command}: {} bytes", stderr.len());
    }
}

#[test]
fn what_names_no_run_is_told_with_a_remedy() {
    let empty = tempfile::tempdir().unwrap();
    for (arguments, remedy) in [
        (["status", "latest"], "stockade run"),
        (["tail", "fox"], "--recordings"),
        (["stop", "Fox!"], "give latest, a run id"),
        (["status", "http://localhost"], "http://127.0.0.1:8090"),
        (
            ["status", "http://127.0.0.1:1"],
            "cannot reach http://127.0.0.1:1",
        ),
    ] {
        let (code, stdout, stderr) = ask(empty.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (125, ""), "{arguments:?}");
        assert!(stderr.contains(remedy), "{arguments:?}: {stderr}");
    }
}

/// Forwards connections to `upstream` and cuts each after some bytes.
struct CuttingProxy {
    address: String,
    n_cut: Arc<AtomicUsize>,
}

impl CuttingProxy {
    fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let n_cut = Arc::new(AtomicUsize::new(0));
        let (upstream, cuts) = (upstream.to_owned(), Arc::clone(&n_cut));
        // Ends with the process: the test ends when its client has seen everything.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else {
                    continue;
                };
                let cuts = Arc::clone(&cuts);
                std::thread::spawn(move || forward(client, server, &cuts));
            }
        });
        Self { address, n_cut }
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, cuts: &AtomicUsize) {
    let (mut to_server, mut from_client) =
        (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let mut left = CUT_AFTER_BYTES;
    let mut chunk = [0; 512];
    while let Ok(n_read @ 1..) = server.read(&mut chunk) {
        let n_passed = n_read.min(left);
        if client.write_all(&chunk[..n_passed]).is_err() {
            break;
        }
        left -= n_passed;
        if left == 0 {
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn json_gives_stdout_to_the_status_document_alone() {
    let finished = RunBuilder::sh("echo out; echo err >&2; exit 4")
        .flag("--json")
        .finish();
    assert_eq!(finished.code(), 4);
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    let printed: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(printed["status"], "failed");
    assert_eq!(printed["outcome"], finished.recording.status()["outcome"]);
    // Two pipes: the lines come in either order.
    let mut lines: Vec<&str> = finished.stderr.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
}

#[test]
fn quiet_shows_the_workload_alone_and_plain_shows_lines_for_people() {
    let script = "echo out; echo err >&2";
    let quiet = RunBuilder::sh(script).flag("--quiet").finish();
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        ("out\n", "err\n")
    );
    let plain = RunBuilder::sh(script).flag("--progress=plain").finish();
    assert_eq!(plain.stdout, "out\n");
    for part in [
        "starting; status API at unix:",
        "running\n",
        "▸ 1 command",
        "completed after",
        "recorded in /",
    ] {
        assert!(plain.stderr.contains(part), "{part:?} in {}", plain.stderr);
    }
    assert!(
        !plain.stderr.contains('\u{1b}') && !plain.stderr.contains("INFO"),
        "{}",
        plain.stderr
    );
    let both = RunBuilder::sh("true")
        .flag("--quiet")
        .flag("--progress=plain")
        .finish();
    assert_eq!(both.code(), 2);
}

#[test]
fn a_run_that_does_not_complete_says_on_a_pipe_why_and_where_to_look() {
    let plain = RunBuilder::sh("exit 3").finish();
    assert_eq!(plain.code(), 3);
    let lines: Vec<&str> = plain.stderr.lines().rev().collect();
    let path = plain.recording.path().display().to_string();
    assert_eq!(lines[0], format!("recorded in {path}"));
    assert!(lines[1].contains("failed (COMMAND_FAILED)"), "{lines:?}");
    assert!(!plain.stderr.contains('\u{1b}'), "{lines:?}");
    for flag in ["--progress=log", "--quiet"] {
        let finished = RunBuilder::sh("exit 3").flag(flag).finish();
        assert_eq!(finished.code(), 3);
        let last = finished.stderr.lines().last().unwrap_or_default();
        let path = finished.recording.path().display().to_string();
        for part in [
            " ERROR ",
            "run has ended exit_code=3 status=\"failed\" code=\"COMMAND_FAILED\" reason=\"",
            path.as_str(),
        ] {
            assert!(last.contains(part), "{part:?} in {:?}", finished.stderr);
        }
        let is_alone = finished.stderr.lines().count() == 1;
        assert_eq!(is_alone, flag == "--quiet");
    }
    let idle = RunBuilder::sh("sleep 60")
        .flag("--quiet")
        .flag("--timeout=1")
        .finish();
    assert_eq!(idle.code(), 124);
    assert!(
        idle.stderr.contains("status=\"timeout\""),
        "{}",
        idle.stderr
    );
    // The document has it all.
    let json = RunBuilder::sh("exit 3").flag("--json").finish();
    assert_eq!(json.stderr, "");
}
