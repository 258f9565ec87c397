//! The pulse of a connection: what it is doing and since when.
//!
//! Owns the watch over one connection's input and output, and over the body of its answer, from which the connection's
//! task decides whether to cut it. It holds no timer and reads no clock: it counts the looks, which come at a
//! fixed interval. Invariant: a connection is never silent for longer than a limit without being seen here.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::Limits;

/// Why a connection is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// No request came.
    Idle,
    /// A request's headers did not end.
    SlowHeaders,
    /// No byte was accepted.
    Stalled,
}

/// Number of a look at the pulse: the clock of a connection, which costs a request nothing.
type Look = u64;

#[derive(Debug, Clone, Copy)]
enum Doing {
    /// Waiting for a request.
    Idle { since: Look },
    /// Reading the headers of one.
    Head { since: Look },
    /// Answering one.
    Answering,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Set while the kernel takes no byte.
    stalled_since: Option<Look>,
    /// How often was looked.
    looks: Look,
}

/// Counts the bytes that all connections got rid of, so that a drain sees whether anything moves.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Handle to the pulse of one connection.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Inner>);

/// One allocation for each connection, so that a handle's copy touches nothing that connections share.
#[derive(Debug)]
struct Inner {
    /// A std mutex: only the connection's own task takes it, and never across an await.
    state: Mutex<State>,
    progress: Arc<Progress>,
    look_every: Duration,
}

impl Pulse {
    /// Begins a pulse that is looked at no more often than once in `look_every`.
    pub(super) fn new(progress: Arc<Progress>, look_every: Duration) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                doing: Doing::Idle { since: 0 },
                stalled_since: None,
                looks: 0,
            }),
            progress,
            look_every,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's headers are complete.
    pub(super) fn begin_answer(&self) {
        self.state().doing = Doing::Answering;
    }

    fn end_answer(&self) {
        let mut state = self.state();
        state.doing = Doing::Idle { since: state.looks };
    }

    fn read_bytes(&self) {
        let mut state = self.state();
        if let Doing::Idle { .. } = state.doing {
            state.doing = Doing::Head { since: state.looks };
        }
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(Ok(n_bytes)) => {
                let progress = &self.0.progress;
                progress
                    .0
                    .fetch_add(u64::try_from(*n_bytes).unwrap_or(0), Ordering::Relaxed);
                self.state().stalled_since = None;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let mut state = self.state();
                let looks = state.looks;
                state.stalled_since.get_or_insert(looks);
            }
        }
    }

    /// Looks: tells whether a limit has passed. Never before it has, and within two looks after it.
    pub(super) fn look(&self, limits: &Limits) -> Option<Cut> {
        let mut state = self.state();
        state.looks += 1;
        let looks = state.looks;
        // Something that began between two looks counts from the later one.
        let is_over = |since: Look, limit: Duration| {
            let n_whole = u32::try_from(looks - since - 1).unwrap_or(u32::MAX);
            self.0.look_every.saturating_mul(n_whole) >= limit
        };
        if state
            .stalled_since
            .is_some_and(|since| is_over(since, limits.write_stall))
        {
            return Some(Cut::Stalled);
        }
        match state.doing {
            Doing::Idle { since } if is_over(since, limits.keep_alive) => Some(Cut::Idle),
            Doing::Head { since } if is_over(since, limits.header) => Some(Cut::SlowHeaders),
            Doing::Idle { .. } | Doing::Head { .. } | Doing::Answering => None,
        }
    }
}

/// Input and output of a connection, watched.
#[derive(Debug)]
pub(super) struct WatchedIo<T> {
    io: T,
    pulse: Pulse,
}

impl<T> WatchedIo<T> {
    pub(super) fn new(io: T, pulse: Pulse) -> Self {
        Self { io, pulse }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.read_bytes();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.pulse.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.pulse.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Body of an answer, watched: the connection is idle once it is gone.
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Body,
    pulse: Pulse,
}

impl WatchedBody {
    pub(super) fn new(body: Body, pulse: Pulse) -> Self {
        Self { body, pulse }
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.pulse.end_answer();
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
