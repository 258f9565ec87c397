//! A crowd of SSE readers in one thread: one epoll set, one buffer, every stream checked.
//!
//! Owns the client's side of the fan-out and replay benchmarks. It understands as much HTTP/1.1 as the measured servers
//! speak: a head, then a chunked or an unframed body.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::frames::{Faults, FrameChecker, FrameEnd, age_ns, time_mark};

/// Bytes that one read takes at most.
const BUFFER_BYTES: usize = 256 * 1024;
/// Silence after which a benchmark is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// How a body is framed, and how far it was read.
#[derive(Debug)]
enum Body {
    /// The head is not complete yet.
    Head(Vec<u8>),
    /// Chunks (RFC 9112, section 7.1).
    Chunked(Chunk),
    /// Everything behind the head.
    Plain,
}

#[derive(Debug)]
enum Chunk {
    /// Reading the size line; what was read of it.
    Size(Vec<u8>),
    /// Bytes of the chunk that are left.
    Data(usize),
    /// Bytes of the line end behind it that are left.
    End(usize),
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    body: Body,
    checker: FrameChecker,
    is_open: bool,
}

/// A crowd of readers.
#[derive(Debug)]
pub(crate) struct Readers {
    connections: Vec<Connection>,
    epoll: Epoll,
    buffer: Vec<u8>,
    frame_end: FrameEnd,
    latencies_ns: Vec<u64>,
}

impl Readers {
    /// Opens `n_readers` streams of `path` that begin behind event `after`.
    pub(crate) fn open(port: u16, path: &str, n_readers: usize, after: u64) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: text/event-stream\r\n"
        );
        if after > 0 {
            request.push_str(&format!("last-event-id: {after}\r\n"));
        }
        request.push_str("\r\n");
        let connections = (0..n_readers)
            .map(|reader_idx| {
                let mut stream =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect a reader");
                stream.write_all(request.as_bytes()).expect("ask");
                stream.set_nonblocking(true).expect("nonblocking");
                let interest = EpollEvent::new(EpollFlags::EPOLLIN, reader_idx as u64);
                epoll.add(&stream, interest).expect("epoll add");
                Connection {
                    stream,
                    body: Body::Head(Vec::new()),
                    checker: FrameChecker::new(after),
                    is_open: true,
                }
            })
            .collect();
        Self {
            connections,
            epoll,
            buffer: vec![0; BUFFER_BYTES],
            frame_end: FrameEnd::new(),
            latencies_ns: Vec::new(),
        }
    }

    /// Reads until every stream has answered with its head.
    pub(crate) fn wait_for_heads(&mut self) {
        let is_answered = |connection: &Connection| !matches!(connection.body, Body::Head(_));
        self.read_until(is_answered, Keep::Nothing);
    }

    /// Reads until every stream has given event `last_id`; gives the time of the last one.
    pub(crate) fn read_to(&mut self, last_id: u64) -> Instant {
        self.read_until(
            |connection| connection.checker.last_id >= last_id,
            Keep::Nothing,
        )
    }

    /// The same, and keeps how old each event was when it came.
    pub(crate) fn read_to_with_latencies(&mut self, last_id: u64) -> Vec<u64> {
        self.latencies_ns.clear();
        self.read_until(
            |connection| connection.checker.last_id >= last_id,
            Keep::Latencies,
        );
        std::mem::take(&mut self.latencies_ns)
    }

    /// What was wrong in all streams together.
    pub(crate) fn faults(&self) -> Faults {
        self.connections
            .iter()
            .fold(Faults::default(), |sum, connection| Faults {
                missing: sum.missing + connection.checker.faults.missing,
                doubled: sum.doubled + connection.checker.faults.doubled,
            })
    }

    fn read_until(&mut self, is_done: impl Fn(&Connection) -> bool, keep: Keep) -> Instant {
        let mut done: Vec<bool> = self.connections.iter().map(&is_done).collect();
        let mut n_left = done.iter().filter(|done| !**done).count();
        let mut events = [EpollEvent::empty(); 256];
        let silence = EpollTimeout::try_from(SILENCE_LIMIT).expect("a short time");
        let mark = time_mark();
        while n_left > 0 {
            let n_ready = self.epoll.wait(&mut events, silence).expect("epoll wait");
            assert!(
                n_ready > 0,
                "{n_left} readers heard nothing for {SILENCE_LIMIT:?}"
            );
            for event in &events[..n_ready] {
                let reader_idx = usize::try_from(event.data()).expect("an index");
                let connection = &mut self.connections[reader_idx];
                let n_read = match connection.stream.read(&mut self.buffer) {
                    Ok(n_read) => n_read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("reader {reader_idx}: {error}"),
                };
                if n_read == 0 {
                    connection.is_open = false;
                    self.epoll.delete(&connection.stream).expect("epoll delete");
                    assert!(
                        done[reader_idx] || is_done(connection),
                        "reader {reader_idx} was cut behind event {}",
                        connection.checker.last_id
                    );
                }
                let latencies = &mut self.latencies_ns;
                let mut seen = |frame: &[u8]| match keep {
                    Keep::Nothing => {}
                    Keep::Latencies => latencies.extend(age_ns(frame, &mark)),
                };
                connection.take(&self.buffer[..n_read], &self.frame_end, &mut seen);
                if !done[reader_idx] && is_done(connection) {
                    done[reader_idx] = true;
                    n_left -= 1;
                }
            }
        }
        Instant::now()
    }
}

/// What is kept of a frame beside its number.
#[derive(Debug, Clone, Copy)]
enum Keep {
    Nothing,
    Latencies,
}

impl Connection {
    fn take(&mut self, mut bytes: &[u8], end: &FrameEnd, seen: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            match &mut self.body {
                Body::Head(head) => {
                    let old = head.len();
                    head.extend_from_slice(bytes);
                    let Some(at) = memchr::memmem::find(head, b"\r\n\r\n") else {
                        return;
                    };
                    let text = String::from_utf8_lossy(&head[..at]).to_ascii_lowercase();
                    assert!(text.starts_with("http/1.1 200"), "refused: {text}");
                    bytes = &bytes[at + 4 - old..];
                    self.body = if text.contains("transfer-encoding: chunked") {
                        Body::Chunked(Chunk::Size(Vec::new()))
                    } else {
                        Body::Plain
                    };
                }
                Body::Plain => {
                    self.checker.feed(bytes, end, seen);
                    return;
                }
                Body::Chunked(Chunk::Size(line)) => {
                    let Some(at) = memchr::memchr(b'\n', bytes) else {
                        line.extend_from_slice(bytes);
                        return;
                    };
                    line.extend_from_slice(&bytes[..at]);
                    bytes = &bytes[at + 1..];
                    let size = std::str::from_utf8(line).expect("a chunk size").trim();
                    let size = usize::from_str_radix(size, 16).expect("a chunk size");
                    self.body = Body::Chunked(Chunk::Data(size));
                }
                Body::Chunked(Chunk::Data(left)) => {
                    let (data, behind) = bytes.split_at((*left).min(bytes.len()));
                    *left -= data.len();
                    if *left == 0 {
                        self.body = Body::Chunked(Chunk::End(2));
                    }
                    self.checker.feed(data, end, seen);
                    bytes = behind;
                }
                Body::Chunked(Chunk::End(left)) => {
                    let n_passed = (*left).min(bytes.len());
                    *left -= n_passed;
                    bytes = &bytes[n_passed..];
                    if *left == 0 {
                        self.body = Body::Chunked(Chunk::Size(Vec::new()));
                    }
                }
            }
        }
    }
}
