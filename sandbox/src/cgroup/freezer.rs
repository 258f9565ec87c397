//! The freezer of a control group: every process in it stands still, and goes on.
//!
//! Owns the files of the two versions and the wait until the kernel says that all stand. It knows nothing of runs. Invariant:
//! what is told as frozen runs no instruction of the workload before it is thawed.
//!
//! A frozen process of version 2 dies of SIGKILL; one of version 1 when it is thawed (kernel documentation,
//! `cgroup-v1/freezer-subsystem.rst` and `cgroup-v2.rst`).

use super::reading::entry;
use crate::pausing::PauseMeans;
use crate::wire;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time until all stand still; it takes milliseconds for a thousand processes. One that waits for a device in the kernel may
/// take for ever, and then signals have to do.
const FREEZE_LIMIT: Duration = Duration::from_secs(1);

/// Pause between two looks whether all stand.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The file of version 2.
const FREEZE: &str = "cgroup.freeze";

/// The file of version 1.
const STATE: &str = "freezer.state";

/// Freezes a group and waits until every process in it stands.
///
/// # Errors
/// When the kernel has no freezer there, or `TimedOut`; the group has to be thawed then.
pub(super) fn freeze(directory: &Path, means: PauseMeans) -> io::Result<()> {
    let gives_up_at = Instant::now() + FREEZE_LIMIT;
    loop {
        let stands = match means {
            PauseMeans::CgroupV2 => {
                write(&directory.join(FREEZE), "1")?;
                entry(directory, "cgroup.events", "frozen") == Some(1)
            }
            // Written again and again: what was forked meanwhile is frozen by the next write.
            PauseMeans::CgroupV1 => {
                write(&directory.join(STATE), "FROZEN")?;
                fs::read_to_string(directory.join(STATE))?.trim_end() == "FROZEN"
            }
            PauseMeans::Signals => return Err(io::ErrorKind::Unsupported.into()),
        };
        if stands {
            return Ok(());
        }
        if Instant::now() >= gives_up_at {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wire::pause(LOOK_INTERVAL);
    }
}

/// Lets a group go on, whichever version it is of; one without a freezer goes on anyway.
pub(crate) fn thaw(directory: &Path) -> io::Result<()> {
    for (file, text) in [(FREEZE, "0"), (STATE, "THAWED")] {
        match write(&directory.join(file), text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{FREEZE, STATE, freeze, thaw};
    use crate::pausing::PauseMeans;
    use std::fs;

    #[test]
    fn a_group_stands_when_the_kernel_says_so_and_not_before() {
        let group = tempfile::tempdir().unwrap();
        let path = group.path();
        // Without the files there is no freezer, and nothing to thaw.
        assert!(freeze(path, PauseMeans::CgroupV2).is_err());
        assert!(freeze(path, PauseMeans::CgroupV1).is_err());
        assert!(thaw(path).is_ok());
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        fs::write(path.join(FREEZE), "0").unwrap();
        fs::write(path.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let error = freeze(path, PauseMeans::CgroupV2).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        fs::write(path.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        freeze(path, PauseMeans::CgroupV2).unwrap();
        assert_eq!(fs::read_to_string(path.join(FREEZE)).unwrap(), "1");
        fs::write(path.join(STATE), "").unwrap();
        freeze(path, PauseMeans::CgroupV1).unwrap();
        thaw(path).unwrap();
        assert_eq!(fs::read_to_string(path.join(FREEZE)).unwrap(), "0");
        assert_eq!(fs::read_to_string(path.join(STATE)).unwrap(), "THAWED");
    }
}
