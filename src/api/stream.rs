//! The body of `GET /events`: frames of the log, control frames and signs of life.
//!
//! Owns one reader's loop: give what there is, wait, give again. Replay and live are the same loop, and nothing stands
//! between the log and the socket but one chunk. Invariants: the log's frames pass unchanged and in order; control frames
//! have no id; the stream ends behind the terminal event.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::extent::up_to;
use super::limits::{
    CATCH_UP_CHUNK_BYTES, CHUNK_BUDGET_BYTES, COALESCE, LIVE_CHUNK_BYTES, MAX_RETRY_MS,
    MIN_CHUNK_BYTES, MIN_RETRY_MS,
};
use super::metrics::{Held, Traffic};
use crate::log::frame::Framing;
use crate::log::{Next, Reader, Selection, Source};

/// When a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Behind the terminal event.
    Terminal,
    /// Behind this event, or behind the terminal one; no later event is given. Only NDJSON ends so.
    Event(u64),
}

/// One reader of the log.
pub(super) struct EventStream {
    reader: Reader,
    selection: Selection,
    until: Until,
    /// Lines that may still be given; only NDJSON is limited so.
    n_left: Option<u64>,
    /// What goes out before anything else is read.
    ready: VecDeque<Bytes>,
    heartbeat_interval: std::time::Duration,
    /// Fires when the client may not have heard of us for the interval.
    heartbeat: Pin<Box<Sleep>>,
    /// When something was given last.
    gave_at: Instant,
    /// When the log was read last.
    read_at: Option<Instant>,
    /// The cursor that the client was told by an id-only block.
    announced: u64,
    is_behind: bool,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    traffic: Arc<Traffic>,
    _connected: Held,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("after", &self.reader.after())
            .field("selection", &self.selection)
            .finish_non_exhaustive()
    }
}

/// What a waiting stream woke for.
enum Woken {
    Events,
    Heartbeat,
    Draining,
}

impl EventStream {
    /// A stream over `reader`, whose selection is `selection`.
    pub(super) fn new(
        reader: Reader,
        selection: Selection,
        heartbeat_interval: std::time::Duration,
        draining: CancellationToken,
        traffic: Arc<Traffic>,
    ) -> Self {
        let announced = reader.after();
        Self {
            reader,
            selection,
            until: Until::Terminal,
            n_left: None,
            ready: VecDeque::new(),
            heartbeat_interval,
            heartbeat: Box::pin(tokio::time::sleep(heartbeat_interval)),
            gave_at: Instant::now(),
            read_at: None,
            announced,
            is_behind: true,
            draining: Box::pin(draining.cancelled_owned()),
            _connected: Held::new(&traffic.readers_connected),
            traffic,
        }
    }

    /// Ends the stream earlier than behind the terminal event: behind an event, or after so many lines.
    pub(super) fn set_end(&mut self, until: Until, n_lines: Option<u64>) {
        self.until = until;
        self.n_left = n_lines;
    }

    /// Puts what an `EventSource` needs first: the time after which to come back, and bytes that make proxies flush.
    pub(super) fn push_prelude(&mut self) {
        // The low bits of the clock are random enough to spread readers.
        let spread = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .subsec_nanos();
        let retry = MIN_RETRY_MS + u64::from(spread) % (MAX_RETRY_MS - MIN_RETRY_MS + 1);
        self.ready
            .push_back(format!("retry: {retry}\n\n: stockade\n\n").into());
    }

    /// Puts the control frame that says "your id is of another log; everything follows".
    pub(super) fn push_reset(&mut self, source: &Source) {
        let (epoch, last) = (source.epoch(), source.bounds().published_seq);
        let fields = format!("\"epoch\":\"{epoch}\",\"last_event_id\":{last}");
        self.ready
            .push_back(control(self.selection.framing, "reset", &fields));
    }

