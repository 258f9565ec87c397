//! A directory tree in which mount points are made and opened.
//!
//! Owns the making of targets. Never follows a link and never makes an entry in a filesystem of the host.

use crate::beneath;
use crate::failure::{At, Failure, Step};
use crate::plan::Kind;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
        self.make_file(path).at(Step::MakeEntry, path.display())
    }

    /// Makes a symbolic link, unless something is there already.
    pub(super) fn link(&self, to: &Path, path: &Path) -> Result<(), Failure> {
        let made =
            self.parent_of(path)
                .and_then(|(parent, name)| match symlinkat(to, &parent, name) {
                    Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(errno.into()),
                });
        made.at(Step::MakeEntry, path.display())
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
        let mut current = self.open(Path::new("/"))?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let next = match openat(&current, name, flags, Mode::empty()) {
                Err(nix::errno::Errno::ENOENT) => {
                    self.check_own(&current)?;
                    mkdirat(&current, name, Mode::from_bits_truncate(0o755))?;
                    openat(&current, name, flags, Mode::empty())?
                }
                other => other?,
            };
            current = next;
        }
        Ok(current)
    }

    fn make_file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (parent, name) = self.parent_of(path)?;
        self.check_own(&parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::from_bits_truncate(0o444))?;
        self.open(path)
    }

    fn parent_of<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let parent = self.make_directory(path.parent().ok_or_else(invalid)?)?;
        Ok((parent, path.file_name().ok_or_else(invalid)?))
    }

    /// Refuses to make an entry in a filesystem of the host: a bind must not leave directories behind there.
    fn check_own(&self, directory: &OwnedFd) -> io::Result<()> {
        if self.own_devices.contains(&fstat(directory)?.st_dev) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        }
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
