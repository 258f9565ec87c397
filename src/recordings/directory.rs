//! One open directory, and everything that we do relative to it.
//!
//! Owns the system calls of the recordings: opening beneath, durable replacing, durable create-if-absent. It never
//! follows a symbolic link and never lets a descriptor pass an exec. Invariant: a name that appears here has its whole
//! content on disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{FileStat, Mode};
use nix::unistd::UnlinkatFlags;

use super::error::{Operation, RecordingsError};
use super::path::RelativePath;

/// Mode of a new file, before the umask: the owner writes, the group reads.
const FILE_MODE: Mode = Mode::from_bits_truncate(0o640);
/// Mode of a new directory, before the umask.
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o750);

/// Whether something was made, or was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is new, and durable.
    Created,
    /// It existed, and was left as it was.
    Existed,
}

/// How [`Directory::publish`] treats a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The new file takes its place.
    Replace,
    /// The old file stays.
    Keep,
}

/// Opens what lies at `path` beneath a directory; close-on-exec, and no component may be a symbolic link.
///
/// # Errors
/// As openat2(2); ELOOP for a link.
pub(crate) fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &RelativePath,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    Directory::new(directory, Path::new("")).open(path, flags)
}

/// An open directory with the path that it has in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    fd: BorrowedFd<'a>,
    path: &'a Path,
}

impl<'a> Directory<'a> {
    /// `path` is for messages only.
    pub(super) fn new(fd: BorrowedFd<'a>, path: &'a Path) -> Self {
        Self { fd, path }
    }

    /// Path in messages of something in this directory.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes an error about something in this directory.
    pub(super) fn error(
        &self,
        operation: Operation,
        name: &str,
        source: impl Into<io::Error>,
    ) -> RecordingsError {
        RecordingsError::Io {
            operation,
            path: self.path_of(name),
            source: source.into(),
        }
    }

    /// Parses a single name for use in this directory.
    pub(super) fn parse_name(&self, given: &str) -> Result<RelativePath, RecordingsError> {
        RelativePath::parse_name(given).map_err(|source| RecordingsError::Name {
            path: self.path.to_owned(),
            source,
        })
    }

    /// Parses a path for use beneath this directory.
    pub(super) fn parse(&self, given: &str) -> Result<RelativePath, RecordingsError> {
        RelativePath::parse(given).map_err(|source| RecordingsError::Name {
            path: self.path.to_owned(),
            source,
        })
    }

    /// Opens what lies at `path` beneath this directory; close-on-exec, and no component may be a symbolic link.
    pub(super) fn open(&self, path: &RelativePath, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        // openat2(2) refuses a mode where nothing is created.
        let mode = if flags.contains(OFlag::O_CREAT) {
            FILE_MODE
        } else {
            Mode::empty()
        };
        let how = OpenHow::new().flags(flags).mode(mode).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        match nix::fcntl::openat2(self.fd, path.as_str(), how) {
            // Kernels before 5.6 and gVisor do not have the call; old seccomp filters answer EPERM for what they do
            // not know. A true EPERM comes back from the walk as well.
            Err(Errno::ENOSYS | Errno::EPERM) => self.walk(path, flags, mode),
            answer => answer,
        }
    }

    /// Opens one component at a time, without following any: as safe as openat2(2), because the grammar of the path
    /// has no way up.
    fn walk(&self, path: &RelativePath, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let (parents, last) = path.split_last();
        let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut parent: Option<OwnedFd> = None;
        for component in parents {
            let next = match &parent {
                None => nix::fcntl::openat(self.fd, component, step, Mode::empty())?,
                Some(parent) => nix::fcntl::openat(parent, component, step, Mode::empty())?,
            };
            parent = Some(next);
        }
        match &parent {
            None => nix::fcntl::openat(self.fd, last, flags, mode),
            Some(parent) => nix::fcntl::openat(parent, last, flags, mode),
        }
    }

    /// Opens the directory `name`.
    pub(super) fn open_directory(&self, name: &str) -> Result<OwnedFd, RecordingsError> {
        let path = self.parse_name(name)?;
        self.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .map_err(|errno| self.error(Operation::Open, name, errno))
    }

    /// Makes the directory `name` durably, unless it exists, and opens it.
    pub(super) fn make_directory(
        &self,
        name: &str,
    ) -> Result<(OwnedFd, Creation), RecordingsError> {
        let (made, creation) = self.make_directory_unsynced(name)?;
        if creation == Creation::Created {
            self.sync()?;
        }
        Ok((made, creation))
    }

