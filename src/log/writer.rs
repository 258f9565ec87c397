//! The single writer of the log's files.
//!
//! Owns the active segment. One thread takes what is pending, writes whole lines with one call, notes them in the index
//! and the tail, and only then lets readers see them. Invariant: a byte that a reader saw was written before, unless the
//! log has failed and says so.

use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::renameat;

use super::action_log::{Observer, Pending, Shared, Written, lock};
use super::frame::FrameBatch;
use super::last_words::{LastWords, is_full, missing_in_words};
use super::options::{Durability, FULL_RETRY_INTERVAL, LogHealth, OnFull};
use super::segment::{self, ACTIVE_SEGMENT, Segment};

/// Pause of the writer between two batches of a busy log: it writes faster than one producer appends, and without the pause
/// the two would wake each other for every few events. An event of a busy log is that much older when a reader gets it.
const PAUSE: Duration = Duration::from_micros(100);

/// A log is busy when a batch is taken this soon after the one before: some thousand events a second.
const BUSY_INTERVAL: Duration = Duration::from_micros(400);

/// Room that a batch's buffer keeps for the next batch.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// The end of a log that was given up, on the disk.
struct LastWordsSaid {
    n_bytes: u64,
    /// Events that the files do not have.
    missing: RangeInclusive<u64>,
}