    /// The body of the answer.
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::try_unfold(self, |mut stream| async move {
            let next = stream.next().await.inspect_err(|error| {
                tracing::error!(%error, "cannot read the log for a reader");
            })?;
            Ok::<_, io::Error>(next.map(|bytes| (bytes, stream)))
        }))
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.gave_at = Instant::now();
                return Ok(Some(self.limited(bytes)));
            }
            if self.is_over() {
                return Ok(None);
            }
            if let Some(chunk) = self.read().await? {
                self.ready.push_back(chunk);
                continue;
            }
            // The cursor may have moved over events that do not pass.
            if self.is_over() {
                return Ok(None);
            }
            match self.wait().await {
                Woken::Events => self.coalesce().await,
                Woken::Heartbeat => self.push_heartbeat(),
                Woken::Draining => {
                    // Whatever is published stays readable; nothing more will be.
                    match self.read().await? {
                        Some(chunk) => self.ready.push_back(chunk),
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let has_reached_end = match self.until {
            Until::Terminal => false,
            Until::Event(last) => self.reader.after() >= last,
        };
        has_reached_end || self.n_left == Some(0) || self.reader.is_finished()
    }

    /// Takes what is behind the cursor; none when there is nothing, or nothing that passes the filter.
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let max_bytes = self.chunk_bytes();
        let next = self.reader.read(max_bytes).await?;
        if next.is_some() {
            self.read_at = Some(Instant::now());
        }
        Ok(match next {
            None => {
                self.is_behind = false;
                None
            }
            Some(Next::Frames(frames)) => {
                self.is_behind = frames.len() >= max_bytes / 2;
                let frames = match self.until {
                    Until::Terminal => frames,
                    Until::Event(last) => up_to(frames, self.reader.after(), last),
                };
                Some(frames).filter(|frames| !frames.is_empty())
            }
            Some(Next::Gap { from, to }) => {
                let to = match self.until {
                    Until::Terminal => to,
                    Until::Event(last) if last < from => return Ok(None),
                    Until::Event(last) => to.min(last),
                };
                let fields = format!("\"from\":{from},\"to\":{to}");
                Some(control(self.selection.framing, "gap", &fields))
            }
        })
    }

    /// A reader that is behind takes large chunks, as far as all readers together leave room.
    fn chunk_bytes(&self) -> usize {
        if !self.is_behind {
            return LIVE_CHUNK_BYTES;
        }
        let n_readers = usize::try_from(self.traffic.readers_connected.get()).unwrap_or(1);
        (CHUNK_BUDGET_BYTES / n_readers.max(1)).clamp(MIN_CHUNK_BYTES, CATCH_UP_CHUNK_BYTES)
    }

    async fn wait(&mut self) -> Woken {
        // Not only when nothing else is ready: a filtered stream must show life while others' events flow.
        if self.gave_at.elapsed() >= self.heartbeat_interval {
            return Woken::Heartbeat;
        }
        // Cancel safe: the reader's wait moves nothing, the others are polled in place.
        tokio::select! {
            biased;
            _ = self.reader.wait() => Woken::Events,
            () = &mut self.draining => Woken::Draining,
            () = &mut self.heartbeat => Woken::Heartbeat,
        }
    }

    /// After a quiet time the first event goes at once; those that follow closely are gathered.
    async fn coalesce(&self) {
        if self.is_behind {
            return;
        }
        if let Some(read_at) = self.read_at {
            let quiet_until = read_at + COALESCE;
            if quiet_until > Instant::now() {
                tokio::time::sleep_until(quiet_until).await;
            }
        }
    }

    fn push_heartbeat(&mut self) {
        let now = Instant::now();
        let is_due = now >= self.gave_at + self.heartbeat_interval;
        if is_due {
            self.gave_at = now;
        }
        self.heartbeat
            .as_mut()
            .reset(self.gave_at + self.heartbeat_interval);
        if !is_due || self.selection.framing != Framing::Sse {
            return;
        }
        let after = self.reader.after();
        if self.selection.types.is_all() || after == self.announced {
            self.ready.push_back(Bytes::from_static(b": heartbeat\n\n"));
        } else {
            self.announced = after;
            self.ready
                .push_back(format!(": heartbeat\n\nid: {after}\n\n").into());
        }
    }

    /// Cuts a chunk of lines behind the number that may still be given.
    fn limited(&mut self, bytes: Bytes) -> Bytes {
        let Some(n_left) = &mut self.n_left else {
            return bytes;
        };
        for end in memchr::memchr_iter(b'\n', &bytes) {
            *n_left -= 1;
            if *n_left == 0 {
                return bytes.slice(..=end);
            }
        }
        bytes
    }
}

/// A control frame: without an id, so that it moves no cursor, and not in the log.
fn control(framing: Framing, name: &str, fields: &str) -> Bytes {
    match framing {
        Framing::Sse => format!("event: {name}\ndata: {{{fields}}}\n\n").into(),
        Framing::Ndjson => format!("{{\"type\":\"{name}\",{fields}}}\n").into(),
    }
}
