//! Publishing the status: many readers, one writer, and no reader that costs the writer anything.
//!
//! Owns the fold of the live run and the bytes that `GET /status` sends. It writes no file. Nobody renders but a
//! reader: without readers a document costs nothing.
//!
//! The end of a run, in this order (the invariant is that nobody sees the end before it is on disk):
//! 1. [`StatusBoard::apply`] takes the terminal event; readers go on seeing the document before it;
//! 2. [`StatusBoard::file_bytes`] gives the final document, which the owner writes to `status.json`;
//! 3. where that fails, [`StatusBoard::set_recordings_health`] says so;
//! 4. [`StatusBoard::publish_terminal`] turns what readers see.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use tokio::sync::watch;

use super::document::{Frame, LogHead, RecordingsHealth, StatusDocument};
use super::fold::{OpenAction, StatusFold};
use super::gauge::GaugePlace;
use crate::event::{Event, EventType};
use crate::run::{Phase, Status};

/// Least time between two renderings for events of an ordinary kind. A full document takes about half a millisecond to
/// render, so a flood of events costs a tenth of one core at most; and no person or poller sees five milliseconds.
pub const MIN_RENDER_INTERVAL: Duration = Duration::from_millis(5);
/// Longest time for which `duration_ms` stands still while readers ask.
pub const MAX_VOLATILE_AGE: Duration = Duration::from_secs(1);

/// A rendered document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The document with its last actions (`?actions=tail`).
    pub tail: Bytes,
    /// The document without actions (`?actions=none`).
    pub none: Bytes,
    /// Strong validator, with its quotation marks.
    pub etag: String,
    /// The status in it.
    pub status: Status,
    /// The phase in it.
    pub phase: Phase,
    /// Id of the last event in it.
    pub last_event_id: u64,
    /// When it was rendered, milliseconds since 1970.
    pub rendered_at_ms: u64,
    /// Version of the board that it shows.
    version: u64,
}

/// The terminal event was not applied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run has no terminal event to publish")]
pub struct NotTerminal;

/// The document could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the status document")]
pub struct EncodeError {
    /// Why.
    source: serde_json::Error,
}

/// What the lock protects.
#[derive(Debug)]
struct Folds {
    /// Every event that was applied.
    latest: StatusFold,
    /// What readers see, from the terminal event until it is published; else they see `latest`.
    before_terminal: Option<Box<StatusFold>>,
}

impl Folds {
    fn visible(&self) -> &StatusFold {
        self.before_terminal.as_deref().unwrap_or(&self.latest)
    }
}

/// The status of the live run, and its readers' view of it.
#[derive(Debug)]
pub struct StatusBoard {
    /// A std mutex, for it is held for a copy at most and never across an await.
    folds: Mutex<Folds>,
    /// Held by the one who renders, so that an older rendering never replaces a newer one.
    rendering: Mutex<()>,
    /// What readers see. Written under `rendering`.
    current: ArcSwap<Rendered>,
    /// Counts the changes of what readers may see. Written under `folds`.
    version: AtomicU64,
    /// The last version that is to be seen at once: a change of phase or health. Written under `folds`.
    urgent_version: AtomicU64,
    /// Tells waiting readers that `version` went on.
    changed: watch::Sender<u64>,
    /// What the workload takes now, for readers of the live run alone.
    gauge: GaugePlace,
}

impl StatusBoard {
    /// Begins with what a fold says now; `now_ms` is the time in milliseconds since 1970.
    ///
    /// # Errors
    /// When the document cannot be encoded, which ours always can.
    pub fn new(fold: StatusFold, now_ms: u64) -> Result<Self, EncodeError> {
        let first = render(fold.document(now_ms), fold.etag(), 0, now_ms)?;
        Ok(Self {
            folds: Mutex::new(Folds {
                latest: fold,
                before_terminal: None,
            }),
            rendering: Mutex::new(()),
            current: ArcSwap::from_pointee(first),
            version: AtomicU64::new(0),
            urgent_version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            gauge: GaugePlace::default(),
        })
    }

    fn folds(&self) -> MutexGuard<'_, Folds> {
        // A panic under the lock leaves a fold that is at worst one event behind in a field.
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event that was appended to the log. The terminal event changes nothing that readers see.
    pub fn apply(&self, seq: u64, ts: &str, event: &Event) {
        let mut folds = self.folds();
        let event_type = event.event_type();
        if event_type == EventType::Complete
            && folds.before_terminal.is_none()
            && !folds.latest.is_terminal()
        {
            folds.before_terminal = Some(Box::new(folds.latest.clone()));
        }
        folds.latest.apply(seq, ts, event);
        if folds.before_terminal.is_some() {
            if !folds.latest.is_terminal() {
                // The event was no true end; readers see it as any other.
                folds.before_terminal = None;
            } else {
                return;
            }
        }
        let version = self.count(urgency_of(event_type));
        drop(folds);
        self.wake(version);
    }