    /// The same; a new name becomes durable with the next sync of this directory.
    pub(super) fn make_directory_unsynced(
        &self,
        name: &str,
    ) -> Result<(OwnedFd, Creation), RecordingsError> {
        self.parse_name(name)?;
        let creation = match nix::sys::stat::mkdirat(self.fd, name, DIRECTORY_MODE) {
            Ok(()) => Creation::Created,
            Err(Errno::EEXIST) => Creation::Existed,
            Err(errno) => return Err(self.error(Operation::Create, name, errno)),
        };
        Ok((self.open_directory(name)?, creation))
    }

    /// Names of what is in this directory, without `.` and `..`, in the order of the file system.
    pub(super) fn names(&self) -> Result<Vec<OsString>, RecordingsError> {
        let failed = |errno: Errno| RecordingsError::Io {
            operation: Operation::List,
            path: self.path.to_owned(),
            source: errno.into(),
        };
        // A description of its own, so that the listing shares its offset with nobody.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Type, size and times of `name` itself; none when it does not exist.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>, RecordingsError> {
        match nix::sys::stat::fstatat(self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error(Operation::Inspect, name, errno)),
        }
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> Result<(), RecordingsError> {
        nix::unistd::fsync(self.fd).map_err(|errno| RecordingsError::Io {
            operation: Operation::Sync,
            path: self.path.to_owned(),
            source: errno.into(),
        })
    }

    /// Puts `bytes` under `name`, durably and at once.
    pub(super) fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<(), RecordingsError> {
        let mut temporary = self.temporary(name)?;
        temporary.write(bytes)?;
        self.publish(temporary, *self, name, Taken::Replace)
            .map(|_| ())
    }

    /// Puts `bytes` under `name` unless the name is taken: whole or not at all.
    pub(super) fn create_if_absent(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<Creation, RecordingsError> {
        let mut temporary = self.temporary(name)?;
        temporary.write(bytes)?;
        self.publish(temporary, *self, name, Taken::Keep)
    }

    /// As [`Directory::create_if_absent`], readable by the owner alone at every moment.
    #[cfg(feature = "operator")]
    pub(super) fn create_private_if_absent(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<Creation, RecordingsError> {
        let mut temporary = self.temporary(name)?;
        nix::sys::stat::fchmod(&temporary.file, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.error(Operation::Create, name, errno))?;
        temporary.write(bytes)?;
        self.publish(temporary, *self, name, Taken::Keep)
    }

    /// Gives whole and durable content the name `name`, unless it is taken and [`Taken::Keep`] is asked for. The name itself
    /// becomes durable with the next sync of this directory.
    pub(super) fn place(
        &self,
        name: &str,
        bytes: &[u8],
        taken: Taken,
    ) -> Result<Creation, RecordingsError> {
        let mut temporary = self.temporary(name)?;
        temporary.write(bytes)?;
        self.name(temporary, *self, name, taken)
    }

    /// Opens a new file `.<name>.<random>` in this directory; it is removed unless it is published.
    pub(super) fn temporary(&self, name: &str) -> Result<Temporary<'a>, RecordingsError> {
        let temporary_name = self.random_name(&format!(".{name}."))?;
        let path = self.parse_name(&temporary_name)?;
        let fd = self
            .open(&path, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
            .map_err(|errno| self.error(Operation::Create, &temporary_name, errno))?;
        Ok(Temporary {
            directory: *self,
            name: temporary_name,
            file: File::from(fd),
            presence: Presence::Named,
        })
    }

    /// Takes back what [`Temporary::into_parts`] gave out, of this directory.
    pub(super) fn adopt(&self, file: File, name: String) -> Temporary<'a> {
        Temporary {
            directory: *self,
            name,
            file,
            presence: Presence::Named,
        }
    }

    /// A name that nobody else chooses: the prefix and 16 hexadecimal digits.
    pub(super) fn random_name(&self, prefix: &str) -> Result<String, RecordingsError> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|source| {
            self.error(
                Operation::Name,
                prefix,
                io::Error::other(source.to_string()),
            )
        })?;
        Ok(format!("{prefix}{:016x}", u64::from_ne_bytes(random)))
    }

    /// Gives a temporary file of this directory its name in `target`, in this order: (1) sync the content, (2) rename or link, (3) sync the
    /// target directory. A crash between any two leaves the old state or the new one.
    pub(super) fn publish(
        &self,
        temporary: Temporary<'_>,
        target: Directory<'_>,
        name: &str,
        taken: Taken,
    ) -> Result<Creation, RecordingsError> {
        let creation = self.name(temporary, target, name, taken)?;
        target.sync()?;
        Ok(creation)
    }

    /// The first two steps of [`Directory::publish`].
    fn name(
        &self,
        mut temporary: Temporary<'_>,
        target: Directory<'_>,
        name: &str,
        taken: Taken,
    ) -> Result<Creation, RecordingsError> {
        target.parse_name(name)?;
        temporary
            .file
            .sync_all()
            .map_err(|source| self.error(Operation::Sync, &temporary.name, source))?;
        let creation = match taken {
            Taken::Replace => {
                nix::fcntl::renameat(self.fd, temporary.name.as_str(), target.fd, name)
                    .map_err(|errno| target.error(Operation::Rename, name, errno))?;
                temporary.presence = Presence::Published;
                Creation::Created
            }
            Taken::Keep => temporary.link(target, name)?,
        };
        Ok(creation)
    }

    /// Moves `name` into another directory of the same file system, durably on the target's side first.
    pub(super) fn move_to(
        &self,
        name: &str,
        target: Directory<'_>,
        target_name: &str,
    ) -> Result<(), RecordingsError> {
        nix::fcntl::renameat(self.fd, name, target.fd, target_name)
            .map_err(|errno| self.error(Operation::Rename, name, errno))?;
        target.sync()?;
        self.sync()
    }

    /// Points the symbolic link `name` at `content`, replacing what was there unless that is a directory. A power cut may leave
    /// the old link.
    pub(super) fn point(&self, name: &str, content: &str) -> Result<(), RecordingsError> {
        let temporary_name = self.random_name(&format!(".{name}."))?;
        nix::unistd::symlinkat(content, self.fd, temporary_name.as_str())
            .map_err(|errno| self.error(Operation::Create, &temporary_name, errno))?;
        if let Err(errno) = nix::fcntl::renameat(self.fd, temporary_name.as_str(), self.fd, name) {
            // The failed rename is what the caller must hear of; a link that stays behind harms nobody.
            let _ = self.remove(&temporary_name, UnlinkatFlags::NoRemoveDir);
            return Err(self.error(Operation::Rename, name, errno));
        }
        Ok(())
    }

    /// Removes `name`; what is gone already counts as removed.
    pub(super) fn remove(&self, name: &str, what: UnlinkatFlags) -> Result<(), RecordingsError> {
        match nix::unistd::unlinkat(self.fd, name, what) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.error(Operation::Remove, name, errno)),
        }
    }
}

