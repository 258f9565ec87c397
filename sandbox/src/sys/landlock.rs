//! The version of Landlock.
//!
//! Owns one question. Rules are the crate `landlock`'s, which keeps the version to itself.

use super::check;
use nix::libc;
use std::io;

/// Asks for the version in place of a ruleset, landlock_create_ruleset(2).
const VERSION: libc::c_ulong = 1;

/// Returns the kernel's version of Landlock.
///
/// ENOSYS tells that the kernel was built without it, EOPNOTSUPP that it was turned off at boot.
pub(crate) fn version() -> io::Result<u32> {
    // SAFETY: with VERSION the kernel follows no pointer, and a size of zero goes with the null one.
    let version = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    })?;
    u32::try_from(version).map_err(|_| io::ErrorKind::InvalidData.into())
}