    /// Moves over output up to event `seq`, without looking at its text.
    pub fn advance(&self, seq: u64, output_bytes: u64) {
        let mut folds = self.folds();
        folds.latest.advance(seq, output_bytes);
        if folds.before_terminal.is_none() {
            let version = self.count(Urgency::Soon);
            drop(folds);
            self.wake(version);
        }
    }

    /// Says whether the recordings can be relied on.
    pub fn set_recordings_health(&self, health: RecordingsHealth) {
        let mut folds = self.folds();
        if *folds.latest.recordings_health() == health {
            return;
        }
        if let Some(visible) = folds.before_terminal.as_mut() {
            visible.set_recordings_health(health.clone());
        }
        folds.latest.set_recordings_health(health);
        let version = self.count(Urgency::AtOnce);
        drop(folds);
        self.wake(version);
    }

    /// Says where the log ends; to be called after a sync of the log, before [`StatusBoard::file_bytes`].
    pub fn set_log_head(&self, head: LogHead) {
        let mut folds = self.folds();
        folds.latest.set_log_head(head);
        if folds.before_terminal.is_none() {
            let version = self.count(Urgency::Soon);
            drop(folds);
            self.wake(version);
        }
    }

    /// Counts a change of what readers may see. For the holder of `folds`.
    fn count(&self, urgency: Urgency) -> u64 {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        match urgency {
            Urgency::Soon => {}
            Urgency::AtOnce => self.urgent_version.store(version, Ordering::Release),
        }
        version
    }

    /// Wakes the readers that wait for a change. Not for the holder of `folds`.
    fn wake(&self, version: u64) {
        if self.changed.receiver_count() > 0 {
            self.changed.send_if_modified(|announced| {
                let is_newer = version > *announced;
                *announced = version.max(*announced);
                is_newer
            });
        }
    }

    /// Gives what readers see. An atomic load, unless it is out of date: then one reader renders anew and the others get
    /// what there is. Events show after [`MIN_RENDER_INTERVAL`] at the latest, changes of phase and health at once.
    /// `now_ms` is the time in milliseconds since 1970.
    pub fn rendered(&self, now_ms: u64) -> Arc<Rendered> {
        let current = self.current.load_full();
        if !self.is_out_of_date(&current, now_ms) {
            return current;
        }
        let rendering = match self.rendering.try_lock() {
            Ok(rendering) => rendering,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever asks after a change of phase must see it.
            Err(TryLockError::WouldBlock) if self.is_urgent(&current) => self.rendering(),
            Err(TryLockError::WouldBlock) => return current,
        };
        self.render_and_swap(&rendering, now_ms)
    }

    /// Gives what [`StatusBoard::rendered`] does, for a short look: where it is not out of date no count that readers share is
    /// touched. Not to be held across an await.
    pub fn glance(&self, now_ms: u64) -> Guard<Arc<Rendered>> {
        let current = self.current.load();
        if self.is_out_of_date(&current, now_ms) {
            return Guard::from_inner(self.rendered(now_ms));
        }
        current
    }

    /// The place of the gauge that tells what the workload takes.
    pub fn gauge(&self) -> &GaugePlace {
        &self.gauge
    }

    /// Adds what the workload takes now; behind the end there is nothing to read.
    fn with_level(&self, mut document: StatusDocument) -> StatusDocument {
        if document.phase != Some(Phase::Finished)
            && let Some(level) = self.gauge.read()
        {
            document.usage.memory_bytes = Some(level.memory_bytes);
            document.usage.pids = Some(level.pids);
        }
        document
    }

    fn rendering(&self) -> MutexGuard<'_, ()> {
        self.rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_urgent(&self, current: &Rendered) -> bool {
        current.version < self.urgent_version.load(Ordering::Acquire)
    }

    fn is_out_of_date(&self, current: &Rendered, now_ms: u64) -> bool {
        if self.is_urgent(current) {
            return true;
        }
        // The clock may be set back; any distance counts.
        let age = Duration::from_millis(now_ms.abs_diff(current.rendered_at_ms));
        if self.version.load(Ordering::Acquire) != current.version {
            return age >= MIN_RENDER_INTERVAL;
        }
        current.phase != Phase::Finished && age >= MAX_VOLATILE_AGE
    }

    fn render_and_swap(&self, _rendering: &MutexGuard<'_, ()>, now_ms: u64) -> Arc<Rendered> {
        let (document, etag, version) = {
            let folds = self.folds();
            let visible = folds.visible();
            let version = self.version.load(Ordering::Acquire);
            (visible.document(now_ms), visible.etag(), version)
        };
        let document = self.with_level(document);
        // The old document stands where the new one cannot be encoded, which ours always can.
        if let Ok(fresh) = render(document, etag, version, now_ms) {
            self.current.store(Arc::new(fresh));
        }
        self.current.load_full()
    }

