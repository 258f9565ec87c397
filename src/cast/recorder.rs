//! The way of what is shown into the cast, off the path of the run.
//!
//! Owns what waits for the writer, at most [`MAX_WAITING_BYTES`] of text. A disk that is slow or full holds a stream for no
//! longer than [`FULL_PATIENCE`]; what then finds no room is counted, and the cast says where it is missing.
//! Invariant: times never go back.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::entry::{EntryKind, Header, WindowSize};
use super::writer::Writer;

/// Most text that waits for the disk, in bytes: what a disk takes in some milliseconds, and no memory to speak of.
pub const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Longest wait of a stream for room.
pub const FULL_PATIENCE: Duration = Duration::from_millis(250);

/// How long entries are gathered before they are written: a crash of the supervisor takes no more than that from the cast.
pub const GATHER_INTERVAL: Duration = Duration::from_millis(100);

/// Longest text of one entry. JSON writes a control character as six, so the line stays below what a reader takes,
/// [`MAX_LINE_BYTES`](super::reader::MAX_LINE_BYTES).
pub const MAX_ENTRY_BYTES: usize = 128 * 1024;

/// Waiting text at which nothing more is gathered.
const ENOUGH_BYTES: usize = 256 * 1024;

/// The recording of one run's terminal; cheap to clone. One that is off takes everything and keeps nothing.
#[derive(Debug, Clone)]
pub struct Cast {
    shared: Option<Arc<Shared>>,
}

/// What the streams and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    /// A std lock: it is held for a copy of text and never across an await or a write.
    waiting: Mutex<Waiting>,
    /// The size that was last recorded; none before the header's is known.
    size: Mutex<Option<WindowSize>>,
    /// Tells the writer that there is something to do.
    changed: Condvar,
    /// Tells the streams that there is room.
    room: Notify,
    began: Instant,
    /// Set when the cast takes nothing more.
    is_over: AtomicBool,
    done: watch::Sender<bool>,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The text of all entries, one after the other.
    pub(super) text: String,
    pub(super) entries: Vec<Pending>,
    /// Bytes of output that found no room behind the last entry.
    pub(super) missing_bytes: u64,
    pub(super) is_closing: bool,
}

/// An entry whose text is in [`Waiting::text`].
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) at: Duration,
    pub(super) kind: EntryKind,
    pub(super) n_bytes: usize,
}

/// Whether a text was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It was, or never will be.
    Yes,
    /// There is no room now.
    NoRoom,
}

impl Cast {
    /// A recording that keeps nothing.
    pub fn off() -> Self {
        Self { shared: None }
    }

    /// Begins a recording in `file`, which is empty and opened for appending, and starts its writer thread.
    ///
    /// The file grows to `max_bytes` at most. `tell` is called on the writer thread with a sentence when a part of the
    /// recording is missing.
    ///
    /// # Errors
    /// When the header cannot be written or the thread cannot be started.
    pub fn begin(
        mut file: File,
        header: &Header,
        max_bytes: u64,
        tell: impl Fn(String) + Send + 'static,
    ) -> io::Result<Self> {
        let size = WindowSize {
            columns: header.width,
            rows: header.height,
        };
        let header = header.line()?;
        file.write_all(header.as_bytes())?;
        let shared = Arc::new(Shared::new(Some(size)));
        let writer = Writer::new(
            file,
            header.len() as u64,
            max_bytes,
            Box::new(tell),
            Arc::clone(&shared),
        );
        std::thread::Builder::new()
            .name("cast".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared: Some(shared),
        })
    }

    /// False when further output would be for nothing.
    pub fn takes_more(&self) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| !shared.is_over.load(Ordering::Relaxed))
    }

    /// Records text that was shown. Waits while there is no room, for at most [`FULL_PATIENCE`]; then the text is counted
    /// as missing. Cancel safe: what was not taken is not recorded.
    pub async fn output(&self, text: &str) {
        let Some(shared) = self.shared.as_ref().filter(|_| self.takes_more()) else {
            return;
        };
        if text.is_empty() {
            return;
        }
        let gives_up_at = tokio::time::Instant::now() + FULL_PATIENCE;
        loop {
            // Before the look, so that room that is made behind it is not missed.
            let room = shared.room.notified();
            if shared.push(EntryKind::Output, text) == Taken::Yes {
                return;
            }
            if tokio::time::timeout_at(gives_up_at, room).await.is_err() {
                shared.push_or_miss(text);
                return;
            }
        }
    }

    /// Marks a place; finds room whatever waits.
    pub fn mark(&self, label: &str) {
        if let Some(shared) = &self.shared {
            shared.push(EntryKind::Marker, label);
        }
    }

    /// Records that the terminal has another size.
    pub fn resize(&self, size: WindowSize) {
        if let Some(shared) = &self.shared {
            // A shell sets the size again when it continues a job, and nothing changed.
            let mut last = shared.size.lock().unwrap_or_else(PoisonError::into_inner);
            if last.replace(size) != Some(size) {
                let text = format!("{}x{}", size.columns, size.rows);
                shared.push(EntryKind::Resize, &text);
            }
        }
    }

    /// Ends the recording and waits until it is written; false when that takes longer than `limit`.
    pub async fn finish(&self, limit: Duration) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        shared.lock().is_closing = true;
        shared.changed.notify_all();
        let mut done = shared.done.subscribe();
        tokio::time::timeout(limit, done.wait_for(|done| *done))
            .await
            .is_ok()
    }
}

