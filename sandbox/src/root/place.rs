//! A directory tree in which mount points are made and opened.
//!
//! Owns the making of targets. Never follows a link and never makes an entry in a filesystem of the host.

use crate::beneath;
use crate::failure::{At, Failure, Step};
use crate::plan::Kind;
use crate::sys::mount;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// The tree, with the filesystems in which it may make entries.
pub(super) struct Place {
    root: OwnedFd,
    own_devices: Vec<libc::dev_t>,
}

impl Place {
    /// Takes the root of a tmpfs that was just made.
    pub(super) fn new(root: OwnedFd) -> Result<Self, Failure> {
        let device = fstat(&root).at(Step::MakeEntry, "/")?.st_dev;
        Ok(Self {
            root,
            own_devices: vec![device],
        })
    }

    /// Lets entries be made in another tree's filesystem, where that is mounted here.
    pub(super) fn accept(&mut self, other: &Self) {
        self.own_devices.extend(&other.own_devices);
    }

    /// Returns the root, for the last steps.
    pub(super) fn into_root(self) -> OwnedFd {
        self.root
    }

    /// Opens what is at `path` now, as a name only.
    pub(super) fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        beneath::open(self.root.as_fd(), path)
    }

    /// Opens the directory at `path` and makes what is missing of it.
    pub(super) fn directory(&self, path: &Path) -> Result<OwnedFd, Failure> {
        self.make_directory(path)
            .at(Step::MakeEntry, path.display())
    }

    /// Opens the file at `path`; makes an empty one if there is none.
    pub(super) fn file(&self, path: &Path) -> Result<OwnedFd, Failure> {
        self.within_parent(path, |parent, name| self.make_file(parent, name))
            .at(Step::MakeEntry, path.display())
    }

    /// Makes a symbolic link, unless something is there already.
    pub(super) fn link(&self, to: &Path, path: &Path) -> Result<(), Failure> {
        self.within_parent(path, |parent, name| link_in(parent, to, name))
            .at(Step::MakeEntry, path.display())
    }

    /// Opens the directory at `path`, which nothing is mounted on yet, to fill it.
    pub(super) fn own(&self, path: &Path) -> Result<Own, Failure> {
        let directory = self.directory(path)?;
        self.check_own(directory.as_fd())
            .at(Step::MakeEntry, path.display())?;
        Ok(Own { directory })
    }

    /// Copies the mount of the tree, seen from an entry directly below its root that was made here.
    pub(super) fn copy_own(&self, name: &CStr) -> io::Result<OwnedFd> {
        mount::copy_named(self.root.as_fd(), name)
    }

    /// Makes a directory directly below the root, with exactly these permissions: the umask is empty.
    pub(super) fn own_directory(&self, name: &str, mode: libc::mode_t) -> Result<(), Failure> {
        mkdirat(&self.root, name, Mode::from_bits_truncate(mode)).at(Step::MakeEntry, name)
    }

    /// Makes an empty file directly below the root, with exactly these permissions.
    pub(super) fn own_file(&self, name: &str, mode: libc::mode_t) -> Result<(), Failure> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(&self.root, name, flags, Mode::from_bits_truncate(mode))
            .map(drop)
            .at(Step::MakeEntry, name)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, path: &Path) -> Result<(), Failure> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        unlinkat(&self.root, relative, UnlinkatFlags::RemoveDir).at(Step::MakeEntry, path.display())
    }

    fn make_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut reached: Option<OwnedFd> = None;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let current = reached.as_ref().unwrap_or(&self.root).as_fd();
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            // Making it first is cheaper than a look that finds nothing.
            if self.is_own(current)? {
                match mkdirat(current, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            let next = openat(current, name, flags, Mode::empty())?;
            reached = Some(next);
        }
        match reached {
            Some(directory) => Ok(directory),
            None => self.open(Path::new("/")),
        }
    }

    fn make_file(&self, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
        match beneath::open(parent, Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        self.check_own(parent)?;
        file_in(parent, name)
    }

    /// Does something with the directory that an entry is or will be in, which is made if it is missing.
    fn within_parent<T>(
        &self,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let name = path.file_name().ok_or_else(invalid)?;
        match path.parent() {
            None => Err(invalid()),
            Some(parent) if parent == Path::new("/") => act(self.root.as_fd(), name),
            Some(parent) => act(self.make_directory(parent)?.as_fd(), name),
        }
    }

    /// Refuses to make an entry in a filesystem of the host: a bind must not leave directories behind there.
    fn check_own(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        match self.is_own(directory)? {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn is_own(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        // Nothing is mounted on the root of the tree: it was opened as what it is.
        let is_root = directory.as_raw_fd() == self.root.as_raw_fd();
        Ok(is_root || self.own_devices.contains(&fstat(directory)?.st_dev))
    }
}

/// An open directory of the new root's own filesystems. What is made in it is made once.
pub(super) struct Own {
    directory: OwnedFd,
}

impl Own {
    /// Makes an empty file that was not there, and opens it.
    pub(super) fn file(&self, name: &str) -> io::Result<OwnedFd> {
        file_in(self.directory.as_fd(), OsStr::new(name))
    }

    /// Makes a symbolic link, unless something is there already.
    pub(super) fn link(&self, to: &str, name: &str) -> io::Result<()> {
        link_in(self.directory.as_fd(), Path::new(to), OsStr::new(name))
    }
}

fn file_in(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    Ok(openat(
        parent,
        name,
        flags,
        Mode::from_bits_truncate(0o444),
    )?)
}

fn link_in(parent: BorrowedFd<'_>, to: &Path, name: &OsStr) -> io::Result<()> {
    match symlinkat(to, parent, name) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells a directory from everything else.
pub(super) fn kind_of(object: impl AsFd) -> io::Result<Kind> {
    let status = nix::sys::stat::fstatat(object, "", AtFlags::AT_EMPTY_PATH)?;
    let format = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    Ok(if format == SFlag::S_IFDIR {
        Kind::Directory
    } else {
        Kind::File
    })
}
