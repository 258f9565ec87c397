//! How often the kernel killed for want of memory where this process is.
//!
//! Owns the finding of the count. Never does: hold a file open, or say who was killed.
//! Invariant: two counts are compared only where they are of one group.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a process sees its groups (cgroups(7)).
const OWN_GROUPS: &str = "/proc/self/cgroup";

/// Where systems and engines mount the tree of version 2, and that of the memory controller of version 1.
const TREES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];

/// The kills that the group of this process has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OomKills {
    file: PathBuf,
    count: u64,
}

impl OomKills {
    /// Reads the count; none where no group tells it.
    pub(crate) fn read() -> Option<Self> {
        let groups = fs::read_to_string(OWN_GROUPS).ok()?;
        files(&groups).into_iter().find_map(Self::of)
    }

    fn of(file: PathBuf) -> Option<Self> {
        let count = count(&fs::read_to_string(&file).ok()?)?;
        Some(Self { file, count })
    }

    /// How many came since `before`; 0 for another group, whose past is unknown.
    pub(crate) fn since(&self, before: &Self) -> u64 {
        if self.file == before.file {
            self.count.saturating_sub(before.count)
        } else {
            0
        }
    }
}

/// Where the count may stand, best first: kills in groups below are none of ours, so version 2 is asked for what is local. A
/// container may see its own group as the root of the tree, whatever the path says.
fn files(groups: &str) -> Vec<PathBuf> {
    let [unified, legacy] = TREES.map(Path::new);
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (tree, file) = if controllers.is_empty() {
            (unified, "memory.events.local")
        } else if controllers.split(',').any(|name| name == "memory") {
            (legacy, "memory.oom_control")
        } else {
            continue;
        };
        let below = path.trim_start_matches('/');
        found.extend([tree.join(below).join(file), tree.join(file)]);
    }
    found
}

/// The line `oom_kill N` of either file.
fn count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_looked_for_in_the_group_and_at_the_root() {
        let cases = [
            (
                "0::/a/b\n",
                vec![
                    "/sys/fs/cgroup/a/b/memory.events.local",
                    "/sys/fs/cgroup/memory.events.local",
                ],
            ),
            (
                "5:cpu,cpuacct:/x\n4:memory:/docker/1\nnonsense\n",
                vec![
                    "/sys/fs/cgroup/memory/docker/1/memory.oom_control",
                    "/sys/fs/cgroup/memory/memory.oom_control",
                ],
            ),
            ("", vec![]),
        ];
        for (groups, expected) in cases {
            let expected: Vec<_> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(files(groups), expected, "{groups}");
        }
    }

    #[test]
    fn the_count_is_found_in_both_files() {
        for (text, expected) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            (
                "low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n",
                Some(2),
            ),
            ("oom_kill x\n", None),
            ("", None),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    #[test]
    fn what_another_group_has_seen_is_not_counted() {
        let of = |file: &str, count| OomKills {
            file: file.into(),
            count,
        };
        assert_eq!(of("a", 5).since(&of("a", 3)), 2);
        assert_eq!(of("a", 3).since(&of("a", 5)), 0);
        assert_eq!(of("b", 5).since(&of("a", 3)), 0);
    }
}
