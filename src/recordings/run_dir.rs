//! The directory of one run.
//!
//! Owns the descriptor through which every file of the run is reached. It never uses the path, which is for messages
//! only: the directory may be renamed while it is open. Invariant: whoever reads a file written by
//! [`RunDir::write_atomic`] sees one whole version of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;
use serde::Deserialize;

use super::directory::{Creation, Directory, Taken};
use super::error::{Operation, RecordingsError};
use super::layout;
use super::store::modified_at;
use crate::event::EventType;
use crate::run::RunId;

/// Largest `claim.json` or `spec.json` that is read for the run id: 1 MiB, far above what a description may have.
const MAX_IDENTITY_BYTES: u64 = 1 << 20;

/// Files by which a directory is a run of ours, in the order in which they are made.
const MARKS: [&str; 3] = [layout::SPEC, layout::CLAIM, layout::EVENTS];

/// Longest first line of a log that is read to know it; ours have about 400 bytes.
const MAX_OPENING_BYTES: u64 = 4096;

/// What is read of the first line of a log.
#[derive(Deserialize)]
struct Opening {
    r#type: String,
}

/// Digits of the random end of a temporary name.
const TEMPORARY_DIGITS: usize = 16;

/// An open directory of a run.
#[derive(Debug)]
pub struct RunDir {
    dir: OwnedFd,
    path: PathBuf,
    id: RunId,
}

impl RunDir {
    /// Takes a descriptor of the directory; `path` is for messages only.
    pub fn from_fd(dir: OwnedFd, path: PathBuf, id: RunId) -> Self {
        Self { dir, path, id }
    }

    /// Opens the directory that an operator names, as in `stockade finalize DIR`. The run id is the one in
    /// `claim.json`, else the one in `spec.json`, else the directory's name.
    ///
    /// # Errors
    /// When the directory cannot be opened, or gives no run id.
    pub fn open(path: &Path) -> Result<Self, RecordingsError> {
        let failed = |source: std::io::Error| RecordingsError::Io {
            operation: Operation::Open,
            path: path.to_owned(),
            source,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir =
            nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let at = Directory::new(dir.as_fd(), path);
        let mut id = None;
        for name in [layout::CLAIM, layout::SPEC] {
            id = id.or(identity_in(at, name)?);
        }
        let id = match id {
            Some(id) => id,
            None => std::fs::canonicalize(path)
                .map_err(failed)?
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| RecordingsError::NotARun {
                    path: path.to_owned(),
                })?,
        };
        Ok(Self {
            dir,
            path: path.to_owned(),
            id,
        })
    }

