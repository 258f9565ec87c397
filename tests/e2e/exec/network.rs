//! The network of a command alone, by rules.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread::JoinHandle;

use super::output;
use crate::harness::need::need;

/// What the server of the host answers.
const ANSWER: &str = "a server of the host";

/// Serves one request on the host's loopback.
struct Origin {
    port: u16,
    server: JoinHandle<()>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(&stream);
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", ANSWER.len());
            write!(&stream, "{head}Connection: close\r\n\r\n{ANSWER}").unwrap();
            let _ = (&stream).read(&mut [0; 1]);
        });
        Self { port, server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_a_rule_names_is_reached_and_what_none_names_is_denied_by_name() {
    if need("curl").is_none() {
        return;
    }
    for isolation in ["full", "container"] {
        let origin = Origin::start();
        let rule = format!("allow=127.0.0.1:{}", origin.port);
        let flags = ["--isolation", isolation, "--net", &rule];
        let script = format!(
            "curl -sSf {url} && echo && curl -sSf http://other.example:8080/; echo $?; \
             curl -sS --noproxy '*' -m 5 {url} || echo nothing without the proxy; exit 9",
            url = origin.url()
        );
        let ended = output(&flags, &["sh", "-c", &script]);
        let (stdout, stderr) = said(&ended);
        assert_eq!(ended.status.code(), Some(9), "{isolation}: {stderr}");
        let expected = format!("{ANSWER}\n22\nnothing without the proxy\n");
        assert_eq!(stdout, expected, "{isolation}: {stderr}");
        let denied = "stockade: network denied: other.example:8080: no-rule";
        assert!(stderr.lines().any(|line| line == denied), "{stderr}");
        assert!(!stderr.contains("127.0.0.1: "), "{stderr}");
        origin.server.join().unwrap();
    }
}

#[test]
fn connections_that_are_denied_again_and_again_are_told_by_their_number() {
    if need("python3").is_none() {
        return;
    }
    let script = "import os, socket
for _ in range(50):
    proxy = os.environ['http_proxy'].removeprefix('http://').rsplit(':', 1)
    with socket.create_connection((proxy[0], int(proxy[1]))) as connection:
        connection.sendall(b'CONNECT other.example:443 HTTP/1.1\\r\\nHost: other.example:443\\r\\n\\r\\n')
        assert b' 403 ' in connection.recv(1000).split(b'\\r\\n')[0]";
    let ended = output(&["--net", "allow=site.example"], &["python3", "-c", script]);
    let (_, stderr) = said(&ended);
    assert!(ended.status.success(), "{stderr}");
    let denied = "stockade: network denied: other.example:443: no-rule";
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines, [denied, &format!("{denied} (49 times)")]);
}

#[test]
fn a_rule_that_is_none_is_refused_before_anything_starts() {
    let ended = output(&["--net", "allow=http://"], &["true"]);
    let (_, stderr) = said(&ended);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("network"), "{stderr}");
}
