//! Output of the workload: from a pipe to the log, to our own standard streams, and to the agent.
//!
//! Owns one pump a pipe. Each chunk is redacted first and only then goes anywhere. A pump reads no faster than the log
//! takes, so a full disk or a flood slows the workload down and memory stays bounded.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, Decoder};
use tokio_util::sync::CancellationToken;

use super::result_lines::ResultLines;
use super::tap::Tap;
use crate::agent::{LineOf, MAX_LINE_BYTES, Observation};
use crate::cast::ScreenStream;
use crate::event::{ActionOutput, Event, ServiceOutput, Stream};
use crate::log::ActionLog;
use crate::redact::StreamRedactor;
use crate::text::{Clip, Piece, Utf8Chunker};

/// Bytes read at a time; the capacity of a pipe (pipe(7)).
pub const CHUNK_BYTES: usize = 64 * 1024;

/// How long a line without its end is held back before it is recorded as it is: prompts have no newline.
pub const PARTIAL_LINE_DELAY: Duration = Duration::from_millis(100);

/// What one run may put out, shared by its pumps.
#[derive(Debug)]
pub struct OutputBudget {
    limit: u64,
    written: AtomicU64,
    exceeded: CancellationToken,
}

impl OutputBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            written: AtomicU64::new(0),
            exceeded: CancellationToken::new(),
        }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Waits until more was written than the limit allows. Cancel safe.
    pub async fn exceeded(&self) {
        self.exceeded.cancelled().await;
    }

    /// Bytes that the workload wrote.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Takes `bytes`; says what may be recorded of it.
    fn take(&self, bytes: u64) -> Allowance {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.limit {
            Allowance::Record
        } else if before <= self.limit {
            Allowance::LimitReached
        } else {
            Allowance::Drop
        }
    }
}

enum Allowance {
    Record,
    LimitReached,
    Drop,
}

/// Where the chunks of a pump go, beside our own standard stream.
#[derive(Debug)]
pub enum Destination {
    /// Text in the log, as output of an action.
    Action {
        /// Number of the action.
        step: u64,
        /// Call of the action.
        call_id: String,
        /// Keeps the beginning and the end of the output for the action's `result_text`.
        clip: Arc<Mutex<Clip>>,
        /// Keeps more of this stream alone, for the agent.
        capture: Option<Arc<Mutex<Clip>>>,
    },
    /// Text in the log, as output of the agent itself.
    Agent,
    /// Nothing but the clip.
    Hook {
        /// Keeps the beginning and the end of what it prints.
        clip: Arc<Mutex<Clip>>,
    },
    /// Text in the log, as output of a service.
    Service {
        /// Its name.
        service: String,
    },
    /// Whole lines, for the agent to read.
    Lines {
        /// Which descriptor it is.
        of: LineOf,
        /// To the session.
        observations: mpsc::Sender<Observation>,
    },
}

/// Asks a pump to read what is in its pipe now; answered when the pipe was empty, or dropped when it has ended.
#[derive(Debug)]
pub struct Settle {
    /// The answer.
    pub done: oneshot::Sender<()>,
}

/// Most bytes that a pump reads to settle: what an ended process can have left is a pipe's capacity; more comes from
/// what it left in the background.
const MAX_SETTLE_BYTES: usize = 16 * CHUNK_BYTES;

/// Reads one pipe until its end.
#[derive(Debug)]
pub struct Pump {
    /// The stream that the workload writes to.
    pub stream: Stream,
    /// Where it goes.
    pub destination: Destination,
    /// Asks for what is in the pipe now.
    pub settle: Option<oneshot::Receiver<Settle>>,
    /// Looks for the result in what passes.
    pub result_lines: Option<ResultLines>,
    /// Replaces secrets.
    pub redactor: StreamRedactor,
    /// The action log.
    pub log: ActionLog,
    /// Shared by all pumps of the run.
    pub budget: Arc<OutputBudget>,
    /// Where it is shown in the terminal recording.
    pub screen: ScreenStream,
}

