//! Every limit of the status API, named, with its reason.
//!
//! Owns the numbers and nothing else. The composition root takes [`Limits::default`]; tests make them smaller.

use std::time::Duration;

/// Most connections of one listener; fewer where the descriptors of the process are fewer. A reader costs about 20 kB, so this many cost less than 200 MB; each listener counts its
/// own, so that a flood on the port cannot shut the operator out of the socket.
pub const MAX_CONNECTIONS: usize = 8_192;
/// Connections beyond the limit that get a polite answer at the same time; more are closed without one.
pub const MAX_REFUSALS: usize = 64;
/// Time for such an answer. It is a hundred bytes, which fit into the socket's buffer.
pub const REFUSAL_LIMIT: Duration = Duration::from_secs(1);
/// Seconds after which a refused client may try again, as `Retry-After` says.
pub const REFUSAL_RETRY_SECONDS: u64 = 1;
/// Bytes of a request's line and headers; what browsers and proxies send is far below.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Time from the first byte of a request to the end of its headers; who needs longer is no client but a siege.
pub const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// Time that a connection may stay open without a request. Longer than the poll interval of the usual orchestrators, so
/// that they keep one connection.
pub const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(75);
/// Bytes of a request's body. The only body there is has one short text.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Time for a request's body to arrive.
pub const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Time from a request's headers to its answer's headers, a long-poll's own wait not counted.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Longest long-poll; a larger `?wait=` is cut to it. Proxies give up after 60 s and more.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// Time after which a connection that accepts no byte is cut. The reader resumes by id.
pub const WRITE_STALL_LIMIT: Duration = Duration::from_secs(60);
/// Time between two signs of life on a silent stream: below the 30 s of impatient proxies.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// After a first event at once, time in which further events are gathered. The timer's grain makes it 1 to 2 ms.
pub const COALESCE: Duration = Duration::from_millis(1);
/// Bytes of one live chunk: many events a system call, and little memory when a reader stalls.
pub const LIVE_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of one chunk for a reader that is behind: as much as one read of the files gives.
pub const CATCH_UP_CHUNK_BYTES: usize = 256 * 1024;
/// Least bytes of one such chunk, when many readers are behind.
pub const MIN_CHUNK_BYTES: usize = 16 * 1024;
/// Bytes that all readers together may hold in chunks; shared among them, within 16 KiB and 256 KiB each. A reader that is
/// sent one chunk while the next is read holds two.
pub const CHUNK_BUDGET_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one chunk of an artifact.
pub const ARTIFACT_CHUNK_BYTES: usize = 128 * 1024;
/// At a shutdown: time without any progress of any connection after which the rest is cut.
pub const DRAIN_STALL_LIMIT: Duration = Duration::from_secs(2);
/// At a shutdown: time in all after which the rest is cut.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(4);
/// First pause after a failed accept (descriptors or memory exhausted); doubles up to [`MAX_ACCEPT_PAUSE`].
pub const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause after a failed accept; a listener never gives up.
pub const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Least time after which a client of a stream that ended may come back, as `retry:` says, milliseconds.
pub const MIN_RETRY_MS: u64 = 1_000;
/// Most such time. The two are apart so that the readers of a restarted port do not come back all at once.
pub const MAX_RETRY_MS: u64 = 3_000;
/// Characters of a stop request's reason; it goes into the log and the termination message.
pub const MAX_REASON_CHARS: usize = 1_024;
/// Largest grace that a stop request may name, seconds: a day, beyond any orchestrator's own.
pub const MAX_GRACE_SECONDS: f64 = 86_400.0;
/// Shortest bearer token, bytes: what is shorter the log's redactor would not hide.
pub const MIN_TOKEN_BYTES: usize = 8;

/// The limits that tests need smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// See [`HEADER_LIMIT`].
    pub header: Duration,
    /// See [`KEEP_ALIVE_LIMIT`].
    pub keep_alive: Duration,
    /// See [`BODY_LIMIT`].
    pub body: Duration,
    /// See [`REQUEST_LIMIT`].
    pub request: Duration,
    /// See [`WRITE_STALL_LIMIT`].
    pub write_stall: Duration,
    /// See [`HEARTBEAT`].
    pub heartbeat: Duration,
    /// See [`DRAIN_STALL_LIMIT`].
    pub drain_stall: Duration,
    /// See [`DRAIN_LIMIT`].
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            header: HEADER_LIMIT,
            keep_alive: KEEP_ALIVE_LIMIT,
            body: BODY_LIMIT,
            request: REQUEST_LIMIT,
            write_stall: WRITE_STALL_LIMIT,
            heartbeat: HEARTBEAT,
            drain_stall: DRAIN_STALL_LIMIT,
            drain: DRAIN_LIMIT,
        }
    }
}
