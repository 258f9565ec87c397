//! The null device of a launch: the sandbox's own in the place of the host's.
//!
//! Owns that exchange. Never touches another descriptor. Invariant: a launch reads and writes exactly what it was given.
//!
//! A file of the host that a launch is given stays usable, but behind the Landlock domain it cannot be opened again through
//! /proc/self/fd. `/dev/stdin` is such a name, and the null device is what most launches have there.

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use std::os::fd::OwnedFd;

/// Major and minor number of the null device, devices.txt of the kernel.
const NULL_DEVICE: (u64, u64) = (1, 3);

/// The same descriptor, or one of the null device inside.
pub(super) fn own(given: OwnedFd) -> OwnedFd {
    opened_inside(&given).unwrap_or(given)
}

/// None for everything that is no null device, and where there is none inside.
fn opened_inside(given: &OwnedFd) -> Option<OwnedFd> {
    let status = fstat(given).ok()?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    let (major, minor) = NULL_DEVICE;
    if kind != SFlag::S_IFCHR || status.st_rdev != makedev(major, minor) {
        return None;
    }
    let flags = OFlag::from_bits_truncate(fcntl(given, FcntlArg::F_GETFL).ok()?);
    let access = flags & OFlag::O_ACCMODE;
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    open("/dev/null", flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::own;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::{AsRawFd, OwnedFd};

    #[test]
    fn the_null_device_is_opened_anew_as_it_was_and_nothing_else_is() {
        let given = OwnedFd::from(File::open("/dev/null").unwrap());
        let number = given.as_raw_fd();
        let mut opened = File::from(own(given));
        assert_ne!(opened.as_raw_fd(), number);
        assert_eq!(opened.read(&mut [0]).unwrap(), 0);
        assert!(opened.write(&[0]).is_err(), "it was given to be read");

        let given = OwnedFd::from(File::open("/dev/zero").unwrap());
        let number = given.as_raw_fd();
        assert_eq!(own(given).as_raw_fd(), number);
    }
}
