//! Many sandboxes leave nothing behind.

use std::fs;
use std::path::Path;

use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::harness::run::binary;

/// Sandboxes of one round; `STOCKADE_SOAK_ROUNDS=5` makes 1,000 of them.
const SANDBOXES: u32 = 200;

/// The exit status of [`WATCHED`] when the caller has a mount more behind the command.
const LEFT_A_MOUNT: i32 = 99;

/// A command in a mount namespace of its own, whose mounts tell each other of every change: other tests mount and unmount
/// beside this one, and what a sandbox mounts must not reach its caller even where mounts are shared.
const WATCHED: &str = r#"mount --make-rshared / || exit 98
before=$(cat /proc/self/mountinfo)
"$@"
status=$?
grep -qvxF "$before" /proc/self/mountinfo && exit 99
exit $status"#;

/// What a host would have more of if a sandbox left something.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    descriptors: usize,
    groups: usize,
    children: usize,
}

impl Traces {
    fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).unwrap().count();
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        Self {
            descriptors: count("/proc/self/fd"),
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

/// A command line of exec, to be completed as that of [`super::exec`]; root's is watched for mounts.
fn exec(directory: &Path) -> Command {
    if !geteuid().is_root() {
        return super::exec(directory);
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", WATCHED, "sh"])
        .arg(binary())
        .arg("exec")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(directory)
        .stdin(Stdio::null());
    command
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
        assert_ne!(status.code(), Some(LEFT_A_MOUNT), "sandbox {number}");
        assert_eq!(status.code(), Some(4));
    }
    assert_eq!(super::marked(&["sleep", &mark]), [0; 0]);
    // Other tests of this process run beside this one and have descriptors and groups of their own.
    let after = Traces::now();
    assert_eq!(after.children, before.children);
    assert!(after.groups <= before.groups + 2, "{before:?} {after:?}");
    assert!(
        after.descriptors < before.descriptors + 100,
        "{before:?} {after:?}"
    );
}
