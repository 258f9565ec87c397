//! The beginning of a log: its first file, its threads, its first event.
//!
//! Owns what has to be there before the first event, and the identity of the log. It writes no line itself. Invariant: the
//! names of the files are durable no later than the first event.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::action_log::{ActionLog, Observer};
use super::options::LogOptions;
use super::segment::{self, ACTIVE_SEGMENT, Segment, SegmentSet};
use super::source::Source;
use super::syncer::{self, SyncDesk};
use super::writer::Writer;
use crate::event::{Event, LogOpened};
use crate::redact::Redactor;
use crate::run::RunId;

/// Version of the log's format, in `log.opened`.
pub const SCHEMA_VERSION: u32 = 1;

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
    let writer = Writer::new(Arc::clone(&shared), dir, file, observer);
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
