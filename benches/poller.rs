//! A load client for short answers: keep-alive connections in one thread, one request under way on each.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Bytes that one read takes at most.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a server managed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    /// Bytes of the body that are to come, once the head is complete.
    left: Option<usize>,
    asked_at: Instant,
}

/// Asks for `path` on `n_connections` connections for `duration`.
pub(crate) fn poll(port: u16, path: &str, n_connections: usize, duration: Duration) -> Load {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    let mut connections: Vec<_> = (0..n_connections)
        .map(|idx| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
            stream.set_nonblocking(true).expect("nonblocking");
            stream.set_nodelay(true).expect("nodelay");
            epoll
                .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, idx as u64))
                .expect("epoll add");
            Connection {
                stream,
                head: Vec::new(),
                left: None,
                asked_at: Instant::now(),
            }
        })
        .collect();
    for connection in &mut connections {
        connection.ask(&request);
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = [EpollEvent::empty(); 64];
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < duration {
        let n_ready = epoll
            .wait(&mut events, EpollTimeout::from(5_000_u16))
            .expect("epoll wait");
        assert!(n_ready > 0, "no answer from port {port} for 5 s");
        for event in &events[..n_ready] {
            let connection = &mut connections[usize::try_from(event.data()).expect("an index")];
            let n_read = match connection.stream.read(&mut buffer) {
                Ok(0) => panic!("port {port} closed a kept connection"),
                Ok(n_read) => n_read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("port {port}: {error}"),
            };
            if connection.take(&buffer[..n_read]) {
                latencies.push(connection.asked_at.elapsed());
                connection.ask(&request);
            }
        }
    }
    let elapsed = began.elapsed();
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied();
    Load {
        requests_per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
        p50: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
    }
}

/// One answer's body.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(ErrorKind::InvalidData.into());
    }
    let at = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(answer.split_off(at + 4))
}

impl Connection {
    fn ask(&mut self, request: &str) {
        self.asked_at = Instant::now();
        self.stream.write_all(request.as_bytes()).expect("ask");
    }

    /// Takes bytes of the answer; true when it is complete.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let n_body = match self.left {
            Some(_) => bytes.len(),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(at) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
                    return false;
                };
                self.left = Some(content_length(&self.head[..at]));
                self.head.len() - at - 4
            }
        };
        let left = self.left.unwrap_or(0).saturating_sub(n_body);
        self.left = Some(left);
        if left > 0 {
            return false;
        }
        self.left = None;
        self.head.clear();
        true
    }
}

fn content_length(head: &[u8]) -> usize {
    let text = std::str::from_utf8(head).expect("a head is ASCII");
    assert!(text.starts_with("HTTP/1.1 200"), "refused: {text}");
    text.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        })
        .expect("an answer of known length")
}
