//! `tail` where there is no status API, or none that gives anything.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::harness::asked::{Asked, ask, asked};
use crate::harness::run::Capture;
use crate::harness::{RunBuilder, until};

#[test]
fn a_run_without_a_status_api_is_followed_by_its_files() {
    let run = RunBuilder::sh(
        "i=0; until [ -e go ]; do i=$((i+1)); echo tick$i; sleep 0.1; done; echo gone",
    )
    .flag("--listen=none")
    .flag("--socket=none")
    .start();
    run.until_stdout("tick1");
    let recordings = run.directory.path().join("recordings");
    let mut tail = Asked(asked(&recordings, &["tail"]).spawn().unwrap());
    let mut stdout = Capture::of(tail.0.stdout.take().unwrap());
    let mut stderr = Capture::of(tail.0.stderr.take().unwrap());
    for shown in ["tick1", "tick9"] {
        until(shown, || stdout.so_far().contains(shown).then_some(()));
    }
    assert!(tail.0.try_wait().unwrap().is_none());
    std::fs::write(run.directory.path().join("workspace/go"), "").unwrap();
    let status = until("tail ends with the run", || tail.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", stderr.all());
    let shown = stdout.all();
    assert_eq!(shown.matches("tick1\n").count(), 1, "{shown}");
    assert!(shown.contains("gone"), "{shown}");
    let told = stderr.all();
    assert!(!told.contains("trying again"), "{told}");
    let finished = run.finish();
    // Nothing listened, and nothing says so.
    assert!(
        !finished.stderr.contains("status api listens"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_server_that_ends_every_stream_at_once_is_a_contact_that_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let document = {
        let finished = RunBuilder::sh("true").finish();
        let status = finished.recording.status().to_string();
        status.replace("\"completed\"", "\"running\"")
    };
    // Ends with the process.
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4_096];
            while let Ok(n_read) = client.read(&mut request)
                && n_read > 0
            {
                let text = String::from_utf8_lossy(&request[..n_read]);
                let (kind, body) = if text.starts_with("GET /status") {
                    ("application/json", document.as_str())
                } else {
                    ("text/event-stream", "")
                };
                let _ = write!(
                    client,
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        }
    });
    let place = tempfile::tempdir().unwrap();
    let mut tail = Asked(asked(place.path(), &["tail", &address]).spawn().unwrap());
    let stderr = Capture::of(tail.0.stderr.take().unwrap());
    until("tail says that nothing comes", || {
        let told = stderr.so_far();
        (told.contains("ended its stream at once") && told.contains("trying again")).then_some(())
    });
}

#[test]
fn a_reason_that_is_too_long_is_refused_before_anybody_is_asked() {
    let run = RunBuilder::sh("sleep 600").start();
    run.until_running();
    let recordings = run.directory.path().join("recordings");
    let (code, _, stderr) = ask(&recordings, &["stop", "--reason", &"é".repeat(1_025)]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("1025 characters; give at most 1024"),
        "{stderr}"
    );
    let (code, _, stderr) = ask(&recordings, &["stop", "--reason", &"é".repeat(1_024)]);
    assert_eq!(code, 0, "{stderr}");
    run.signal(Signal::SIGTERM);
    run.finish();
}
