//! What processes take, read from /proc, where no control group counts it.
//!
//! Owns the reading of proc_pid_statm(5) and proc_pid_smaps(5), and of the file systems in memory. Never signals anything.
//! Invariant: memory that processes share is never a reason to say that a limit was passed: it is counted once before that.

use crate::policy::OUTPUT;
use crate::process_table::Entry;
use nix::sys::statvfs::statvfs;
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What a workload takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Memory of its processes and of its files in memory, in bytes.
    pub memory_bytes: u64,
    /// Its processes and threads.
    pub pids: u64,
}

/// Files of an isolated sandbox that are memory: /tmp is one file system with home and /dev/shm.
const IN_MEMORY: [&str; 2] = ["/tmp", OUTPUT];

/// What a process takes.
#[derive(Debug, Clone, Copy)]
enum Count {
    /// All that is resident, shared memory in full. Quick.
    Resident,
    /// Shared memory by its share; takes the kernel about a millisecond for 100 MB.
    Proportional,
}

/// Reads what live processes take, and files in memory where a sandbox has its own: `in_memory` are those beside the usual
/// ones. Shared memory is counted once only if it matters, beyond `bound` bytes.
pub(crate) fn by(live: &[Entry], in_memory: Option<&[PathBuf]>, bound: u64) -> Taken {
    let pids = live.iter().map(|entry| entry.threads).sum();
    let files = in_memory.map_or(0, files);
    let all = |count| {
        let taken = live.iter().map(|entry| memory(entry.pid, count));
        taken.fold(files, u64::saturating_add)
    };
    let resident = all(Count::Resident);
    let memory_bytes = if resident > bound {
        all(Count::Proportional).min(resident)
    } else {
        resident
    };
    Taken { memory_bytes, pids }
}

/// Memory of a process; nothing if it is gone.
fn memory(pid: i32, count: Count) -> u64 {
    match count {
        Count::Resident => pages(pid).map_or(0, |(resident, _)| resident),
        Count::Proportional => proportional(pid)
            // What cannot be looked into is counted without what it may share with others.
            .or_else(|| pages(pid).map(|(resident, shared)| resident.saturating_sub(shared)))
            .unwrap_or(0),
    }
}

/// Resident and shared memory, in bytes.
fn pages(pid: i32) -> Option<(u64, u64)> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    let page = u64::try_from(page).ok()?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = statm.split_ascii_whitespace().skip(1);
    let mut next = || -> Option<u64> { numbers.next()?.parse().ok() };
    Some((next()?.saturating_mul(page), next()?.saturating_mul(page)))
}

fn proportional(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?;
        kilobytes.parse::<u64>().ok()?.checked_mul(1_024)
    })
}

fn files(further: &[PathBuf]) -> u64 {
    let places = IN_MEMORY.iter().map(Path::new);
    let places = places.chain(further.iter().map(PathBuf::as_path));
    let used = places.filter_map(|path| {
        let statistics = statvfs(path).ok()?;
        let blocks = statistics.blocks().checked_sub(statistics.blocks_free())?;
        blocks.checked_mul(statistics.fragment_size())
    });
    used.sum()
}

#[cfg(test)]
mod tests {
    use super::{Count, by, memory};
    use crate::process_table;

    #[test]
    fn our_own_memory_is_read_and_shared_memory_counts_for_less() {
        let held = vec![1_u8; 32 << 20];
        let own = i32::try_from(std::process::id()).unwrap();
        let resident = memory(own, Count::Resident);
        let proportional = memory(own, Count::Proportional);
        assert!(proportional >= 32 << 20, "{proportional}");
        assert!(resident >= proportional, "{resident} {proportional}");
        let entry = process_table::read(own).unwrap();
        let quick = by(std::slice::from_ref(&entry), None, u64::MAX);
        let exact = by(&[entry], None, 0);
        assert!(quick.memory_bytes >= exact.memory_bytes);
        assert!(quick.pids >= 1);
        assert_eq!(held.len(), 32 << 20);
    }
}
