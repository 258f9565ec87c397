//! The lock that says: somebody works in this run's directory.
//!
//! Owns `run.lock` and its flock(2). A lock belongs to the open file description, so it is handed over by inheriting
//! a descriptor, and ends when the last descriptor is closed: by exit, by any death, or by drop. It is therefore never
//! unlocked explicitly, which would also take it from the process that it was inherited from.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag};

use super::error::{Operation, RecordingsError};
use super::layout;
use super::run_dir::RunDir;

/// How often an attempt is repeated while only askers ([`Holder::of`]) are in its way. Each of them holds its shared
/// lock for two system calls, so a few yields are enough; the limit is there so that no crowd of askers can block us.
const MAX_ATTEMPTS: usize = 1_000;

/// The run's lock, held until this value and every inherited copy of its descriptor are closed.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

/// Whether anybody holds the run's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A process works in the directory.
    Somebody,
    /// The directory is left alone.
    Nobody,
}

/// The run's lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by another process", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file or its directory was removed after it was opened: the run was pruned.
    #[error("{} was removed; the run is gone", path.display())]
    Gone {
        /// The lock file.
        path: PathBuf,
    },
    /// The inherited descriptor is not the run's lock file.
    #[error("the inherited descriptor is not {}", path.display())]
    Foreign {
        /// The lock file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock file could not be opened.
    #[error("cannot use the lock file")]
    File {
        /// Why.
        source: RecordingsError,
    },
}

impl RunLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it, [`LockError::Gone`] when the run was removed meanwhile.
    pub fn try_acquire(run: &RunDir) -> Result<Self, LockError> {
        let file = match run.open_beneath(layout::LOCK, OFlag::O_RDWR | OFlag::O_CREAT) {
            Ok(file) => file,
            // A file cannot be made in a directory that was removed while it was open.
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                return Err(LockError::Gone {
                    path: lock_path(run),
                });
            }
            Err(source) => return Err(LockError::File { source }),
        };
        Self::lock(run, file)
    }

    /// Takes over a descriptor inherited from the process that holds the lock. It counts as locked: the open file
    /// description is the same, so locking it again is no conflict. Close-on-exec is set again.
    ///
    /// # Errors
    /// [`LockError::Foreign`] when it is another file, else as [`RunLock::try_acquire`].
    pub fn from_inherited(run: &RunDir, inherited: OwnedFd) -> Result<Self, LockError> {
        let path = lock_path(run);
        nix::fcntl::fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| {
            LockError::Io {
                path: path.clone(),
                source: errno.into(),
            }
        })?;
        let file = File::from(inherited);
        match names_file(run, &file) {
            Ok(Identity::Same) => Self::lock(run, file),
            Ok(Identity::Other) => Err(LockError::Foreign { path }),
            Err(error) => Err(error),
        }
    }

    fn lock(run: &RunDir, file: File) -> Result<Self, LockError> {
        let path = lock_path(run);
        for _ in 0..MAX_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => {
                    // Whoever pruned the run removed this very file under the lock that we then got.
                    return match names_file(run, &file)? {
                        Identity::Same => Ok(Self { file }),
                        Identity::Other => Err(LockError::Gone { path }),
                    };
                }
                Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
                Err(TryLockError::WouldBlock) => {}
            }
            // An owner excludes a shared lock as well; askers do not. A description of its own: a failed conversion
            // of an inherited lock would lose it.
            if Holder::of(run)? == Holder::Somebody {
                return Err(LockError::Held { path });
            }
            std::thread::yield_now();
        }
        Err(LockError::Held { path })
    }

    /// Gives the descriptor away; the lock lasts as long as it is open.
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// A second descriptor of the lock that passes an exec, for handing the lock to a child. Close it after the child was
    /// started: until then every child that this process starts inherits it.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn inheritable_fd(&self) -> io::Result<OwnedFd> {
        // dup(2) leaves close-on-exec off, which fcntl(F_DUPFD_CLOEXEC) and `try_clone` do not.
        nix::unistd::dup(&self.file).map_err(io::Error::from)
    }
}

impl AsFd for RunLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Holder {
    /// Asks whether anybody holds the lock, by holding a shared one for a moment. Makes no lock file.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn of(run: &RunDir) -> Result<Self, LockError> {
        let file = match run.open_beneath(layout::LOCK, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                return Ok(Self::Nobody);
            }
            Err(source) => return Err(LockError::File { source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Self::Nobody),
            Err(TryLockError::WouldBlock) => Ok(Self::Somebody),
            Err(TryLockError::Error(source)) => Err(LockError::Io {
                path: lock_path(run),
                source,
            }),
        }
    }
}

/// Whether an open file is the one that the directory names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Same,
    Other,
}

/// Compares device and inode of the open file with those of `run.lock`.
fn names_file(run: &RunDir, file: &File) -> Result<Identity, LockError> {
    let open = file.metadata().map_err(|source| LockError::Io {
        path: lock_path(run),
        source,
    })?;
    let named = run
        .directory()
        .stat(layout::LOCK)
        .map_err(|source| LockError::File { source })?;
    Ok(match named {
        Some(named) if (named.st_dev, named.st_ino) == (open.dev(), open.ino()) => Identity::Same,
        Some(_) | None => Identity::Other,
    })
}

fn lock_path(run: &RunDir) -> PathBuf {
    run.directory().path_of(layout::LOCK)
}

impl From<LockError> for RecordingsError {
    /// For callers that only ask and have nothing to do for a single cause.
    fn from(error: LockError) -> Self {
        match error {
            LockError::File { source } => source,
            LockError::Io { path, source } => Self::Io {
                operation: Operation::Open,
                path,
                source,
            },
            LockError::Held { path } | LockError::Gone { path } | LockError::Foreign { path } => {
                Self::Io {
                    operation: Operation::Open,
                    path,
                    source: Errno::EWOULDBLOCK.into(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
