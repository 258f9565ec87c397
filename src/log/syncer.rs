//! Group commit: one thread that syncs what the writer wrote.
//!
//! Owns the decision when to call fdatasync(2): no later than [`SYNC_INTERVAL`] or [`SYNC_BYTES`] after a write, and at once
//! when somebody waits for a number. An error is final: after EIO the kernel marks pages as clean, so a second call could
//! report success for lost data.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::action_log::{Shared, lock};
use super::options::{Durability, SYNC_BYTES, SYNC_INTERVAL};

/// What the syncer is asked for.
#[derive(Debug)]
pub(super) struct SyncDesk {
    state: Mutex<SyncState>,
    work: Condvar,
}

#[derive(Debug)]
struct SyncState {
    file: Arc<File>,
    /// The directories on the way to the file, until the first sync has made their names and the file's durable.
    unsynced_dirs: Vec<OwnedFd>,
    written_seq: u64,
    synced_seq: u64,
    wanted_seq: u64,
    unsynced_bytes: u64,
    unsynced_since: Option<Instant>,
    closed: bool,
}

impl SyncDesk {
    pub(super) fn new(file: Arc<File>, unsynced_dirs: Vec<OwnedFd>) -> Self {
        let state = SyncState {
            file,
            unsynced_dirs,
            written_seq: 0,
            synced_seq: 0,
            wanted_seq: 0,
            unsynced_bytes: 0,
            unsynced_since: None,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }

    /// Notes a write.
    pub(super) fn wrote(&self, last_seq: u64, bytes: u64) {
        let mut state = lock(&self.state);
        state.written_seq = last_seq;
        state.unsynced_bytes += bytes;
        let first = state.unsynced_since.is_none();
        state.unsynced_since.get_or_insert_with(Instant::now);
        if first || state.unsynced_bytes >= SYNC_BYTES || state.wanted_seq > state.synced_seq {
            self.work.notify_one();
        }
    }

    /// Asks for a sync as soon as event `seq` is written.
    pub(super) fn want(&self, seq: u64) {
        let mut state = lock(&self.state);
        state.wanted_seq = state.wanted_seq.max(seq);
        self.work.notify_one();
    }

    /// The writer goes on in another file, and has synced the old one.
    pub(super) fn switch(&self, file: Arc<File>, synced_seq: u64) {
        let mut state = lock(&self.state);
        state.file = file;
        state.synced_seq = state.synced_seq.max(synced_seq);
        state.unsynced_bytes = 0;
        state.unsynced_since = None;
    }

    /// Ends the syncer after a last sync.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.work.notify_one();
    }

    /// Waits until a sync is due. None at the end.
    fn next_due(&self) -> Option<Due> {
        let mut state = lock(&self.state);
        loop {
            let dirty = state.written_seq > state.synced_seq;
            let asked = state.wanted_seq > state.synced_seq;
            let waited = state.unsynced_since.map(|since| since.elapsed());
            if dirty
                && (asked
                    || state.closed
                    || state.unsynced_bytes >= SYNC_BYTES
                    || waited >= Some(SYNC_INTERVAL))
            {
                state.unsynced_bytes = 0;
                state.unsynced_since = None;
                return Some(Due {
                    file: Arc::clone(&state.file),
                    dirs: std::mem::take(&mut state.unsynced_dirs),
                    seq: state.written_seq,
                });
            }
            if state.closed && !dirty {
                return None;
            }
            state = match waited.filter(|_| dirty) {
                Some(waited) => {
                    let left = SYNC_INTERVAL.saturating_sub(waited);
                    match self.work.wait_timeout(state, left) {
                        Ok((state, _)) => state,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
            };
        }
    }

    fn done(&self, seq: u64) -> u64 {
        let mut state = lock(&self.state);
        state.synced_seq = state.synced_seq.max(seq);
        state.synced_seq
    }
}

/// A sync that has to be made.
struct Due {
    file: Arc<File>,
    dirs: Vec<OwnedFd>,
    /// Number that it covers.
    seq: u64,
}

impl Due {
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        for dir in &self.dirs {
            nix::unistd::fsync(dir)?;
        }
        Ok(())
    }
}

/// Runs until the desk is closed or the log has failed.
pub(super) fn run(shared: &Shared) {
    while let Some(due) = shared.sync.next_due() {
        if shared.has_failed() {
            return;
        }
        match due.sync() {
            Ok(()) => {
                let synced = shared.sync.done(due.seq);
                shared.note_synced(synced);
                if shared.options.durability == Durability::Durable {
                    shared.ready(synced);
                }
            }
            Err(error) => {
                shared.fail(&format!(
                    "cannot sync {}: {error}",
                    super::segment::ACTIVE_SEGMENT
                ));
                return;
            }
        }
    }
}
