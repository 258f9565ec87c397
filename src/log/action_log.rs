//! The action log of a live run: the one door through which events enter.
//!
//! Owns numbering, encoding, redaction and the hash chain. It hands encoded events to the writer thread and never
//! touches the disk itself. Invariants: numbers are dense from 1; nothing follows the terminal event; an event is encoded
//! once.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::frame::{FrameMark, push_sse_head};
use super::line::{ChainHead, Decimal, Envelope, MAX_PAYLOAD_BYTES};
use super::logged::as_logged;
use super::options::{Bounds, LogHealth, LogOptions, MAX_PENDING_BYTES};
use super::source::Source;
use super::stamp::{Millis, Stamper};
use crate::event::Event;
use crate::redact::Redactor;
use crate::run::RunId;

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The terminal event is in the log.
    #[error("the log has its terminal event, nothing may follow it")]
    Sealed,
    /// The payload is larger than one event may be.
    #[error("event of {bytes} bytes is larger than the limit of {MAX_PAYLOAD_BYTES} bytes")]
    TooLarge {
        /// Bytes of the encoded payload.
        bytes: usize,
    },
    /// The payload cannot be encoded.
    #[error("event cannot be encoded: {message}")]
    Encoding {
        /// What the encoder said.
        message: String,
    },
}

/// Sees every event after it was written, in order; the status document is one.
pub trait Observer: Send + Sync {
    /// Called by the writer thread after each write.
    fn written(&self, written: Written);
}

/// What one write added to the log.
#[derive(Debug)]
pub struct Written {
    /// Number of the last event.
    pub last_seq: u64,
    /// Hash of the last event.
    pub head: ChainHead,
    /// The events but for output, which would be large.
    pub entries: Vec<Entry>,
    /// Bytes that the workload wrote, as the left-out output events say.
    pub output_bytes: u64,
    /// Events, output included.
    pub n_events: u64,
    /// Bytes that were added to the files; none when the log has failed and the events are in memory only.
    pub file_bytes: Option<u64>,
}

/// A written event, as an observer sees it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// Its time stamp.
    pub at: Millis,
    /// Its payload, redacted.
    pub event: Event,
}

/// Events that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) first_seq: u64,
    pub(super) frames: Vec<u8>,
    pub(super) marks: Vec<FrameMark>,
    pub(super) entries: Vec<Entry>,
    pub(super) output_bytes: u64,
    pub(super) head: ChainHead,
}

/// What appenders share, under one lock that is never held across an await or a system call.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) pending: Pending,
    pub(super) closed: bool,
    /// Whether the writer waits to be woken; otherwise it looks again by itself.
    pub(super) writer_waits: bool,
    next_seq: u64,
    /// When the last event was appended, exact to the millisecond of `last_now`.
    last_append_at: Instant,
    last_now: Millis,
    head: ChainHead,
    stamper: Stamper,
    sealed: bool,
}

/// What appenders, writer, syncer and readers of one log share.
pub(super) struct Shared {
    pub(super) options: LogOptions,
    pub(super) run_id: RunId,
    pub(super) epoch: String,
    pub(super) desk: Mutex<Desk>,
    /// Wakes the writer when something is pending or the log closes.
    pub(super) work: Condvar,
    /// Wakes producers when the writer took what was pending.
    pub(super) space: Notify,
    pub(super) source: Arc<Source>,
    pub(super) health: watch::Sender<LogHealth>,
    pub(super) synced: watch::Sender<u64>,
    pub(super) observed: watch::Sender<u64>,
    pub(super) sync: super::syncer::SyncDesk,
    pub(super) hold: Mutex<Hold>,
    redactor: Redactor,
}

