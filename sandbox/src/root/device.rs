//! The /dev of the sandbox: devices that keep no state, and terminals of its own.
//!
//! Owns the list of devices. Never makes a device file: a user namespace may not, so the host's are bound.

use super::place::Place;
use crate::beneath;
use crate::failure::{At, Failure, Step};
use crate::plan::open_exactly;
use crate::sys::mount::{self, Reach};
use nix::libc;
use nix::sys::stat::{SFlag, fstat, makedev};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Where they are.
const DEV: &str = "/dev";

/// Path and device number of each device, devices.txt of the kernel.
const DEVICES: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Copies the mounts of the host's devices, after a look that each is the device that its name says.
pub(super) fn copy() -> Result<Vec<OwnedFd>, Failure> {
    let host = open_exactly(Path::new(DEV)).at(Step::CheckSource, DEV)?;
    DEVICES
        .iter()
        .map(|&(path, major, minor)| {
            let device = beneath::open(host.as_fd(), Path::new(name_of(path)))
                .at(Step::CheckSource, path)?;
            if !is_device(&device, (major, minor)).at(Step::CheckSource, path)? {
                let error = io::Error::from_raw_os_error(libc::ENODEV);
                return Err(Failure::new(Step::CheckSource, path, &error));
            }
            let copied = mount::copy_tree(device.as_fd(), Reach::One).at(Step::CopyMount, path)?;
            let attributes = mount::NO_SETUID | mount::NO_EXEC;
            mount::restrict(copied.as_fd(), attributes, Reach::One)
                .at(Step::RestrictMount, path)?;
            Ok(copied)
        })
        .collect()
}

/// The name below /dev.
fn name_of(path: &'static str) -> &'static str {
    path.strip_prefix("/dev/").unwrap_or(path)
}

/// Tells whether an open file is the device of that number.
pub(crate) fn is_device(file: &OwnedFd, (major, minor): (u64, u64)) -> nix::Result<bool> {
    let status = fstat(file)?;
    let is_character = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    Ok(is_character && status.st_rdev == makedev(major, minor))
}

/// The devices that keep no state, and with terminals also the one that makes them.
pub(crate) fn devices(with_terminals: bool) -> impl Iterator<Item = (&'static str, (u64, u64))> {
    let terminals = with_terminals.then_some(("/dev/ptmx", 5, 2));
    let all = DEVICES.into_iter().chain(terminals);
    all.map(|(path, major, minor)| (path, (major, minor)))
}

/// Makes /dev from the copies.
pub(super) fn make(place: &mut Place, copies: Vec<OwnedFd>) -> Result<(), Failure> {
    let own = place.own(Path::new(DEV))?;
    for ((path, _, _), copied) in DEVICES.iter().zip(copies) {
        let target = own.file(name_of(path)).at(Step::MakeEntry, path)?;
        mount::attach(copied.as_fd(), target.as_fd()).at(Step::AttachMount, path)?;
    }
    for (to, path) in LINKS {
        own.link(to, name_of(path)).at(Step::MakeEntry, path)?;
    }
    let name = "/dev/pts";
    let terminals = mount::open_filesystem(c"devpts").at(Step::MakeFilesystem, name)?;
    for (key, value) in [(c"ptmxmode", c"0666"), (c"mode", c"0620")] {
        mount::configure(terminals.as_fd(), key, value).at(Step::MakeFilesystem, name)?;
    }
    mount::create(terminals.as_fd()).at(Step::MakeFilesystem, name)?;
    let attributes = mount::NO_SETUID | mount::NO_EXEC;
    let terminals =
        mount::detached(terminals.as_fd(), attributes).at(Step::MakeFilesystem, name)?;
    let target = place.directory(Path::new(name))?;
    mount::attach(terminals.as_fd(), target.as_fd()).at(Step::AttachMount, name)
}
