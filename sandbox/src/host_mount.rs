//! Detached copies of the host's mounts.
//!
//! Owns the two ways to get one: by the plan's descriptor, where the launch helper may copy mounts of the host, and by
//! the path again inside the new mount namespace, where the kernel wants the mount to be of that namespace.
//! Invariant: the copy shows the object that the plan opened, and has its restrictions before anyone can see it.

use crate::failure::{At, Failure, Step};
use crate::identity::{self, Identity};
use crate::plan::{BindSpec, Role, open_exactly};
use crate::policy::Access;
use crate::sys::mount::{self, Reach};
use crate::sys::process::{self, clone_into};
use crate::wire::{self, Deadline};
use nix::libc;
use nix::sys::stat::fstat;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A day: the id namespace's process ends when its pair is closed, not by time.
const UNTIL_CLOSED: Duration = Duration::from_secs(86_400);

/// Whether file owners are translated on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    Translated,
    AsTheyAre,
}

/// Copies a mount of the host through the plan's descriptor; only an administrator may.
pub(crate) fn copy(
    bind: &BindSpec,
    source: BorrowedFd<'_>,
    identity: Identity,
) -> Result<(OwnedFd, Owners), Failure> {
    let copied = mount::copy_tree(source, Reach::Tree).at(Step::CopyMount, &bind.source)?;
    let is_foreign = (bind.owner, bind.group) != (identity.host_user, identity.host_group);
    let mut owners = Owners::AsTheyAre;
    let mut copied = copied;
    if bind.role != Role::System && bind.access == Access::ReadWrite && is_foreign
        || bind.role == Role::Workspace && is_foreign
    {
        let namespace = id_namespace(bind, identity)?;
        let mapped = mount::map_ids(copied.as_fd(), namespace.as_fd(), Reach::Tree).or_else(|_| {
            // One filesystem in the tree that knows no id maps refuses them for all: take the outermost alone.
            copied = mount::copy_tree(source, Reach::One)?;
            mount::map_ids(copied.as_fd(), namespace.as_fd(), Reach::One)
        });
        match mapped {
            Ok(()) => owners = Owners::Translated,
            Err(error) if bind.access == Access::ReadWrite => {
                return Err(Failure::new(Step::MapOwners, &bind.source, &error));
            }
            Err(_) => {}
        }
    }
    restrict(bind, copied.as_fd())?;
    Ok((copied, owners))
}

/// Opens the path again inside the sandbox's mount namespace, compares it with the plan's descriptor, and copies it.
pub(crate) fn copy_by_path(bind: &BindSpec, planned: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let found = open_exactly(bind.source.as_path()).at(Step::CheckSource, &bind.source)?;
    let now = fstat(&found).at(Step::CheckSource, &bind.source)?;
    let then = fstat(planned).at(Step::CheckSource, &bind.source)?;
    if (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino) {
        let error = io::Error::from_raw_os_error(libc::ESTALE);
        return Err(Failure::new(Step::CheckSource, &bind.source, &error));
    }
    let copied = mount::copy_tree(found.as_fd(), Reach::Tree).at(Step::CopyMount, &bind.source)?;
    restrict(bind, copied.as_fd())?;
    Ok(copied)
}

fn restrict(bind: &BindSpec, copied: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut attributes = mount::NO_SETUID | mount::NO_DEVICES;
    if bind.access == Access::ReadOnly {
        attributes |= mount::READ_ONLY;
    }
    mount::restrict(copied, attributes, Reach::Tree).at(Step::RestrictMount, &bind.source)
}

/// Makes a user namespace whose maps take the owner on disk to the sandbox's id on the host.
fn id_namespace(bind: &BindSpec, identity: Identity) -> Result<OwnedFd, Failure> {
    let (ours, theirs) = wire::pair().at(Step::MapOwners, &bind.source)?;
    let child =
        clone_into(libc::CLONE_NEWUSER, None).at(Step::CreateNamespaces, "the id-mapped bind")?;
    let Some(pid) = child else {
        drop(ours);
        let _ = wire::wait_readable(theirs.as_fd(), Deadline::after(UNTIL_CLOSED));
        process::exit_now(0);
    };
    drop(theirs);
    identity::write_map(pid, "uid_map", bind.owner, identity.host_user)?;
    identity::write_map(pid, "gid_map", bind.group, identity.host_group)?;
    let namespace = File::open(format!("/proc/{pid}/ns/user")).at(Step::MapOwners, &bind.source)?;
    drop(ours);
    Ok(namespace.into())
}
