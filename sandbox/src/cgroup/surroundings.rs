//! The control group around the whole program: the one that a container engine makes and limits.
//!
//! Owns the look at its limit of memory and its count of kills, for a sandbox that has no group of its own. Never writes.
//! Invariant: a group without a limit of its own is nobody's surroundings: what is killed there need not be ours.

use super::host::Host;
use super::reading::{self, GroupReading};
use super::{Controller, reading::entry};
use std::path::PathBuf;

/// From here on a limit of version 1 is none: the kernel rounds its greatest number to pages.
const NO_LIMIT: u64 = 1 << 62;

/// A group with a limit of memory, in which the calling process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    directory: PathBuf,
    /// The file with the key `oom_kill`.
    counts: &'static str,
    memory_bytes: u64,
}

impl Surroundings {
    /// Looks for it. Reads a few small files.
    #[must_use]
    pub fn find() -> Option<Self> {
        Self::of(&Host::find())
    }

    fn of(host: &Host) -> Option<Self> {
        let legacy = host.legacy.get(&Controller::Memory).and_then(|directory| {
            let limit = entry(directory, "memory.stat", "hierarchical_memory_limit")?;
            Some(Self {
                directory: directory.clone(),
                counts: "memory.oom_control",
                memory_bytes: limit,
            })
        });
        let unified = || {
            let directory = &host.unified.as_ref()?.own;
            let limit = reading::number(directory, "memory.max")?;
            Some(Self {
                directory: directory.clone(),
                counts: "memory.events",
                memory_bytes: limit,
            })
        };
        legacy
            .or_else(unified)
            .filter(|found| found.memory_bytes < NO_LIMIT)
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// What the kernel killed in it; nothing else of it is the workload's alone.
    #[must_use]
    pub fn reading(&self) -> GroupReading {
        GroupReading {
            oom_kills: entry(&self.directory, self.counts, "oom_kill"),
            ..GroupReading::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Unified;
    use super::{Controller, Host, Surroundings};
    use std::fs;
    use std::path::Path;

    fn write(directory: &Path, file: &str, text: &str) {
        fs::write(directory.join(file), text).unwrap();
    }

    #[test]
    fn the_group_around_counts_only_where_it_has_a_limit() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (old, new) = (old.path(), new.path());
        let mut host = Host {
            unified: Some(Unified {
                mount: new.to_owned(),
                own: new.to_owned(),
            }),
            ..Host::default()
        };
        assert_eq!(Surroundings::of(&host), None);
        write(new, "memory.max", "max\n");
        assert_eq!(Surroundings::of(&host), None);
        write(new, "memory.max", "1048576\n");
        write(new, "memory.events", "low 0\noom 4\noom_kill 2\n");
        let found = Surroundings::of(&host).unwrap();
        assert_eq!(found.memory_bytes(), 1_048_576);
        assert_eq!(found.reading().oom_kills, Some(2));
        // The memory of a hybrid host is limited in version 1.
        write(new, "memory.max", "max\n");
        host.legacy.insert(Controller::Memory, old.to_owned());
        let limit = |bytes: u64| format!("cache 0\nhierarchical_memory_limit {bytes}\n");
        write(old, "memory.stat", &limit(9_223_372_036_854_771_712));
        assert_eq!(Surroundings::of(&host), None);
        write(old, "memory.stat", &limit(4096));
        write(old, "memory.oom_control", "under_oom 0\noom_kill 3\n");
        let found = Surroundings::of(&host).unwrap();
        assert_eq!(
            (found.memory_bytes(), found.reading().oom_kills),
            (4096, Some(3))
        );
    }
}
