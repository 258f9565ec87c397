//! Whether a directory can hold recordings, found out by doing what recordings need.
//!
//! Owns the probe and the advice that goes with each way to fail. It leaves nothing behind.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::directory::{Creation, Directory};
use super::error::RecordingsError;
use nix::unistd::UnlinkatFlags;

/// Prefix of the probe's files; the names end in random digits.
const PROBE: &str = ".probe.";

/// A directory cannot hold recordings.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The file system is mounted read-only.
    #[error("{} is on a read-only file system; mount it read-write, or use --recordings DIR", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What was refused.
        source: RecordingsError,
    },
    /// There is no space, inode or quota left.
    #[error("{} has no space left; free some (`stockade prune`), or use --recordings DIR", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What was refused.
        source: RecordingsError,
    },
    /// This user may not write there.
    #[error("{} is not writable for user {uid}; change its owner or mode, or use --recordings DIR", path.display())]
    Permission {
        /// The directory.
        path: PathBuf,
        /// Effective user id of this process.
        uid: u32,
        /// What was refused.
        source: RecordingsError,
    },
    /// The file system does not have an operation that recordings need.
    #[error("{} is on a file system without what recordings need; use a local one through --recordings DIR", path.display())]
    Unsupported {
        /// The directory.
        path: PathBuf,
        /// What was refused.
        source: RecordingsError,
    },
    /// Anything else.
    #[error("{} cannot hold recordings", path.display())]
    Other {
        /// The directory.
        path: PathBuf,
        /// What was refused.
        source: RecordingsError,
    },
}

/// Creates, syncs, renames, links and removes files in a directory, as recordings do.
///
/// # Errors
/// When one of these fails, with the advice for it.
pub fn probe(directory: impl AsFd, path: &Path) -> Result<(), HealthError> {
    let at = Directory::new(directory.as_fd(), path);
    try_everything(at).map_err(|source| classify(path, source))
}

fn try_everything(at: Directory<'_>) -> Result<(), RecordingsError> {
    let name = at.random_name(PROBE)?;
    let outcome = at
        .create_if_absent(&name, b"probe\n")
        .and_then(|_: Creation| at.write_atomic(&name, b"probe again\n"));
    let removed = at.remove(&name, UnlinkatFlags::NoRemoveDir);
    // The first error is the one to hear of.
    outcome.and(removed)
}

fn classify(path: &Path, source: RecordingsError) -> HealthError {
    let path = path.to_owned();
    match source.io_kind() {
        Some(io::ErrorKind::ReadOnlyFilesystem) => HealthError::ReadOnly { path, source },
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            HealthError::Full { path, source }
        }
        Some(io::ErrorKind::PermissionDenied) => HealthError::Permission {
            path,
            uid: nix::unistd::geteuid().as_raw(),
            source,
        },
        Some(io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
            HealthError::Unsupported { path, source }
        }
        Some(_) | None => HealthError::Other { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::error::Operation;
    use nix::errno::Errno;

    #[test]
    fn a_good_directory_passes_and_stays_empty() {
        let directory = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(directory.path()).unwrap();
        probe(&open, directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_takes_no_files_fails_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let removed = directory.path().join("removed");
        std::fs::create_dir(&removed).unwrap();
        let open = std::fs::File::open(&removed).unwrap();
        std::fs::remove_dir(&removed).unwrap();
        let error = probe(&open, &removed).unwrap_err();
        assert!(matches!(error, HealthError::Other { .. }), "{error}");
        assert!(error.to_string().contains(removed.to_str().unwrap()));
    }

    #[test]
    fn each_refusal_has_its_own_advice() {
        let table = [
            (Errno::EROFS, "read-only"),
            (Errno::ENOSPC, "free some"),
            (Errno::EDQUOT, "free some"),
            (Errno::EACCES, "not writable for user"),
            (Errno::EPERM, "not writable for user"),
            (Errno::EOPNOTSUPP, "use a local one"),
            (Errno::ENOSYS, "use a local one"),
            (Errno::EIO, "cannot hold recordings"),
        ];
        for (errno, advice) in table {
            let error = classify(
                Path::new("/r"),
                RecordingsError::Io {
                    operation: Operation::Create,
                    path: PathBuf::from("/r/x"),
                    source: errno.into(),
                },
            );
            assert!(error.to_string().contains(advice), "{errno}: {error}");
        }
    }
}