/// Whether the temporary name still has to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// The file stands under its temporary name.
    Named,
    /// The temporary name was renamed away.
    Published,
}

/// A file under a temporary name, which dropping removes unless it was published.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    directory: Directory<'a>,
    name: String,
    file: File,
    presence: Presence,
}

impl Temporary<'_> {
    /// Appends `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RecordingsError> {
        self.file
            .write_all(bytes)
            .map_err(|source| self.directory.error(Operation::Write, &self.name, source))
    }

    /// Gives the file and its temporary name out of hand; whoever takes them removes the name or adopts them again.
    pub(super) fn into_parts(mut self) -> Result<(File, String), RecordingsError> {
        let file = self
            .file
            .try_clone()
            .map_err(|source| self.directory.error(Operation::Open, &self.name, source))?;
        self.presence = Presence::Published;
        Ok((file, std::mem::take(&mut self.name)))
    }

    fn link(&mut self, target: Directory<'_>, name: &str) -> Result<Creation, RecordingsError> {
        let linked = nix::unistd::linkat(
            self.directory.fd,
            self.name.as_str(),
            target.fd,
            name,
            AtFlags::empty(),
        );
        match linked {
            Ok(()) => Ok(Creation::Created),
            Err(Errno::EEXIST) => Ok(Creation::Existed),
            // File systems without hard links (FAT, some FUSE ones) may still rename without replacing.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                match nix::fcntl::renameat2(
                    self.directory.fd,
                    self.name.as_str(),
                    target.fd,
                    name,
                    RenameFlags::RENAME_NOREPLACE,
                ) {
                    Ok(()) => {
                        self.presence = Presence::Published;
                        Ok(Creation::Created)
                    }
                    Err(Errno::EEXIST) => Ok(Creation::Existed),
                    Err(errno) => Err(target.error(Operation::Link, name, errno)),
                }
            }
            Err(errno) => Err(target.error(Operation::Link, name, errno)),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.presence == Presence::Named {
            // Nothing is lost with a temporary name that stays: `RunDir::remove_stale_temporaries` finds it.
            let _ = self
                .directory
                .remove(&self.name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests;
