//! Groups that nobody uses any more.
//!
//! Owns their removal. Never removes a directory that is not on a file system of control groups or whose name is not ours;
//! a group with processes cannot be removed at all (EBUSY). Invariant: what is removed has no process, and had none for
//! [`LEAST_AGE`] where nobody says that its run is dead.

use super::GROUP_PREFIX;
use super::freezer;
use super::host::Host;
use super::place;
use crate::process_table::{self, Entry};
use crate::sweep::{KillReport, kill_until_gone};
use crate::sys::signal;
use crate::wire;
use nix::libc;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How old a group without processes is before somebody else than its owner removes it: a new one has none until its sandbox
/// is born, for which a build has 20 s.
const LEAST_AGE: Duration = Duration::from_secs(120);

/// Most groups that one look removes from a directory; the next one goes on.
const MAX_REMOVED: usize = 256;

/// First pause between two attempts to remove a group whose processes are ending.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Removes a directory of a group, again while it has processes; one that is gone is removed.
pub(crate) fn remove(directory: &Path, limit: Duration) -> io::Result<()> {
    let gives_up_at = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                if Instant::now() >= gives_up_at {
                    return Err(error);
                }
                // The kernel tells nobody when a group of version 1 gets empty.
                wire::pause(pause);
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            other => return other,
        }
    }
}

/// Kills every process of a group, as far as the caller may.
pub(super) fn kill(directory: &Path) {
    let at_once = fs::OpenOptions::new()
        .write(true)
        .open(directory.join("cgroup.kill"));
    if at_once.is_ok_and(|mut file| file.write_all(b"1").is_ok()) {
        return;
    }
    for pid in place::pids(directory).unwrap_or_default() {
        // 0 stands for a process of another pid namespace.
        if pid > 1 {
            let _ = signal::send(pid, libc::SIGKILL);
        }
    }
    // What is frozen in version 1 dies when it is thawed, and no sooner.
    let _ = freezer::thaw(directory);
}

/// Kills what lives in the groups that the record of a dead run names, again until nothing does or the limit is over, and
/// counts it. What dies by itself within 200 ms is not counted: it is on its way with those that held it. Anything that
/// is no group of ours is passed over, as are processes of another pid namespace, which have no number here.
pub fn kill_recorded_groups(directories: &[PathBuf], limit: Duration) -> KillReport {
    let ours: Vec<_> = directories.iter().filter(|path| is_ours(path)).collect();
    let living = || {
        let pids = ours
            .iter()
            .flat_map(|path| place::pids(path).unwrap_or_default());
        let entries = pids.filter(|pid| *pid > 1).filter_map(process_table::read);
        let mut entries: Vec<_> = entries.filter(|entry| entry.is_alive).collect();
        // In version 1 a process is in several groups of one run.
        entries.sort_unstable_by_key(|entry| entry.pid);
        entries.dedup_by_key(|entry| entry.pid);
        entries
    };
    // What is frozen in version 1 dies when it is thawed, and no sooner.
    for directory in &ours {
        let _ = freezer::thaw(directory);
    }
    let kill_all = |_: &[Entry]| {
        for directory in &ours {
            kill(directory);
        }
    };
    kill_until_gone(&living, &kill_all, limit)
}

/// Kills what is left in the groups that the record of a dead run names, and removes them. Anything that is no group of ours
/// is passed over. Returns how many are gone.
pub fn remove_recorded_groups(directories: &[PathBuf], limit: Duration) -> usize {
    let ours: Vec<_> = directories.iter().filter(|path| is_ours(path)).collect();
    // All of them before the first is waited for: what one of them froze is in the others as well.
    for directory in &ours {
        kill(directory);
    }
    let removed = ours.iter().filter(|path| remove(path, limit).is_ok());
    removed.count()
}

/// Removes groups of ours beside the one of this process that have no process and are old; at most 256 of a directory. They
/// are left when everything that could have removed them was killed at once. Returns how many.
pub fn remove_stale_groups() -> usize {
    let host = Host::find();
    let mut parents: Vec<PathBuf> = host.legacy.into_values().collect();
    if let Some(unified) = host.unified {
        // A supervisor in the leaf has its groups beside it.
        parents.extend(unified.own.parent().map(Path::to_path_buf));
        parents.push(unified.own);
    }
    parents.sort_unstable();
    parents.dedup();
    let removed = parents
        .iter()
        .map(|parent| remove_stale_in(parent, LEAST_AGE));
    removed.sum()
}

fn remove_stale_in(parent: &Path, least_age: Duration) -> usize {
    let Ok(entries) = fs::read_dir(parent) else {
        return 0;
    };
    let stale = entries.flatten().filter(|entry| {
        let made_at = entry.metadata().and_then(|metadata| metadata.modified());
        let age = made_at.ok().and_then(|at| at.elapsed().ok());
        is_ours(&entry.path()) && age.is_some_and(|age| age >= least_age)
    });
    let removed = stale.filter(|entry| fs::remove_dir(entry.path()).is_ok());
    removed.take(MAX_REMOVED).count()
}

fn is_ours(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let is_named = name.starts_with(GROUP_PREFIX) && name != place::LEAF;
    is_named
        && statfs(directory).is_ok_and(|statistics| {
            let kind = statistics.filesystem_type();
            kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC
        })
}

#[cfg(test)]
mod tests {
    use super::{remove_recorded_groups, remove_stale_in};
    use std::time::Duration;

    #[test]
    fn a_directory_that_is_no_group_is_never_removed() {
        let host = tempfile::tempdir().unwrap();
        let named = host.path().join("stockade-x");
        std::fs::create_dir(&named).unwrap();
        let recorded = std::slice::from_ref(&named);
        assert_eq!(remove_recorded_groups(recorded, Duration::ZERO), 0);
        assert_eq!(remove_stale_in(host.path(), Duration::ZERO), 0);
        assert_eq!(std::fs::read_dir(&named).unwrap().count(), 0);
    }
}
