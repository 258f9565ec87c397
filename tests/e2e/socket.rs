//! The Unix socket of the status API: out of the workload's sight, or less trusted.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::harness::{DEADLINE, RunBuilder};

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
fn a_socket_that_the_workload_would_see_is_refused_before_the_run() {
    let builder = RunBuilder::sh("true");
    let socket = builder.workspace().join("api.sock");
    let run = builder.flag("--socket").flag(socket.as_os_str()).finish();
    assert_eq!(run.code(), 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("the workload sees it in the workspace"),
        "{}",
        run.stderr
    );
    assert!(!socket.exists());
}

#[test]
fn a_socket_out_of_sight_stops_the_run() {
    let run = RunBuilder::sh("sleep 60").start();
    run.until_running();
    assert!(matches!(ask(&run.socket(), "POST /stop"), 200 | 202));
    assert_eq!(run.finish().recording.status()["outcome"]["by"], "api");
}

#[test]
fn without_isolation_the_socket_reads_and_does_not_stop() {
    let run = RunBuilder::sh("echo ready; exec sleep 60")
        .flag("--isolation=none")
        .start();
    run.until_stdout("ready");
    assert_eq!(ask(&run.socket(), "GET /status"), 200);
    assert_eq!(ask(&run.socket(), "POST /stop"), 401);
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.recording.status()["outcome"]["by"], "signal");
    assert!(
        run.stderr.contains("the workload reaches the socket"),
        "{}",
        run.stderr
    );
}
