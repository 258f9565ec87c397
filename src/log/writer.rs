//! The single writer of the log's files.
//!
//! Owns the active segment. One thread takes what is pending, writes whole lines with one call, notes them in the index
//! and the tail, and only then lets readers see them. Invariant: a byte that a reader saw was written before, unless the
//! log has failed and says so.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;

use super::action_log::{ActionLog, Observer, Pending, Shared, Written, lock};
use super::frame::FrameBatch;
use super::options::{Durability, FULL_RETRY_INTERVAL, LogHealth, LogOptions, OnFull};
use super::segment::{self, ACTIVE_SEGMENT, Segment, SegmentSet};
use super::source::Source;
use super::syncer::{self, SyncDesk};
use crate::event::{Event, LogOpened};
use crate::redact::Redactor;
use crate::run::RunId;

/// Version of the log's format, in `log.opened`.
pub const SCHEMA_VERSION: u32 = 1;

/// Pause of the writer between two batches of a busy log: it writes faster than one producer appends, and without the pause
/// the two would wake each other for every few events. An event of a busy log is that much older when a reader gets it.
const PAUSE: Duration = Duration::from_micros(100);

/// A log is busy when a batch is taken this soon after the one before: some thousand events a second.
const BUSY_INTERVAL: Duration = Duration::from_micros(400);

/// Room that a batch's buffer keeps for the next batch.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// Why a log could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The active segment could not be created.
    #[error("cannot create {ACTIVE_SEGMENT}")]
    Segment(#[source] io::Error),
    /// The directory and the one above it could not be opened for the syncer.
    #[error("cannot keep the directory of {ACTIVE_SEGMENT} open")]
    Directory(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start the log's threads")]
    Thread(#[source] io::Error),
    /// No random number for the epoch.
    #[error("cannot get a random epoch: {0}")]
    Random(String),
}

/// The threads of a log; joined by [`LogThreads::join`].
#[derive(Debug)]
pub struct LogThreads {
    writer: std::thread::JoinHandle<()>,
    syncer: std::thread::JoinHandle<()>,
}

impl LogThreads {
    /// Waits for both threads, after [`ActionLog::close`].
    pub fn join(self) {
        // A panic of a thread was already printed by the panic hook.
        let _ = self.writer.join();
        let _ = self.syncer.join();
    }
}

/// A fresh epoch: 128 random bits.
///
/// # Errors
/// When the kernel gives no random numbers.
pub fn new_epoch() -> Result<String, CreateError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| CreateError::Random(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

/// Creates the log of a new run in `dir`; its first event is `log.opened`.
///
/// The names become durable with the first event, that of the file, those of all files made beside it before, and that of
/// `dir` itself: an empty log says nothing that a missing one does not, so the start of a run does not wait for the disk.
///
/// # Errors
/// When the file exists or cannot be created.
pub fn create(
    dir: OwnedFd,
    run_id: RunId,
    options: LogOptions,
    redactor: Redactor,
    observer: Arc<dyn Observer>,
) -> Result<(ActionLog, Arc<Source>, LogThreads), CreateError> {
    let file = Arc::new(segment::create_active(&dir).map_err(CreateError::Segment)?);
    let unsynced_dirs = way_to(&dir).map_err(CreateError::Directory)?;
    let epoch = new_epoch()?;
    let mut segments = SegmentSet::default();
    segments.push(Segment::new(1, Arc::clone(&file)));
    let source = Arc::new(Source::live(epoch.clone(), options.tail_bytes, segments));
    let sync = SyncDesk::new(Arc::clone(&file), unsynced_dirs);
    let log = ActionLog::new(
        options,
        run_id,
        epoch.clone(),
        redactor,
        Arc::clone(&source),
        sync,
    );
    let opened = LogOpened {
        epoch,
        first_seq: 1,
        cut_bytes: 0,
        schema_version: SCHEMA_VERSION,
    };
    log.enter_first(Event::LogOpened(opened))
        .map_err(|error| CreateError::Segment(io::Error::other(error)))?;
    let shared = Arc::clone(&log.shared);
    let writer = Writer {
        shared: Arc::clone(&shared),
        dir,
        file,
        observer,
        lines: Vec::new(),
        segment_bytes: 0,
        last_taken_at: Instant::now(),
        is_busy: false,
    };
    let writer = std::thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(CreateError::Thread)?;
    let syncer = std::thread::Builder::new()
        .name("log-syncer".to_owned())
        .spawn(move || syncer::run(&shared))
        .map_err(CreateError::Thread)?;
    Ok((log, source, LogThreads { writer, syncer }))
}

/// The log's directory and the one above it, to be synced. The one above is left out where it may not be opened: then another
/// user has made the log's directory in it.
fn way_to(dir: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut dirs = vec![dir.try_clone()?];
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match openat(dir, "..", flags, Mode::empty()) {
        Ok(above) => dirs.push(above),
        Err(Errno::EACCES) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(dirs)
}

struct Writer {
    shared: Arc<Shared>,
    dir: OwnedFd,
    file: Arc<File>,
    observer: Arc<dyn Observer>,
    lines: Vec<u8>,
    segment_bytes: u64,
    last_taken_at: Instant,
    is_busy: bool,
}

impl Writer {
    fn run(mut self) {
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
            let n_bytes = if self.shared.has_failed() {
                None
            } else {
                self.write(&batch)
            };
            self.shared.source.push_tail(batch);
            self.observer.written(Written {
                last_seq,
                head: pending.head,
                entries: pending.entries,
                output_bytes: pending.output_bytes,
                n_events: last_seq + 1 - pending.first_seq,
                file_bytes: n_bytes,
            });
            self.shared.observed.send_replace(last_seq);
            // After the observer, so that who waited for the sync finds the event in the status.
            if let Some(n_bytes) = n_bytes {
                self.shared.sync.wrote(last_seq, n_bytes);
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
            let is_full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            if !is_full || self.shared.options.on_full == OnFull::Fail {
                self.shared
                    .fail(&format!("cannot write {ACTIVE_SEGMENT}: {error}"));
                return false;
            }
            if !self.wait_for_space(&error) {
                return false;
            }
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
