//! The directory of all runs.
//!
//! Owns the store's root: it makes, finds and lists the directories of runs, and keeps the link `latest`. It never
//! looks into a run's files. Invariant: what is created here is named by a [`RunId`], so it is a direct child.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::AccessFlags;

use super::directory::Directory;
use super::error::{Operation, RecordingsError};
use super::layout;
use super::run_dir::RunDir;
use crate::run::RunId;
use crate::run::id::LATEST;

/// The directory of all runs, open.
#[derive(Debug)]
pub struct Store {
    root: OwnedFd,
    path: PathBuf,
}

/// A child of the store that could be a run: a directory whose name is a run id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEntry {
    /// Its name.
    pub id: RunId,
    /// When a file in it was last created, replaced or removed.
    pub modified_at: SystemTime,
}

impl Store {
    /// Opens the store, creating it and its parents (mode 0750) where they do not exist.
    ///
    /// # Errors
    /// When it cannot be created or opened, or is no directory.
    pub fn open_or_create(path: &Path) -> Result<Self, RecordingsError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(|source| RecordingsError::Io {
                operation: Operation::Create,
                path: path.to_owned(),
                source,
            })?;
        Self::open(path)
    }

    /// Looks whether [`Store::open_or_create`] and a run in it would succeed, and makes nothing.
    ///
    /// # Errors
    /// When the directory, or the nearest one above it that exists, is none or cannot be written to.
    pub fn check(path: &Path) -> Result<(), RecordingsError> {
        let unusable = |path: &Path, source| RecordingsError::Io {
            operation: Operation::Create,
            path: path.to_owned(),
            source,
        };
        let there = path
            .ancestors()
            .find(|path| path.symlink_metadata().is_ok());
        let there = there.unwrap_or(Path::new("/"));
        let kind = there.metadata().map_err(|source| unusable(there, source))?;
        if !kind.is_dir() {
            return Err(unusable(there, io::ErrorKind::NotADirectory.into()));
        }
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        nix::unistd::eaccess(there, wanted).map_err(|errno| unusable(there, errno.into()))
    }

    /// Opens a store that exists, for those who only read.
    ///
    /// # Errors
    /// When it cannot be opened, or is no directory.
    pub fn open(path: &Path) -> Result<Self, RecordingsError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root =
            nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| RecordingsError::Io {
                operation: Operation::Open,
                path: path.to_owned(),
                source: errno.into(),
            })?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// Where recordings go by default: `$XDG_STATE_HOME/stockade/runs`, else `$HOME/.local/state/stockade/runs`. A
    /// variable that is no absolute path counts as not set (XDG Base Directory Specification).
    ///
    /// # Errors
    /// When neither variable helps.
    pub fn default_path(
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<PathBuf, RecordingsError> {
        let absolute = |name| {
            env(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .ok_or(RecordingsError::NoDefault)?;
        Ok(state.join("stockade/runs"))
    }

    /// The path in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> Directory<'_> {
        Directory::new(self.root.as_fd(), &self.path)
    }

    /// Opens `.stockade`, for files that belong to no run, and makes it where it does not exist.
    ///
    /// # Errors
    /// When it can be neither made nor opened.
    pub fn internal(&self) -> Result<OwnedFd, RecordingsError> {
        Ok(self.directory().make_directory(layout::STORE_INTERNAL)?.0)
    }

    /// Reads a file of a directory of `.stockade`; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than `max_bytes`.
    #[cfg(feature = "operator")]
    pub fn read_internal(
        &self,
        directory: Option<&str>,
        name: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, RecordingsError> {
        self.in_internal(directory, |within| {
            super::run_dir::read_file(within, name, max_bytes)
        })
    }

    /// Creates a file of a directory of `.stockade`, mode 0600, durably, unless it exists. Of several callers exactly one creates it.
    ///
    /// # Errors
    /// When a step fails for another reason than that the name is taken.
    #[cfg(feature = "operator")]
    pub fn create_internal(
        &self,
        directory: Option<&str>,
        name: &str,
        bytes: &[u8],
    ) -> Result<super::directory::Creation, RecordingsError> {
        self.in_internal(directory, |within| {
            within.create_private_if_absent(name, bytes)
        })
    }

    #[cfg(feature = "operator")]
    fn in_internal<T>(
        &self,
        directory: Option<&str>,
        work: impl FnOnce(Directory<'_>) -> Result<T, RecordingsError>,
    ) -> Result<T, RecordingsError> {
        let internal = self.internal()?;
        let path = self.path.join(layout::STORE_INTERNAL);
        let within = Directory::new(internal.as_fd(), &path);
        let Some(name) = directory else {
            return work(within);
        };
        let (fd, _) = within.make_directory(name)?;
        work(Directory::new(fd.as_fd(), &path.join(name)))
    }

    /// Opens the directory of a run, and makes it, durably, where it does not exist.
    ///
    /// # Errors
    /// When it can be neither made nor opened; also when a symbolic link has its name.
    pub fn create_run(&self, id: &RunId) -> Result<RunDir, RecordingsError> {
        let (dir, _) = self.directory().make_directory(id.as_str())?;
        Ok(self.run_dir(dir, id))
    }

    /// The same for a run that is to begin: a new directory's name becomes durable with the first sync of the run's log, so that
    /// no start waits for the disk. A power cut before that leaves nothing of a run of which nobody was told anything.
    ///
    /// # Errors
    /// As [`Store::create_run`].
    pub fn begin_run(&self, id: &RunId) -> Result<RunDir, RecordingsError> {
        let (dir, _) = self.directory().make_directory_unsynced(id.as_str())?;
        Ok(self.run_dir(dir, id))
    }

    /// Opens the directory of a run; none when there is none.
    ///
    /// # Errors
    /// When it cannot be opened; also when something else has its name.
    pub fn open_run(&self, id: &RunId) -> Result<Option<RunDir>, RecordingsError> {
        match self.directory().open_directory(id.as_str()) {
            Ok(dir) => Ok(Some(self.run_dir(dir, id))),
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn run_dir(&self, dir: OwnedFd, id: &RunId) -> RunDir {
        RunDir::from_fd(dir, self.path.join(id.as_str()), id.clone())
    }

    /// Lists the directories that could be runs, newest first; of equal times the greater id is first.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn list(&self) -> Result<Vec<StoreEntry>, RecordingsError> {
        let directory = self.directory();
        let mut entries = Vec::new();
        for name in directory.names()? {
            let Some(id) = name.to_str().and_then(|name| name.parse::<RunId>().ok()) else {
                continue;
            };
            // What another process removed since the listing is not there: no error.
            let Some(stat) = directory.stat(id.as_str())? else {
                continue;
            };
            if is_directory(&stat) {
                entries.push(StoreEntry {
                    id,
                    modified_at: modified_at(&stat),
                });
            }
        }
        entries.sort_by(|a, b| (b.modified_at, &b.id).cmp(&(a.modified_at, &a.id)));
        Ok(entries)
    }

    /// The newest run: the one that the link `latest` names, which was started last. Where the link is absent or names no run
    /// of ours, the one whose first file is the newest: the directory of an older run changes whenever somebody takes its lock.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn latest(&self) -> Result<Option<RunId>, RecordingsError> {
        // What cannot be read is not the newest: for a pruning it stays anyway, and must not be all that stays.
        let begun_at = |id: &RunId| self.open_run(id).ok().flatten()?.begun_at();
        if let Some(id) = self.linked()
            && begun_at(&id).is_some()
        {
            return Ok(Some(id));
        }
        let runs = self.list()?.into_iter();
        let runs = runs.filter_map(|entry| Some((begun_at(&entry.id)?, entry.id)));
        Ok(runs.max().map(|(_, id)| id))
    }

    /// The run id that the link `latest` names, whether there is such a run or not; none without a link that names one.
    pub(super) fn linked(&self) -> Option<RunId> {
        // The link is read and never followed: what it says is a name like any other.
        let target = nix::fcntl::readlinkat(&self.root, LATEST).ok()?;
        target.to_str()?.parse().ok()
    }

    /// Points the link `latest` at a run, atomically. After a power cut it may point at the run before.
    ///
    /// # Errors
    /// When the file system has no links, or a directory has the name. A caller reports it and goes on: the link is a
    /// convenience.
    pub fn point_latest_at(&self, id: &RunId) -> Result<(), RecordingsError> {
        self.directory().point(LATEST, id.as_str())
    }
}

/// True for a directory.
pub(super) fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Time of the last change of the content; a time before 1970 counts as 1970.
pub(super) fn modified_at(stat: &FileStat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests;
