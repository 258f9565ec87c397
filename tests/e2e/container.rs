//! The tier container, end to end: what it gives a run that a container would get, on a host that forbids nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::need::need;
use crate::harness::{DEADLINE, RunBuilder, until};

fn in_container(script: &str) -> RunBuilder {
    RunBuilder::sh(script).flag("--isolation=container")
}

/// What a script printed as the directories of its run.
fn directories(text: &str) -> Vec<PathBuf> {
    text.split_whitespace().map(PathBuf::from).collect()
}

/// The status of the answer to a request on the socket.
fn ask(socket: &Path, line: &str) -> u16 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn home_temporary_files_and_output_are_directories_of_the_run_that_end_with_it() {
    let script = "echo kept > \"$STOCKADE_OUTPUT_DIR/kept\"; mktemp > /dev/null; echo x > \"$HOME/x\"; \
                  echo \"$HOME $TMPDIR $STOCKADE_OUTPUT_DIR\"; echo y > file";
    let run = in_container(script).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["isolation"]["enforced"], "container");
    let made = directories(&run.stdout);
    assert_eq!(made.len(), 3, "{}", run.stdout);
    for path in made {
        assert!(!path.exists(), "{}", path.display());
        assert!(!path.parent().unwrap().exists(), "{}", path.display());
    }
    let kept = run.recording.path().join("artifacts/kept");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n");
}

#[test]
fn the_directories_of_a_run_that_was_killed_are_removed_by_finalize() {
    let run = in_container("echo \"$HOME\"; exec sleep 600").start();
    run.until_running();
    let home = until("the output is on record", || {
        let output = run.recording().output();
        directories(&output).pop()
    });
    assert!(home.exists());
    let (guardian, supervisor) = (run.guardian_pid(), run.supervisor_pid());
    crate::harness::run::kill(guardian, Signal::SIGSTOP);
    crate::harness::run::kill(supervisor, Signal::SIGKILL);
    crate::harness::run::kill(guardian, Signal::SIGCONT);
    let run = run.finish();
    assert_eq!(
        run.recording.status()["error"]["code"],
        "SUPERVISOR_CRASHED"
    );
    assert!(!home.exists());
}

#[test]
fn the_workload_reaches_neither_the_status_port_nor_the_recordings() {
    let script = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", int(\"'$PORT'\")), 5)' 2>&1; \
                  ls \"$PLACE\" 2>&1; cat \"$PLACE/run/status.json\" 2>&1; exit 0";
    for network in ["none", "allow=example.com"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let builder = in_container(script);
        let place = builder.recordings();
        let run = builder
            .flag(format!("--net={network}"))
            .flag(format!("--listen=127.0.0.1:{port}"))
            .flag("--env")
            .flag(format!("PORT={port}"))
            .flag("--env")
            .flag(format!("PLACE={}", place.display()))
            .finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
        let expected = match network {
            "none" => "Address family not supported",
            _ => "PermissionError",
        };
        assert!(run.stdout.contains(expected), "{network}: {}", run.stdout);
        assert_eq!(
            run.stdout.matches("Permission denied").count(),
            if network == "none" { 2 } else { 3 },
            "{}",
            run.stdout
        );
    }
}

#[test]
fn what_the_rules_of_the_network_do_not_name_is_denied_by_the_proxy() {
    let script = "curl -sS -o /dev/null -w '%{http_code}' http://example.org/; true";
    let run = in_container(script)
        .flag("--net=allow=example.com")
        .finish();
    assert_eq!(run.stdout, "403", "{}", run.stderr);
    let denied = run.recording.events().into_iter().any(|event| {
        event["type"] == "network" && event["decision"] == "deny" && event["host"] == "example.org"
    });
    assert!(denied);
}

#[test]
fn the_socket_asks_for_a_token_where_the_workload_has_the_id_of_its_owner() {
    let run = in_container("echo ready; exec sleep 60").start();
    run.until_stdout("ready");
    let status = run.recording().status();
    let abi = status["isolation"]["landlock_abi"].as_u64().unwrap();
    assert_eq!(ask(&run.socket(), "GET /status"), 200);
    let stopped = ask(&run.socket(), "POST /stop");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    let by = run.recording.status()["outcome"]["by"].clone();
    match abi {
        // The workspace belongs to whoever runs the test, so the workload has the same id.
        ..9 => assert_eq!((stopped, by), (401, Value::from("signal"))),
        9.. => assert_eq!(by, "api"),
    }
}

#[test]
fn recordings_in_the_workspace_cannot_be_hidden_and_are_refused() {
    let builder = in_container("true");
    let inside = builder.workspace().join("recordings");
    let run = builder.with_recordings(&inside).finish();
    assert_ne!(run.code(), 0);
    assert!(run.stderr.contains("recordings"), "{}", run.stderr);
}

#[test]
fn a_caller_without_a_word_over_its_mounts_gets_the_tier_container_and_no_other_by_force() {
    let Some(unshare) = need("unshare") else {
        return;
    };
    // A user namespace of its own, in the mount namespace of somebody else.
    let within = vec![unshare.into_os_string(), "-Ur".into()];
    let run = RunBuilder::sh("echo ran").within(within.clone()).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.recording.status()["isolation"]["enforced"], "container");
    let run = RunBuilder::sh("echo ran")
        .flag("--isolation=full")
        .within(within)
        .finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert_eq!(
        run.recording.status()["error"]["code"],
        "ISOLATION_UNAVAILABLE"
    );
    assert!(run.stderr.contains("--isolation"), "{}", run.stderr);
}

#[test]
fn the_socket_of_another_run_gives_nothing_without_a_token() {
    if need("curl").is_none() {
        return;
    }
    let token = "a-token-of-the-other-run-0123456789";
    let other = RunBuilder::sh("sleep 600")
        .env("STOCKADE_TOKEN", token)
        .start();
    other.until_running();
    let socket = other.socket();
    let script = format!(
        "ask() {{ curl -s -o /dev/null -w '%{{http_code}} ' --unix-socket {} \"$@\"; }}; \
         ask http://localhost/healthz; ask http://localhost/status; ask 'http://localhost/events?follow=false'; \
         ask -X POST http://localhost/stop; ask -H 'authorization: Bearer {token}' http://localhost/status",
        socket.display()
    );
    let inside = in_container(&script).finish();
    assert_eq!(inside.stdout, "200 401 401 401 200 ", "{}", inside.stderr);
    // Beside the sandbox the same socket is open, and nobody stopped the run.
    for line in ["GET /status HTTP/1.1", "POST /stop HTTP/1.1"] {
        assert!(matches!(
            ask(&socket, line.trim_end_matches(" HTTP/1.1")),
            200 | 202
        ));
    }
    let status = other.finish().recording.status();
    assert_eq!(status["outcome"]["by"], "api", "{status}");
}