fn in_words(missing: &RangeInclusive<u64>) -> String {
    missing_in_words(
        missing.end() + 1 - missing.start(),
        std::slice::from_ref(missing),
    )
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    dir: OwnedFd,
    file: Arc<File>,
    observer: Arc<dyn Observer>,
    lines: Vec<u8>,
    segment_bytes: u64,
    /// Number of the last event in the files.
    written_seq: u64,
    last_words: LastWords,
    last_taken_at: Instant,
    is_busy: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        dir: OwnedFd,
        file: Arc<File>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            shared,
            dir,
            file,
            observer,
            lines: Vec::new(),
            segment_bytes: 0,
            written_seq: 0,
            last_words: LastWords::default(),
            last_taken_at: Instant::now(),
            is_busy: false,
        }
    }

    /// Runs until the log is closed and nothing is pending.
    pub(super) fn run(mut self) {
        while let Some(pending) = self.take() {
            let last_seq = pending.first_seq + (pending.marks.len() as u64).saturating_sub(1);
            let mut frames = pending.frames;
            // The tail counts bytes that are used; room for growth would come on top, up to as much again.
            if frames.capacity() - frames.len() > frames.len() / 4 {
                frames.shrink_to_fit();
            }
            let batch = FrameBatch {
                first_seq: pending.first_seq,
                frames: frames.into(),
                marks: pending.marks.into(),
            };
            let n_bytes = match self.shared.has_failed() {
                true => None,
                false => self.write(&batch),
            };
            let last_words = match n_bytes {
                Some(_) => None,
                None => self.say_last_words(&batch),
            };
            self.shared.source.push_tail(batch);
            self.observer.written(Written {
                last_seq,
                head: pending.head,
                entries: pending.entries,
                output_bytes: pending.output_bytes,
                n_events: last_seq + 1 - pending.first_seq,
                file_bytes: n_bytes.or_else(|| Some(last_words.as_ref()?.as_ref().ok()?.n_bytes)),
            });
            self.shared.observed.send_replace(last_seq);
            // After the observer, so that who waited for the sync finds the event in the status.
            if let Some(n_bytes) = n_bytes {
                self.shared.sync.wrote(last_seq, n_bytes);
            }
            if let Some(last_words) = last_words {
                self.conclude(last_seq, last_words);
            }
            let waits_for_sync =
                self.shared.options.durability == Durability::Durable && n_bytes.is_some();
            if !waits_for_sync || self.shared.has_failed() {
                self.shared.ready(last_seq);
            }
        }
        self.shared.sync.close();
    }

    /// Waits for work; none when the log is closed and nothing is pending.
    fn take(&mut self) -> Option<Pending> {
        let mut desk = lock(&self.shared.desk);
        if std::mem::take(&mut self.is_busy) && !desk.closed {
            // Producers do not wake a pausing writer, the end of the log does.
            desk = match self.shared.work.wait_timeout(desk, PAUSE) {
                Ok((desk, _)) => desk,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let mut is_shown = false;
        while desk.pending.marks.is_empty() {
            if self.shared.has_failed() && !is_shown {
                // What was written and waits for a sync that will not come is shown from memory.
                is_shown = true;
                let seen = desk.last_taken();
                drop(desk);
                self.shared.ready(seen);
                desk = lock(&self.shared.desk);
                continue;
            }
            if desk.closed {
                return None;
            }
            desk.writer_waits = true;
            desk = self
                .shared
                .work
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        desk.writer_waits = false;
        let size = desk.pending.frames.len().min(KEPT_BUFFER_BYTES);
        let fresh = Pending {
            frames: Vec::with_capacity(size),
            ..Pending::default()
        };
        let taken = std::mem::replace(&mut desk.pending, fresh);
        drop(desk);
        self.shared.space.notify_waiters();
        let now = Instant::now();
        self.is_busy = now.duration_since(self.last_taken_at) < BUSY_INTERVAL;
        self.last_taken_at = now;
        Some(taken)
    }

    /// Writes a batch, in parts where a segment fills up, and gives its bytes; none when the log failed.
    fn write(&mut self, batch: &FrameBatch) -> Option<u64> {
        let mut idx = 0;
        let mut n_bytes = 0;
        while idx < batch.marks.len() {
            if self.segment_bytes >= self.shared.options.segment_bytes
                && let Err(error) = self.rotate(batch.first_seq + idx as u64)
            {
                self.shared
                    .fail(&format!("cannot begin a new segment: {error}"));
                return None;
            }
            let room = self
                .shared
                .options
                .segment_bytes
                .saturating_sub(self.segment_bytes);
            self.lines.clear();
            let first_idx = idx;
            while idx < batch.marks.len() && (idx == first_idx || (self.lines.len() as u64) < room)
            {
                self.lines.extend_from_slice(batch.line(idx));
                idx += 1;
            }
            if !self.write_lines() {
                return None;
            }
            self.shared.source.with_segments(|segments| {
                if let Some(active) = segments.active_mut() {
                    for at in first_idx..idx {
                        active.note_line(batch.first_seq + at as u64, batch.line(at).len() as u64);
                    }
                }
            });
            self.segment_bytes += self.lines.len() as u64;
            self.written_seq = batch.first_seq + idx as u64 - 1;
            n_bytes += self.lines.len() as u64;
        }
        self.lines.shrink_to(KEPT_BUFFER_BYTES);
        Some(n_bytes)
    }

    /// Writes the gathered lines whole or not at all; waits out a full file system when the policy says so.
    fn write_lines(&mut self) -> bool {
        loop {
            let error = match (&*self.file).write_all(&self.lines) {
                Ok(()) => {
                    self.shared.health.send_if_modified(|health| {
                        let was_paused = matches!(health, LogHealth::Paused { .. });
                        if was_paused {
                            *health = LogHealth::Healthy;
                        }
                        was_paused
                    });
                    return true;
                }
                Err(error) => error,
            };
            // Part of it may be there: cut back to the last whole line, so that nothing torn is ever appended to.
            if let Err(cut_error) = self.file.set_len(self.segment_bytes) {
                self.shared.fail(&format!(
                    "cannot write {ACTIVE_SEGMENT}: {error}; cannot cut it back: {cut_error}"
                ));
                return false;
            }
            let message = format!("cannot write {ACTIVE_SEGMENT}: {error}");
            if !is_full(&error) {
                self.shared.fail(&message);
                return false;
            }
            if self.shared.options.on_full == OnFull::Fail {
                self.shared.give_up(&message);
                return false;
            }
            if !self.wait_for_space(&error) {
                return false;
            }
        }
    }

    /// Keeps what a log that was given up did not write of a batch, and writes the end of it behind the terminal event. None
    /// before that, and when there is nothing to be tried.
    fn say_last_words(&mut self, batch: &FrameBatch) -> Option<io::Result<LastWordsSaid>> {
        if !matches!(*self.shared.health.borrow(), LogHealth::GivenUp { .. }) {
            return None;
        }
        let n_written = (self.written_seq + 1).saturating_sub(batch.first_seq);
        for idx in usize::try_from(n_written).unwrap_or(usize::MAX)..batch.marks.len() {
            self.last_words.keep(batch.line(idx));
        }
        let last_seq = batch.first_seq + batch.marks.len() as u64 - 1;
        if lock(&self.shared.hold).terminal_seq != Some(last_seq) {
            return None;
        }
        let said = self.last_words.write(&self.file, self.segment_bytes);
        Some(said.and_then(|(n_lines, n_bytes)| {
            self.file.sync_data()?;
            let first_missing = std::mem::replace(&mut self.written_seq, last_seq) + 1;
            Ok(LastWordsSaid {
                n_bytes,
                missing: first_missing..=last_seq - n_lines,
            })
        }))
    }

    /// Tells what became of the end of a log that was given up.
    fn conclude(&self, last_seq: u64, last_words: io::Result<LastWordsSaid>) {
        self.shared.conclude(|why| match &last_words {
            Ok(said) if said.missing.is_empty() => LogHealth::Healthy,
            Ok(said) => LogHealth::GivenUp {
                error: format!("{why}; {}", in_words(&said.missing)),
            },
            Err(_) => LogHealth::Failed {
                error: format!("{why}; {}", in_words(&(self.written_seq + 1..=last_seq))),
            },
        });
        if last_words.is_ok() {
            self.shared.note_synced(last_seq);
        }
    }

    /// Waits before the next attempt; false when the log was given up meanwhile.
    fn wait_for_space(&self, error: &io::Error) -> bool {
        self.shared.health.send_if_modified(|health| {
            let is_news = *health == LogHealth::Healthy;
            if is_news {
                *health = LogHealth::Paused {
                    error: error.to_string(),
                };
            }
            is_news
        });
        let desk = lock(&self.shared.desk);
        // Spurious and early wake-ups only make the next attempt come sooner.
        drop(self.shared.work.wait_timeout(desk, FULL_RETRY_INTERVAL));
        !self.shared.has_failed()
    }

    /// Seals the active segment and begins the next one with event `next_seq`.
    ///
    /// The new file exists under another name before anything is renamed, so that a full disk leaves the old segment in
    /// use.
    fn rotate(&mut self, next_seq: u64) -> io::Result<()> {
        let Ok(file) = segment::create_next(&self.dir) else {
            return Ok(());
        };
        self.file.sync_data()?;
        let first_seq = self
            .shared
            .source
            .with_segments(|segments| segments.active_mut().map_or(1, |s| s.first_seq));
        renameat(
            &self.dir,
            ACTIVE_SEGMENT,
            &self.dir,
            segment::sealed_name(first_seq).as_str(),
        )?;
        renameat(&self.dir, segment::NEXT_SEGMENT, &self.dir, ACTIVE_SEGMENT)?;
        nix::unistd::fsync(&self.dir)?;
        let file = Arc::new(file);
        self.shared
            .source
            .with_segments(|segments| segments.push(Segment::new(next_seq, Arc::clone(&file))));
        self.shared.sync.switch(Arc::clone(&file), next_seq - 1);
        self.shared.note_synced(next_seq - 1);
        self.file = file;
        self.segment_bytes = 0;
        Ok(())
    }
}