    /// The run that the directory belongs to.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The path in messages; never open anything by it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> Directory<'_> {
        Directory::new(self.dir.as_fd(), &self.path)
    }

    /// Duplicates the handle.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self, RecordingsError> {
        let dir = self.dir.try_clone().map_err(|source| RecordingsError::Io {
            operation: Operation::Open,
            path: self.path.clone(),
            source,
        })?;
        Ok(Self::from_fd(dir, self.path.clone(), self.id.clone()))
    }

    /// Whether a run of ours was begun in the directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn is_begun(&self) -> Result<bool, RecordingsError> {
        for name in MARKS {
            if self.contains(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Shows that the directory is that of a run of ours, however little of it there is: whoever repairs it replaces files.
    ///
    /// # Errors
    /// [`RecordingsError::NoRun`] when nothing in it is ours; when it cannot be read.
    pub fn require_ours(&self) -> Result<(), RecordingsError> {
        for name in [layout::LOCK, layout::CLAIM, layout::SPEC] {
            if self.contains(name)? {
                return Ok(());
            }
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let log = self.open_beneath(layout::EVENTS, flags).ok();
        let mut first = Vec::new();
        let read = log.map(|log| log.take(MAX_OPENING_BYTES).read_to_end(&mut first));
        let line = first
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let is_opening = serde_json::from_slice(line)
            .is_ok_and(|opening: Opening| opening.r#type == EventType::LogOpened.as_str());
        match read {
            Some(Ok(_)) if is_opening => Ok(()),
            Some(_) | None => Err(RecordingsError::NoRun {
                path: self.path.clone(),
            }),
        }
    }

    /// When the run was begun, by the file that was first written and never changes; none for what is no run of ours, or cannot
    /// be read.
    pub fn begun_at(&self) -> Option<SystemTime> {
        self.require_ours().ok()?;
        let directory = self.directory();
        let mut stats = MARKS.iter().map(|name| directory.stat(name).ok().flatten());
        stats.find_map(|stat| stat.as_ref().map(modified_at))
    }

    /// When a file was last changed; none where there is none, or it cannot be told.
    #[cfg(feature = "operator")]
    pub fn modified_at(&self, name: &str) -> Option<SystemTime> {
        let stat = self.directory().stat(name).ok().flatten();
        stat.as_ref().map(modified_at)
    }

    /// Replaces the content of `name`, durably: temporary file, fsync, rename, fsync of the directory.
    ///
    /// # Errors
    /// When a step fails. The old content stands then, unless only the last step failed: the new one stands then, but
    /// might not survive a power cut.
    pub fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<(), RecordingsError> {
        self.directory().write_atomic(name, bytes)
    }

    /// Replaces `status.json`. The log must be synced before: the status must not claim events that the log lacks.
    ///
    /// # Errors
    /// As [`RunDir::write_atomic`].
    pub fn write_status(&self, bytes: &[u8]) -> Result<(), RecordingsError> {
        self.write_atomic(layout::STATUS, bytes)
    }

    /// Creates `name` with that content, durably, unless it exists. Of several callers exactly one gets
    /// [`Creation::Created`], and no reader sees a part of the content.
    ///
    /// # Errors
    /// When a step fails for another reason than that the name is taken.
    pub fn create_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Creation, RecordingsError> {
        self.directory().create_if_absent(name, bytes)
    }

    /// Replaces the content of `name`: whole or not at all. A power cut before the next sync of the directory, which the
    /// run's log makes with its first events, may undo it.
    ///
    /// # Errors
    /// As [`RunDir::write_atomic`].
    pub fn place(&self, name: &str, bytes: &[u8]) -> Result<(), RecordingsError> {
        self.directory()
            .place(name, bytes, Taken::Replace)
            .map(|_| ())
    }

    /// As [`RunDir::create_if_absent`], durable as [`RunDir::place`].
    ///
    /// # Errors
    /// As [`RunDir::create_if_absent`].
    pub fn place_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Creation, RecordingsError> {
        self.directory().place(name, bytes, Taken::Keep)
    }

    /// Reads a whole file; none when there is no such file.
    ///
    /// # Errors
    /// When it is no regular file, is larger than `max_bytes`, or cannot be read.
    pub fn read(&self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, RecordingsError> {
        read_file(self.directory(), name, max_bytes)
    }

    /// Opens a file beneath this directory with the given flags, mode 0640 where it is created. Close-on-exec is added,
    /// and a symbolic link anywhere in the path is an error.
    ///
    /// # Errors
    /// When the path is outside the grammar of [`super::path::RelativePath`], or the system refuses.
    pub fn open_beneath(&self, path: &str, flags: OFlag) -> Result<File, RecordingsError> {
        let directory = self.directory();
        let relative = directory.parse(path)?;
        directory
            .open(&relative, flags)
            .map(File::from)
            .map_err(|errno| directory.error(Operation::Open, path, errno))
    }

    /// Creates a file for reading and appending that must not exist. Its name is durable after [`RunDir::sync_dir`].
    ///
    /// # Errors
    /// When it exists, or the system refuses.
    pub fn create_file(&self, name: &str) -> Result<File, RecordingsError> {
        let directory = self.directory();
        let path = directory.parse_name(name)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_APPEND;
        directory
            .open(&path, flags)
            .map(File::from)
            .map_err(|errno| directory.error(Operation::Create, name, errno))
    }

    /// Whether there is anything of that name, of any type.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn contains(&self, name: &str) -> Result<bool, RecordingsError> {
        Ok(self.directory().stat(name)?.is_some())
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync_dir(&self) -> Result<(), RecordingsError> {
        self.directory().sync()
    }

    /// Removes temporary files that a killed writer left behind, and gives their number. Only for the holder of the
    /// run's lock: somebody else's temporary file may still be in use.
    ///
    /// # Errors
    /// When the directory cannot be listed or a file cannot be removed.
    pub fn remove_stale_temporaries(&self) -> Result<usize, RecordingsError> {
        let directory = self.directory();
        let mut n_removed = 0;
        for name in directory.names()? {
            if let Some(name) = name.to_str().filter(|name| is_temporary(name)) {
                directory.remove(name, UnlinkatFlags::NoRemoveDir)?;
                n_removed += 1;
            }
        }
        Ok(n_removed)
    }
}

impl AsFd for RunDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// True for `.<name>.<16 hexadecimal digits>`, which no file of the layout is called.
fn is_temporary(name: &str) -> bool {
    let random = name
        .strip_prefix('.')
        .and_then(|rest| rest.rsplit_once('.'))
        .map(|(_, random)| random);
    random.is_some_and(|random| {
        random.len() == TEMPORARY_DIGITS && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[derive(Deserialize)]
struct Identity {
    run_id: RunId,
}

/// The run id in a file of the directory; none when there is no such file or it has none.
fn identity_in(at: Directory<'_>, name: &str) -> Result<Option<RunId>, RecordingsError> {
    let bytes = read_file(at, name, MAX_IDENTITY_BYTES)?;
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice::<Identity>(&bytes).ok())
        .map(|identity| identity.run_id))
}

/// Reads a whole regular file of a directory.
pub(super) fn read_file(
    at: Directory<'_>,
    name: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, RecordingsError> {
    let path = at.parse_name(name)?;
    // O_NONBLOCK, for opening a fifo without a writer would otherwise wait for one.
    let file = match at.open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(at.error(Operation::Open, name, errno)),
    };
    let metadata = file
        .metadata()
        .map_err(|source| at.error(Operation::Inspect, name, source))?;
    if !metadata.is_file() {
        return Err(RecordingsError::NotAFile {
            path: at.path_of(name),
        });
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells "exactly at the limit" from "above it", also for a file that grows meanwhile.
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| at.error(Operation::Read, name, source))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(RecordingsError::TooLarge {
            path: at.path_of(name),
            max_bytes,
        });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