impl Pump {
    /// Reads `pipe` until every writer closed it, and copies it to `passthrough`.
    ///
    /// Not cancel safe in what it holds back, so it is told to stop by closing `cut`: then it records what it has.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub async fn run(
        mut self,
        pipe: OwnedFd,
        mut passthrough: impl AsyncWrite + Unpin,
        cut: CancellationToken,
    ) -> io::Result<()> {
        let mut pipe = Tap::of(pipe)?;
        let mut raw = BytesMut::with_capacity(CHUNK_BYTES);
        let mut clean = Vec::with_capacity(CHUNK_BYTES);
        let mut sink = Sink::new(&self.destination);
        let mut passes = true;
        let mut settle = self.settle.take();
        let mut settling: Option<(Settle, usize)> = None;
        loop {
            raw.clear();
            let n_read = match &mut settling {
                Some((_, left)) => match pipe.read_now(&mut raw, *left)? {
                    Some(n_read) => {
                        *left -= n_read;
                        n_read
                    }
                    None => {
                        sink.flush_partial(&self).await;
                        if let Some(lines) = &mut self.result_lines {
                            lines.settle();
                        }
                        if let Some((settle, _)) = settling.take() {
                            // Who does not wait any more has been interrupted.
                            let _ = settle.done.send(());
                        }
                        continue;
                    }
                },
                // All arms are cancel safe: a read that lost the race took nothing out of the pipe.
                None => tokio::select! {
                    biased;
                    n_read = pipe.read(&mut raw) => n_read?,
                    () = cut.cancelled() => 0,
                    asked = asked_to_settle(&mut settle) => {
                        settling = asked.map(|asked| (asked, MAX_SETTLE_BYTES));
                        settle = None;
                        continue;
                    }
                    () = tokio::time::sleep(PARTIAL_LINE_DELAY), if sink.holds_partial_line() => {
                        sink.flush_partial(&self).await;
                        continue;
                    }
                },
            };
            clean.clear();
            if n_read == 0 {
                self.redactor.finish(&mut clean);
            } else {
                self.redactor.push(&raw, &mut clean);
            }
            if let Some(lines) = &mut self.result_lines {
                lines.push(&clean);
                if n_read == 0 {
                    lines.finish();
                }
            }
            if passes && !clean.is_empty() {
                let copy = async {
                    passthrough.write_all(&clean).await?;
                    passthrough.flush().await
                };
                // A standard stream that is closed ends the copy; so does one that nobody reads once the pump is cut. Neither
                // ends the recording.
                passes = tokio::select! {
                    copied = copy => match copied {
                        Ok(()) => true,
                        Err(error) => {
                            if error.kind() != io::ErrorKind::BrokenPipe {
                                tracing::warn!(%error, "what follows of the output is recorded and not shown");
                            }
                            false
                        }
                    },
                    () = cut.cancelled() => false,
                };
            }
            match self.budget.take(clean.len() as u64) {
                Allowance::Record => {
                    self.screen.push(&clean).await;
                    sink.push(&self, &clean).await;
                }
                // What is kept of a hook is bounded anyway, and the run ends already.
                Allowance::LimitReached | Allowance::Drop
                    if matches!(self.destination, Destination::Hook { .. }) =>
                {
                    sink.push(&self, &clean).await;
                }
                // What follows passes through until the session ends the run.
                Allowance::LimitReached => self.budget.exceeded.cancel(),
                Allowance::Drop => {}
            }
            if n_read == 0 {
                self.screen.finish().await;
                sink.finish(&self).await;
                return Ok(());
            }
        }
    }

    async fn append(&self, event: Event) {
        // Behind the terminal event there is nobody to tell.
        let _ = self.log.append(event).await;
    }

    async fn record(&self, piece: Piece) {
        let (step, call_id) = match &self.destination {
            Destination::Action {
                step,
                call_id,
                clip,
                capture,
            } => {
                for clip in std::iter::once(clip).chain(capture) {
                    clip.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(&piece.text);
                }
                (Some(*step), Some(call_id.clone()))
            }
            Destination::Hook { clip } => {
                let mut clip = clip.lock().unwrap_or_else(PoisonError::into_inner);
                return clip.push(&piece.text);
            }
            Destination::Service { service } => {
                let Piece { text, bytes, lossy } = piece;
                let output = ServiceOutput {
                    service: service.clone(),
                    stream: self.stream,
                    text,
                    bytes,
                    lossy,
                };
                return self.append(Event::ServiceOutput(output)).await;
            }
            Destination::Agent | Destination::Lines { .. } => (None, None),
        };
        let Piece { text, bytes, lossy } = piece;
        let output = ActionOutput {
            step,
            call_id,
            stream: self.stream,
            text,
            bytes,
            lossy,
        };
        self.append(Event::ActionOutput(output)).await;
    }
}