impl Shared {
    pub(super) fn new(size: Option<WindowSize>) -> Self {
        let (done, _) = watch::channel(false);
        Self {
            waiting: Mutex::default(),
            size: Mutex::new(size),
            changed: Condvar::new(),
            room: Notify::new(),
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            done,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, kind: EntryKind, text: &str) -> Taken {
        self.push_locked(&mut self.lock(), kind, text)
    }

    /// Takes output, or counts it as missing. Both under one lock: a gap behind which nothing waits would wake no writer, and
    /// everything that follows would belong to it.
    fn push_or_miss(&self, text: &str) {
        let mut waiting = self.lock();
        if self.push_locked(&mut waiting, EntryKind::Output, text) == Taken::NoRoom {
            waiting.missing_bytes += text.len() as u64;
        }
    }

    fn push_locked(&self, waiting: &mut Waiting, kind: EntryKind, text: &str) -> Taken {
        if waiting.is_closing || self.is_over.load(Ordering::Relaxed) {
            return Taken::Yes;
        }
        if kind == EntryKind::Output {
            if waiting.missing_bytes > 0 {
                // One gap, not many: until the writer has come, everything belongs to it.
                waiting.missing_bytes += text.len() as u64;
                return Taken::Yes;
            }
            if !waiting.text.is_empty() && waiting.text.len() + text.len() > MAX_WAITING_BYTES {
                return Taken::NoRoom;
            }
        }
        let was_empty = waiting.entries.is_empty();
        waiting.text.push_str(text);
        // Under the lock, so that the times of two streams are in the order of their entries.
        let at = self.began.elapsed();
        let mut rest = text;
        loop {
            let n_bytes = rest.floor_char_boundary(MAX_ENTRY_BYTES);
            rest = rest.get(n_bytes..).unwrap_or_default();
            waiting.entries.push(Pending { at, kind, n_bytes });
            if rest.is_empty() {
                break;
            }
        }
        if was_empty || waiting.text.len() >= ENOUGH_BYTES {
            self.changed.notify_all();
        }
        Taken::Yes
    }

    /// Waits for something to write and takes all of it; behind the end of the recording it is the last.
    pub(super) fn take(&self) -> Waiting {
        let mut waiting = self.lock();
        while waiting.entries.is_empty() && !waiting.is_closing {
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let has_enough =
            |waiting: &Waiting| waiting.is_closing || waiting.text.len() >= ENOUGH_BYTES;
        (waiting, _) = self
            .changed
            .wait_timeout_while(waiting, GATHER_INTERVAL, |waiting| !has_enough(waiting))
            .unwrap_or_else(PoisonError::into_inner);
        let is_closing = waiting.is_closing;
        let taken = std::mem::take(&mut *waiting);
        waiting.is_closing = is_closing;
        drop(waiting);
        self.room.notify_waiters();
        Waiting {
            is_closing,
            ..taken
        }
    }

    /// Waits behind a failed write, unless the recording ends.
    pub(super) fn pause(&self, pause: Duration) {
        let waiting = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(waiting, pause, |waiting| !waiting.is_closing)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Takes nothing more, and frees what waits.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// Everything is written.
    pub(super) fn tell_done(&self) {
        self.end();
        self.done.send_replace(true);
    }
}

#[cfg(test)]
mod tests;