/// The terminal event while it is written and not yet published.
#[derive(Debug, Default)]
pub(super) struct Hold {
    pub(super) terminal_seq: Option<u64>,
    pub(super) released: bool,
    /// Last number that is written (or synced) and may be published as far as the hold allows.
    pub(super) ready_seq: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("run_id", &self.run_id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Handle to the action log of a live run; cheap to clone.
#[derive(Debug, Clone)]
pub struct ActionLog {
    pub(super) shared: Arc<Shared>,
}

/// Locks a mutex; the data stays usable after a panic of another holder, because no holder leaves it half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActionLog {
    pub(super) fn new(
        options: LogOptions,
        run_id: RunId,
        epoch: String,
        redactor: Redactor,
        source: Arc<Source>,
        sync: super::syncer::SyncDesk,
    ) -> Self {
        let desk = Desk {
            pending: Pending::default(),
            closed: false,
            writer_waits: false,
            next_seq: 1,
            last_append_at: Instant::now(),
            last_now: Millis::default(),
            head: ChainHead::default(),
            stamper: Stamper::default(),
            sealed: false,
        };
        let shared = Shared {
            options,
            run_id,
            epoch,
            desk: Mutex::new(desk),
            work: Condvar::new(),
            space: Notify::new(),
            source,
            health: watch::Sender::new(LogHealth::Healthy),
            synced: watch::Sender::new(0),
            observed: watch::Sender::new(0),
            sync,
            hold: Mutex::new(Hold::default()),
            redactor,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Identity of this log: 32 lower-case hexadecimal digits.
    pub fn epoch(&self) -> &str {
        &self.shared.epoch
    }

    /// Appends an event and gives its number. Waits while [`MAX_PENDING_BYTES`] are pending, which is how a full or slow
    /// disk slows the workload down instead of the memory growing.
    ///
    /// Cancel safe: a cancelled call has appended nothing.
    ///
    /// # Errors
    /// After the terminal event, and for a payload that is too large.
    pub async fn append(&self, event: Event) -> Result<u64, AppendError> {
        let (event, payload) = self.encode(event)?;
        loop {
            // Registered before the check, so that space made in between is not missed.
            let space = self.shared.space.notified();
            {
                let mut desk = lock(&self.shared.desk);
                if desk.pending.frames.len() < MAX_PENDING_BYTES || desk.sealed {
                    return self.enter(&mut desk, event, &payload);
                }
            }
            space.await;
        }
    }

    /// Appends an event without waiting for space. For the run's own milestones, which are few: the way to the end must not
    /// hang on a full disk.
    ///
    /// # Errors
    /// As [`ActionLog::append`].
    pub fn append_at_once(&self, event: Event) -> Result<u64, AppendError> {
        let (event, payload) = self.encode(event)?;
        self.enter(&mut lock(&self.shared.desk), event, &payload)
    }

    /// Appends the terminal event, which stays unpublished until [`ActionLog::publish_terminal`]. Never waits for space:
    /// the end of a run must not hang on a full disk.
    ///
    /// # Errors
    /// As [`ActionLog::append`].
    pub fn append_terminal(&self, event: Event) -> Result<u64, AppendError> {
        let (event, payload) = self.encode(event)?;
        let mut desk = lock(&self.shared.desk);
        if desk.sealed {
            return Err(AppendError::Sealed);
        }
        lock(&self.shared.hold).terminal_seq = Some(desk.next_seq);
        let seq = self.enter(&mut desk, event, &payload)?;
        desk.sealed = true;
        drop(desk);
        self.shared.space.notify_waiters();
        Ok(seq)
    }

    /// Waits until event `seq` is synced to the disk; false when the limit passed first, the log has failed, or it was given up
    /// and this is not the terminal event.
    pub async fn synced(&self, seq: u64, limit: Duration) -> bool {
        let mut synced = self.shared.synced.subscribe();
        let mut health = self.shared.health.subscribe();
        let is_terminal = lock(&self.shared.hold).terminal_seq == Some(seq);
        let is_hopeless = |health: &LogHealth| match health {
            LogHealth::Healthy | LogHealth::Paused { .. } => false,
            LogHealth::GivenUp { .. } => !is_terminal,
            LogHealth::Failed { .. } => true,
        };
        self.shared.sync.want(seq);
        let wait = async {
            tokio::select! {
                biased;
                // Both arms only watch; dropping one loses nothing.
                done = synced.wait_for(|synced| *synced >= seq) => done.is_ok(),
                _ = health.wait_for(is_hopeless) => false,
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    /// Waits until the observer has seen event `seq`; false when the limit passed first.
    pub async fn observed(&self, seq: u64, limit: Duration) -> bool {
        let mut observed = self.shared.observed.subscribe();
        let wait = observed.wait_for(|observed| *observed >= seq);
        matches!(tokio::time::timeout(limit, wait).await, Ok(Ok(_)))
    }

    /// When the last event was appended, to the millisecond; the creation of the log before there is one.
    pub fn last_append_at(&self) -> Instant {
        lock(&self.shared.desk).last_append_at
    }

    /// Number of the last event that was taken.
    pub fn last_seq(&self) -> u64 {
        lock(&self.shared.desk).next_seq - 1
    }

    /// Lets readers see the terminal event.
    pub fn publish_terminal(&self) {
        lock(&self.shared.hold).released = true;
        self.shared.publish();
    }

    /// Whether the log reaches its files, now and at each change.
    pub fn health(&self) -> watch::Receiver<LogHealth> {
        self.shared.health.subscribe()
    }

    /// Gives up the files: what is pending and what follows is published from memory. For the end of a run whose disk
    /// stays full, or does not answer. The end of a log whose disk is full is tried once more.
    pub fn abandon_files(&self, reason: &str) {
        let is_full = matches!(*self.shared.health.borrow(), LogHealth::Paused { .. });
        match is_full {
            true => self.shared.give_up(reason),
            false => self.shared.fail(reason),
        }
    }

    /// Ends the writer once nothing is pending. Readers keep what is published.
    pub fn close(&self) {
        lock(&self.shared.desk).closed = true;
        self.shared.work.notify_all();
    }

    /// Enters the first event of the log, before anybody else has a handle.
    pub(super) fn enter_first(&self, event: Event) -> Result<u64, AppendError> {
        let (event, payload) = self.encode(event)?;
        self.enter(&mut lock(&self.shared.desk), event, &payload)
    }

    fn encode(&self, event: Event) -> Result<(Event, Vec<u8>), AppendError> {
        let encoding = |error: serde_json::Error| AppendError::Encoding {
            message: error.to_string(),
        };
        let mut payload = Vec::with_capacity(256);
        event.write_payload(&mut payload).map_err(encoding)?;
        let event = match self.shared.redactor.redact_json_object(&mut payload) {
            crate::redact::Redaction::Untouched => event,
            crate::redact::Redaction::Changed => as_logged(&self.shared.redactor, event, &payload),
        };
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(AppendError::TooLarge {
                bytes: payload.len(),
            });
        }
        Ok((event, payload))
    }

    fn enter(&self, desk: &mut Desk, event: Event, payload: &[u8]) -> Result<u64, AppendError> {
        if desk.sealed {
            return Err(AppendError::Sealed);
        }
        let seq = desk.next_seq;
        let now = Millis::now();
        let event_type = event.event_type();
        if now != desk.last_now && event_type.is_activity() {
            // Not at each event: a clock is read in a tenth of the time in which an event is encoded.
            desk.last_now = now;
            desk.last_append_at = Instant::now();
        }
        let (at, ts) = desk.stamper.stamp(now);
        let pending = &mut desk.pending;
        if pending.marks.is_empty() {
            pending.first_seq = seq;
        }
        push_sse_head(
            Decimal::of(seq).as_bytes(),
            event_type.sse_name().map(str::as_bytes),
            &mut pending.frames,
        );
        let data_start = offset(&pending.frames);
        let envelope = Envelope {
            seq,
            ts,
            event_type,
            run_id: self.shared.run_id.as_str(),
        };
        desk.head = envelope.encode(payload, &desk.head, &mut pending.frames);
        pending.frames.extend_from_slice(b"\n\n");
        pending.marks.push(FrameMark {
            end: offset(&pending.frames),
            data_start,
            event_type,
        });
        pending.head = desk.head;
        match event {
            Event::ActionOutput(output) => pending.output_bytes += output.bytes,
            Event::ServiceOutput(output) => pending.output_bytes += output.bytes,
            event => pending.entries.push(Entry { seq, at, event }),
        }
        desk.next_seq += 1;
        if std::mem::take(&mut desk.writer_waits) {
            self.shared.work.notify_one();
        }
        Ok(seq)
    }
}

impl Desk {
    /// Number of the last event that the writer took.
    pub(super) fn last_taken(&self) -> u64 {
        self.next_seq - 1 - self.pending.marks.len() as u64
    }
}

impl Shared {
    /// Notes that events up to `seq` are synced; a sync that comes late takes nothing back.
    pub(super) fn note_synced(&self, seq: u64) {
        self.synced.send_if_modified(|synced| {
            let is_news = seq > *synced;
            *synced = seq.max(*synced);
            is_news
        });
    }

    /// Marks the log as failed for good, and wakes the writer, which publishes from memory from here on. The first reason
    /// stands.
    pub(super) fn fail(&self, error: &str) {
        self.degrade(LogHealth::Failed {
            error: error.to_owned(),
        });
    }

    /// Marks the log as given up for want of space, and wakes the writer, which publishes from memory until the end.
    pub(super) fn give_up(&self, error: &str) {
        self.degrade(LogHealth::GivenUp {
            error: error.to_owned(),
        });
    }

    fn degrade(&self, to: LogHealth) {
        self.health.send_if_modified(|health| match health {
            LogHealth::Healthy | LogHealth::Paused { .. } => {
                *health = to;
                true
            }
            LogHealth::GivenUp { .. } | LogHealth::Failed { .. } => false,
        });
        // Through the lock, so that a writer that is about to wait has seen it or is woken.
        drop(lock(&self.desk));
        self.work.notify_all();
    }

    /// True once the log has failed or was given up.
    pub(super) fn has_failed(&self) -> bool {
        match *self.health.borrow() {
            LogHealth::Healthy | LogHealth::Paused { .. } => false,
            LogHealth::GivenUp { .. } | LogHealth::Failed { .. } => true,
        }
    }

    /// Tells how the last try of a log that was given up has ended; nothing for one that failed otherwise.
    pub(super) fn conclude(&self, conclusion: impl FnOnce(&str) -> LogHealth) {
        self.health.send_if_modified(|health| match health {
            LogHealth::GivenUp { error } => {
                *health = conclusion(error);
                true
            }
            LogHealth::Healthy | LogHealth::Paused { .. } | LogHealth::Failed { .. } => false,
        });
    }

    /// Notes that events up to `seq` may be seen by readers, but for a held terminal event.
    pub(super) fn ready(&self, seq: u64) {
        {
            let mut hold = lock(&self.hold);
            hold.ready_seq = hold.ready_seq.max(seq);
        }
        self.publish();
    }

    fn publish(&self) {
        let hold = lock(&self.hold);
        let bounds = match hold.terminal_seq {
            Some(terminal) if hold.ready_seq >= terminal && hold.released => Bounds {
                published_seq: terminal,
                terminal_seq: Some(terminal),
            },
            Some(terminal) => Bounds {
                published_seq: hold.ready_seq.min(terminal - 1),
                terminal_seq: None,
            },
            None => Bounds {
                published_seq: hold.ready_seq,
                terminal_seq: None,
            },
        };
        // Under the lock, so that two publishers cannot overtake each other.
        self.source.publish(bounds);
    }
}

/// Offset in a pending buffer, which [`MAX_PENDING_BYTES`] and [`MAX_PAYLOAD_BYTES`] keep far below 4 GiB.
fn offset(frames: &[u8]) -> u32 {
    u32::try_from(frames.len()).unwrap_or(u32::MAX)
}