/// Waits for the question; for ever without somebody who may ask. None when nobody will ask any more.
async fn asked_to_settle(settle: &mut Option<oneshot::Receiver<Settle>>) -> Option<Settle> {
    match settle {
        Some(settle) => settle.await.ok(),
        None => std::future::pending().await,
    }
}

/// Cuts a byte stream into what its destination takes.
enum Sink {
    Text(Utf8Chunker),
    Lines {
        codec: AnyDelimiterCodec,
        buffer: BytesMut,
    },
}

impl Sink {
    fn new(destination: &Destination) -> Self {
        match destination {
            Destination::Action { .. }
            | Destination::Agent
            | Destination::Service { .. }
            | Destination::Hook { .. } => Self::Text(Utf8Chunker::new()),
            Destination::Lines { .. } => Self::Lines {
                codec: AnyDelimiterCodec::new_with_max_length(
                    b"\n".to_vec(),
                    b"\n".to_vec(),
                    MAX_LINE_BYTES,
                ),
                buffer: BytesMut::new(),
            },
        }
    }

    fn holds_partial_line(&self) -> bool {
        match self {
            Self::Text(chunker) => chunker.held() > 0,
            Self::Lines { .. } => false,
        }
    }

    async fn push(&mut self, pump: &Pump, bytes: &[u8]) {
        match self {
            Self::Text(chunker) => {
                let mut pieces = Vec::new();
                chunker.push(bytes, &mut |piece| pieces.push(piece));
                for piece in pieces {
                    pump.record(piece).await;
                }
            }
            Self::Lines { codec, buffer } => {
                buffer.extend_from_slice(bytes);
                observe(pump, codec, buffer, AnyDelimiterCodec::decode).await;
            }
        }
    }

    async fn flush_partial(&mut self, pump: &Pump) {
        if let Self::Text(chunker) = self {
            let mut pieces = Vec::new();
            chunker.flush_partial(&mut |piece| pieces.push(piece));
            for piece in pieces {
                pump.record(piece).await;
            }
        }
    }

    async fn finish(mut self, pump: &Pump) {
        match &mut self {
            Self::Text(chunker) => {
                let mut pieces = Vec::new();
                chunker.finish(&mut |piece| pieces.push(piece));
                for piece in pieces {
                    pump.record(piece).await;
                }
            }
            Self::Lines { codec, buffer } => {
                observe(pump, codec, buffer, AnyDelimiterCodec::decode_eof).await
            }
        }
    }
}

type Decode = fn(
    &mut AnyDelimiterCodec,
    &mut BytesMut,
) -> Result<Option<bytes::Bytes>, AnyDelimiterCodecError>;

/// Gives every whole line to the session; waits while it is busy.
async fn observe(
    pump: &Pump,
    codec: &mut AnyDelimiterCodec,
    buffer: &mut BytesMut,
    decode: Decode,
) {
    let Destination::Lines { of, observations } = &pump.destination else {
        return;
    };
    loop {
        let observation = match decode(codec, buffer) {
            Ok(Some(line)) => Observation::Line(*of, line.to_vec()),
            Ok(None) => return,
            Err(_) => Observation::LineTooLong(*of),
        };
        if observations.send(observation).await.is_err() {
            return;
        }
    }
}