    /// Waits until what readers see has another validator than `etag`, or until `limit` has passed, and gives what they
    /// see then. `now_ms` tells the time in milliseconds since 1970. Safe to cancel.
    pub async fn wait_for_change(
        &self,
        etag: &str,
        limit: Duration,
        now_ms: &(dyn Fn() -> u64 + Send + Sync),
    ) -> Arc<Rendered> {
        let mut changes = self.changed();
        let wait = async {
            loop {
                changes.mark_unchanged();
                let rendered = self.rendered(now_ms());
                if rendered.etag != etag {
                    return;
                }
                if self.version.load(Ordering::Acquire) != rendered.version {
                    // Something changed too short a time ago to be shown.
                    tokio::time::sleep(MIN_RENDER_INTERVAL).await;
                } else if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // A timeout is an answer like any other: the document as it is.
        let _ = tokio::time::timeout(limit, wait).await;
        self.rendered(now_ms())
    }

    /// Follows the changes; the value is a version that only grows. What it shows is asked for with
    /// [`StatusBoard::rendered`], which may be [`MIN_RENDER_INTERVAL`] behind; [`StatusBoard::wait_for_change`] knows that.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Gives the bytes for `status.json`: the document after every event applied, a terminal one included.
    ///
    /// # Errors
    /// When the document cannot be encoded, which ours always can.
    pub fn file_bytes(&self, now_ms: u64) -> Result<Vec<u8>, EncodeError> {
        let document = self.folds().latest.document(now_ms);
        document.encode().map_err(|source| EncodeError { source })
    }

    /// Gives the document around its actions, as readers may see it, for `?actions=all`.
    ///
    /// # Errors
    /// When the document cannot be encoded, which ours always can.
    pub fn frame(&self, now_ms: u64) -> Result<Frame, EncodeError> {
        let document = self.folds().visible().document(now_ms);
        let document = self.with_level(document);
        document.frame().map_err(|source| EncodeError { source })
    }

    /// Gives the document after every event applied, a terminal one included; for the run's owner, not for readers.
    pub fn latest(&self, now_ms: u64) -> StatusDocument {
        self.folds().latest.document(now_ms)
    }

    /// Actions that began and have not ended, oldest first.
    pub fn open_actions(&self) -> Vec<OpenAction> {
        self.folds().latest.open_actions()
    }

    /// Lets readers see the end, and gives what they see from now on.
    ///
    /// # Errors
    /// When no terminal event was applied.
    pub fn publish_terminal(&self, now_ms: u64) -> Result<Arc<Rendered>, NotTerminal> {
        let rendering = self.rendering();
        let mut folds = self.folds();
        if !folds.latest.is_terminal() {
            return Err(NotTerminal);
        }
        folds.before_terminal = None;
        let version = self.count(Urgency::AtOnce);
        drop(folds);
        // The new document is in place before anybody is woken to look at it.
        let rendered = self.render_and_swap(&rendering, now_ms);
        drop(rendering);
        self.wake(version);
        Ok(rendered)
    }
}

/// When a change has to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// After [`MIN_RENDER_INTERVAL`] at the latest.
    Soon,
    /// By the next reader.
    AtOnce,
}

/// A run has few events of the urgent types, so they cannot flood.
fn urgency_of(event_type: EventType) -> Urgency {
    match event_type {
        EventType::LogOpened
        | EventType::RunPhase
        | EventType::RunPaused
        | EventType::RunResumed
        | EventType::Isolation
        | EventType::Complete => Urgency::AtOnce,
        EventType::ActionStarted
        | EventType::ActionOutput
        | EventType::Action
        | EventType::Message
        | EventType::Thought
        | EventType::Retry
        | EventType::Limit
        | EventType::Guardrail
        | EventType::Network
        | EventType::Service
        | EventType::Hook
        | EventType::StopStep
        | EventType::ServiceOutput
        | EventType::Log
        | EventType::AgentRaw
        | EventType::Artifact => Urgency::Soon,
    }
}

fn render(
    document: StatusDocument,
    etag: String,
    version: u64,
    now_ms: u64,
) -> Result<Rendered, EncodeError> {
    let encode = |document: &StatusDocument| {
        document
            .encode()
            .map(Bytes::from)
            .map_err(|source| EncodeError { source })
    };
    let tail = encode(&document)?;
    let (status, last_event_id) = (document.status, document.last_event_id);
    let phase = document.phase.unwrap_or(Phase::Starting);
    let none = encode(&document.without_actions())?;
    Ok(Rendered {
        tail,
        none,
        etag,
        status,
        phase,
        last_event_id,
        rendered_at_ms: now_ms,
        version,
    })
}

#[cfg(test)]
mod tests;
