//! Many sandboxes leave nothing behind.

use std::fs;
use std::path::Path;

use super::exec;

/// Sandboxes of one round; `STOCKADE_SOAK_ROUNDS=5` makes 1,000 of them.
const SANDBOXES: u32 = 200;

/// What a host would have more of if a sandbox left something.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    descriptors: usize,
    mounts: usize,
    groups: usize,
    children: usize,
}

impl Traces {
    fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).unwrap().count();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        Self {
            descriptors: count("/proc/self/fd"),
            mounts: mounts.lines().count(),
            groups: groups_below(Path::new("/sys/fs/cgroup"), 4),
            children: children.split_whitespace().count(),
        }
    }
}

/// Counts control groups of exec, some levels deep.
fn groups_below(directory: &Path, levels: u32) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let directories = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .map(|entry| {
            let is_ours = entry
                .file_name()
                .to_string_lossy()
                .starts_with("stockade-exec-");
            let below = match levels {
                0 => 0,
                levels => groups_below(&entry.path(), levels - 1),
            };
            usize::from(is_ours) + below
        })
        .sum()
}

fn rounds() -> u32 {
    let rounds = std::env::var("STOCKADE_SOAK_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

#[test]
fn two_hundred_sandboxes_leave_no_process_descriptor_mount_or_group() {
    let directory = tempfile::tempdir().unwrap();
    let mark = super::mark();
    let before = Traces::now();
    for number in 0..SANDBOXES * rounds() {
        // Every tenth has a control group, of which a hundred each second would measure the kernel alone.
        let limits: &[&str] = match number % 10 {
            0 => &["--memory", "64MiB", "--pids", "50"],
            _ => &[],
        };
        let script = format!("setsid sleep {mark} & exit 4");
        let status = exec(directory.path())
            .args(limits)
            .args(["--", "sh", "-c", &script])
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(4));
    }
    assert_eq!(super::marked(&["sleep", &mark]), [0; 0]);
    // Other tests of this process run beside this one and have descriptors and children of their own.
    let after = Traces::now();
    assert_eq!(after.mounts, before.mounts);
    assert_eq!(after.children, before.children);
    assert!(after.groups <= before.groups + 2, "{before:?} {after:?}");
    assert!(
        after.descriptors < before.descriptors + 100,
        "{before:?} {after:?}"
    );
}
