//! The opening of what a bind shows.
//!
//! Owns the errors of planning. Never follows a link after the path was resolved once.

use super::Kind;
use super::resolve::resolve;
use crate::beneath;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a policy cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The source of a bind or the workspace cannot be opened.
    #[error("cannot open {}", path.display())]
    Source {
        /// The source as the policy names it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A target is where no bind may be.
    #[error("cannot bind at {}: {reason}", target.display())]
    Target {
        /// The target as the policy names it.
        target: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are more binds than a plan can carry.
    #[error("there are more than {limit} binds")]
    TooManyBinds {
        /// The limit.
        limit: usize,
    },
    /// A mask cannot be examined.
    #[error("cannot examine the masked path {}", path.display())]
    Mask {
        /// The mask as the policy names it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A masked path does not exist, but the workload could create it, so that nothing would hide it.
    #[error("the masked path {} does not exist and the workload could create it", path.display())]
    MaskMissing {
        /// The mask as the policy names it.
        path: PathBuf,
    },
    /// A bind shows what a mask hides.
    #[error("the bind of {} lies in the masked path {}", path.display(), mask.display())]
    MaskedSource {
        /// The source of the bind.
        path: PathBuf,
        /// The mask.
        mask: PathBuf,
    },
    /// Something shown contains what a mask hides, and without mounts nothing can hide it.
    #[error("the tier container cannot hide {}, which lies in what the workload is shown; name another place for it", path.display())]
    MaskShown {
        /// Where the workload would see it.
        path: PathBuf,
    },
    /// The workload may make mounts of its own, and could move what hides a masked path out of its way.
    #[error("with calls of the groups namespaces and mounts the workload could uncover {}, which lies where it may write; name another place for it", path.display())]
    MaskMovable {
        /// The masked path.
        path: PathBuf,
    },
    /// The policy asks for what only namespaces can do, or leaves off what stands in their place.
    #[error("the tier container has {0}")]
    NotInContainer(&'static str),
}

/// A source that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) descriptor: OwnedFd,
    pub(super) kind: Kind,
    pub(super) owner: u32,
    pub(super) group: u32,
}

/// Resolves a path once and opens the result without following any link. A link in one of `writable` is not followed.
pub(super) fn open(path: &Path, writable: &[PathBuf]) -> Result<Opened, PlanError> {
    let failed = |source: io::Error| PlanError::Source {
        path: path.to_path_buf(),
        source,
    };
    if !path.is_absolute() {
        return Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not absolute",
        )));
    }
    let resolved = resolve(path, writable).map_err(failed)?;
    let descriptor = open_exactly(&resolved).map_err(failed)?;
    let status = fstat(&descriptor).map_err(|errno| failed(errno.into()))?;
    let is_directory = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    Ok(Opened {
        path: resolved,
        descriptor,
        kind: if is_directory {
            Kind::Directory
        } else {
            Kind::File
        },
        owner: status.st_uid,
        group: status.st_gid,
    })
}

/// Opens a path, as a name only, and fails with ELOOP if any part of it is a link.
pub(crate) fn open_exactly(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open("/", flags, Mode::empty())?;
    beneath::open(root.as_fd(), path)
}
