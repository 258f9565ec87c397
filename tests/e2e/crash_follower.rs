//! What follows a run that is about to be killed: a reader that remembers what it saw, a watcher of `status.json`, and the
//! random numbers that choose the instant.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// SplitMix64: small, and the same everywhere for the same seed.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The seed of `STOCKADE_SOAK_SEED`, else one of the clock.
    pub fn seeded() -> Self {
        let given = std::env::var("STOCKADE_SOAK_SEED").ok();
        let clock = || {
            let since = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            u64::try_from(since.as_micros()).unwrap()
        };
        Self(given.map_or_else(clock, |seed| seed.parse().unwrap()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn duration(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap()))
    }
}

/// Says how a test of chance went, on stderr, where the harness shows it when the test fails.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Rounds of a test of chance: `usual`, or what `STOCKADE_SOAK_ROUNDS` says.
pub fn rounds(usual: u64) -> u64 {
    std::env::var("STOCKADE_SOAK_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

/// Waits until an instant; the wait is what the test is about, not a guess.
pub fn wait_until(instant: Instant) {
    while let Some(left) = instant.checked_duration_since(Instant::now()) {
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Reads `/events` over the run's Unix socket as soon as there is one, until the connection ends.
pub struct Reader {
    over: Arc<AtomicBool>,
    seen_bytes: Arc<AtomicU64>,
    thread: JoinHandle<Vec<u8>>,
}

impl Reader {
    pub fn start(socket: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let seen_bytes = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&seen_bytes);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Ok(mut stream) = UnixStream::connect(&socket) else {
                    std::thread::park_timeout(Duration::from_millis(1));
                    continue;
                };
                let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
                if stream.write_all(request).is_err() {
                    continue;
                }
                let mut bytes = Vec::new();
                let mut chunk = vec![0; 256 * 1024];
                // A killed supervisor resets the connection; what came before counts.
                while let Ok(n_read @ 1..) = stream.read(&mut chunk) {
                    bytes.extend_from_slice(&chunk[..n_read]);
                    seen.store(bytes.len() as u64, Ordering::Relaxed);
                }
                if !bytes.is_empty() {
                    return bytes;
                }
            }
            Vec::new()
        });
        Self {
            over,
            seen_bytes,
            thread,
        }
    }

    /// Bytes that came so far.
    pub fn seen_bytes(&self) -> u64 {
        self.seen_bytes.load(Ordering::Relaxed)
    }

    /// Every whole event that was seen, by its number.
    pub fn finish(self) -> BTreeMap<u64, String> {
        self.over.store(true, Ordering::Relaxed);
        let bytes = self.thread.join().unwrap();
        events_of_answer(&bytes)
    }
}

/// Every whole event of an answer, as far as it came, by its number.
pub fn events_of_answer(bytes: &[u8]) -> BTreeMap<u64, String> {
    events_of(&body_of(bytes))
}

/// The body of an answer with chunks, as far as it came.
fn body_of(bytes: &[u8]) -> Vec<u8> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Vec::new();
    };
    assert!(
        bytes.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&bytes[..head])
    );
    let mut rest = &bytes[head + 4..];
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.len() < size + 2 || size == 0 {
            break;
        }
        rest = &rest[size + 2..];
    }
    body
}

fn events_of(body: &[u8]) -> BTreeMap<u64, String> {
    let whole = body
        .windows(2)
        .rposition(|window| window == b"\n\n")
        .map_or(0, |end| end + 2);
    let text = std::str::from_utf8(&body[..whole]).unwrap();
    let mut events = BTreeMap::new();
    for block in text.split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
            let before = events.insert(id.parse().unwrap(), data.to_owned());
            assert_eq!(before, None, "event {id} came twice");
        }
    }
    let numbers: Vec<u64> = events.keys().copied().collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "the reader missed events");
    events
}

/// True when the status is one that never changes.
pub fn is_terminal(status: &Value) -> bool {
    let status = status["status"].as_str().unwrap();
    ["completed", "failed", "timeout", "terminated"].contains(&status)
}

/// Reads `status.json` all the time; it must be whole each time, and never change its mind.
pub struct StatusWatcher {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Option<Value>>,
}

impl StatusWatcher {
    pub fn start(path: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut last: Option<Value> = None;
            while !until.load(Ordering::Relaxed) {
                if let Ok(bytes) = std::fs::read(&path) {
                    let status: Value = serde_json::from_slice(&bytes)
                        .unwrap_or_else(|error| panic!("torn status.json: {error}: {bytes:?}"));
                    if let Some(before) = last.as_ref().filter(|before| is_terminal(before)) {
                        assert_eq!(before["status"], status["status"]);
                        assert_eq!(before["error"], status["error"]);
                    }
                    last = Some(status);
                } else {
                    assert!(last.is_none(), "status.json was there and is gone");
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            last
        });
        Self { over, thread }
    }

    pub fn finish(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// One request over the run's Unix socket, which needs no token: status code and JSON body.
pub fn over_socket(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (code, body)
}
