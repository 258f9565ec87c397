//! The /proc of the sandbox.
//!
//! Owns the lists of what is masked and what is read-only. Never shows the host's procfs: where a fresh one is refused,
//! there is none, and the layer is reported as missing.

use super::Scratch;
use super::place::Place;
use crate::failure::{At, Failure, Step};
use crate::policy::Proc;
use crate::sys::mount::{self, Reach};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Details of the host, and switches that act on it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// Subtrees that stay readable. They are copied and restricted so that not even a wrong id map makes them writable.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/pressure",
    "/proc/sys",
];

/// Makes /proc.
pub(super) fn make(place: &mut Place, scratch: &Scratch, proc: Proc) -> Result<(), Failure> {
    let name = "/proc";
    let target = place.directory(Path::new(name))?;
    let filesystem = mount::open_filesystem(c"proc").at(Step::MakeFilesystem, name)?;
    mount::create(filesystem.as_fd()).at(Step::MakeFilesystem, name)?;
    let attributes = mount::NO_SETUID | mount::NO_DEVICES | mount::NO_EXEC;
    let mounted = mount::detached(filesystem.as_fd(), attributes).at(Step::MakeFilesystem, name)?;
    mount::attach(mounted.as_fd(), target.as_fd()).at(Step::AttachMount, name)?;
    match proc {
        Proc::Masked => {}
        Proc::Whole => return Ok(()),
    }
    for path in READ_ONLY {
        let directory = match place.open(Path::new(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.at(Step::CopyMount, path)?,
        };
        let copied = mount::copy_tree(directory.as_fd(), Reach::One).at(Step::CopyMount, path)?;
        mount::restrict(copied.as_fd(), attributes | mount::READ_ONLY, Reach::One)
            .at(Step::RestrictMount, path)?;
        mount::attach(copied.as_fd(), directory.as_fd()).at(Step::AttachMount, path)?;
    }
    for path in MASKED {
        scratch.mask_if_reachable(place, Path::new(path))?;
    }
    Ok(())
}
