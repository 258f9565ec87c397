//! A workspace whose changes are kept apart: overlayfs in the sandbox's own user namespace, the host's files below and a tmpfs
//! above.
//!
//! Owns the places in which the layers are while the overlay is made. Never writes to the host's files: their mount is
//! read-only, and the kernel copies what is changed.

use super::place::Place;
use super::tmpfs;
use crate::failure::Failure;
use crate::plan::SCRATCH;
use crate::protocol::Overlay;
use crate::sys::mount;
use nix::sys::stat::fstat;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The permissions of a directory, of its mode.
const PERMISSIONS: u32 = 0o7777;

/// Lays an empty tmpfs of a size over a detached mount; `merged` of what it returns, the two as one, is a detached mount.
pub(super) fn over(place: &mut Place, lower: BorrowedFd<'_>, bytes: u64) -> io::Result<Overlay> {
    let scratch = Path::new(SCRATCH);
    let known = |failure: Failure| io::Error::from_raw_os_error(failure.errno);
    // The layers have to be mounted somewhere; they stay in sight of the overlay when the scratch directory is gone.
    let attached = |place: &Place, name: &str, mount: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        let path = scratch.join(name);
        let target = place.directory(&path).map_err(known)?;
        mount::attach(mount, target.as_fd())?;
        place.open(&path)
    };
    let below = attached(place, "below", lower)?;
    let above = tmpfs(bytes, "0700", "above").map_err(known)?;
    let above_root = attached(place, "above", above.as_fd())?;
    let changes = Place::new(above).map_err(known)?;
    // What the directory itself shows is taken from the layer above.
    let mode = fstat(&below)?.st_mode & PERMISSIONS;
    changes.own_directory("changes", mode).map_err(known)?;
    changes.own_directory("work", 0o700).map_err(known)?;
    drop(above_root);
    let (upper, work) = (
        changes.open(Path::new("changes"))?,
        changes.open(Path::new("work"))?,
    );
    let overlay = mount::open_filesystem(c"overlay")?;
    for (key, directory) in [
        (c"lowerdir", &below),
        (c"upperdir", &upper),
        (c"workdir", &work),
    ] {
        let path = CString::new(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        mount::configure(overlay.as_fd(), key, &path)?;
    }
    // In a user namespace the kernel lets nobody write the attributes that it would use otherwise (overlayfs.rst).
    mount::switch_on(overlay.as_fd(), c"userxattr")?;
    mount::create(overlay.as_fd())?;
    let merged = mount::detached(overlay.as_fd(), mount::NO_SETUID | mount::NO_DEVICES)?;
    Ok(Overlay {
        above: upper,
        below,
        merged,
    })
}
