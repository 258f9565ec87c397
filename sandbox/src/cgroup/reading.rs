//! What the kernel counted in a group.
//!
//! Owns the files and their units in both versions. Never writes but to begin a new peak.
//! Invariant: what a kernel does not tell is absent, never zero.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a group used, and how often it was refused or killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReading {
    /// Memory in use, files in memory and tmpfs included, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most of it since the last [`Sandbox::begin_peak`](crate::Sandbox::begin_peak) where the kernel allows that, else
    /// since the beginning, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// Processes and threads, the in-sandbox init not among them.
    pub pids: Option<u64>,
    /// The most of them.
    pub pids_peak: Option<u64>,
    /// Forks that the limit refused.
    pub forks_refused: Option<u64>,
    /// Processor time of all that ever was in the group.
    pub cpu_time: Option<Duration>,
    /// Time for which the group had to wait because of its quota.
    pub throttled: Option<Duration>,
}

impl GroupReading {
    /// Takes what another directory of the same group tells and this one does not.
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            memory_peak_bytes: self.memory_peak_bytes.or(other.memory_peak_bytes),
            oom_kills: self.oom_kills.or(other.oom_kills),
            pids: self.pids.or(other.pids),
            pids_peak: self.pids_peak.or(other.pids_peak),
            forks_refused: self.forks_refused.or(other.forks_refused),
            cpu_time: self.cpu_time.or(other.cpu_time),
            throttled: self.throttled.or(other.throttled),
        }
    }
}

/// Reads a directory of version 1, whichever controllers are there.
pub(super) fn legacy(directory: &Path) -> GroupReading {
    let number = |file| number(directory, file);
    GroupReading {
        memory_bytes: number("memory.usage_in_bytes"),
        memory_peak_bytes: number("memory.max_usage_in_bytes"),
        oom_kills: entry(directory, "memory.oom_control", "oom_kill"),
        pids: number("pids.current"),
        pids_peak: number("pids.peak"),
        forks_refused: entry(directory, "pids.events", "max"),
        cpu_time: number("cpuacct.usage").map(Duration::from_nanos),
        throttled: entry(directory, "cpu.stat", "throttled_time").map(Duration::from_nanos),
    }
}

/// Reads a directory of version 2.
pub(super) fn unified(directory: &Path) -> GroupReading {
    let number = |file| number(directory, file);
    let cpu = |key| entry(directory, "cpu.stat", key).map(Duration::from_micros);
    GroupReading {
        memory_bytes: number("memory.current"),
        memory_peak_bytes: number("memory.peak"),
        oom_kills: entry(directory, "memory.events", "oom_kill"),
        pids: number("pids.current"),
        pids_peak: number("pids.peak"),
        forks_refused: entry(directory, "pids.events", "max"),
        cpu_time: cpu("usage_usec"),
        throttled: cpu("throttled_usec"),
    }
}

/// A file with one number.
pub(super) fn number(directory: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    text.trim_end().parse().ok()
}

/// A value of a file with a key and a value in each line.
pub(super) fn entry(directory: &Path, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::{GroupReading, legacy, unified};
    use std::fs;
    use std::time::Duration;

    #[test]
    fn both_versions_are_read_in_their_units_and_what_is_not_told_is_absent() {
        let old = tempfile::tempdir().unwrap();
        let new = tempfile::tempdir().unwrap();
        for (directory, file, text) in [
            (&old, "memory.usage_in_bytes", "4096\n"),
            (
                &old,
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            ),
            (&old, "cpu.stat", "nr_periods 9\nthrottled_time 2000000\n"),
            (
                &new,
                "memory.events",
                "low 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n",
            ),
            (&new, "cpu.stat", "usage_usec 1500\nthrottled_usec 40\n"),
            (&new, "pids.events", "max 12\n"),
        ] {
            fs::write(directory.path().join(file), text).unwrap();
        }
        let expected = GroupReading {
            memory_bytes: Some(4096),
            oom_kills: Some(3),
            throttled: Some(Duration::from_millis(2)),
            ..GroupReading::default()
        };
        let old = legacy(old.path());
        assert_eq!(old, expected);
        let expected = GroupReading {
            oom_kills: Some(1),
            forks_refused: Some(12),
            cpu_time: Some(Duration::from_micros(1500)),
            throttled: Some(Duration::from_micros(40)),
            ..GroupReading::default()
        };
        let new = unified(new.path());
        assert_eq!(new, expected);
        assert_eq!(old.merge(new).forks_refused, Some(12));
        assert_eq!(old.merge(new).oom_kills, Some(3));
    }
}
