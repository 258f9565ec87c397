//! Pause and resume: by each means and in each tier nothing runs, every clock stands still, and every end is a true one.

mod clocks;
mod ends;
#[cfg(feature = "operator")]
mod people;
mod standing;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash_follower::{over_socket, wait_until};
use crate::harness::need::{need, skip};
use crate::harness::{Run, RunBuilder};
use crate::process_table::{self, Process};

/// What lets a workload stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    CgroupV2,
    CgroupV1,
    Signals,
}

const ALL: [Means; 3] = [Means::CgroupV2, Means::CgroupV1, Means::Signals];

impl Means {
    fn word(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::Signals => "signals",
        }
    }

    /// The run on a host that has no better means; none where this host cannot be one.
    fn of(self, run: RunBuilder) -> Option<RunBuilder> {
        let hidden = match self {
            Self::CgroupV2 => return Some(run),
            Self::CgroupV1 if !Path::new("/sys/fs/cgroup/freezer/tasks").exists() => {
                skip("the host has no freezer of version 1");
                return None;
            }
            Self::CgroupV1 => "umount /sys/fs/cgroup/unified",
            Self::Signals => "umount --recursive --lazy /sys/fs/cgroup",
        };
        let unshare = need("unshare")?;
        let script = format!("{hidden} && exec \"$0\" \"$@\"");
        let prefix = vec![
            unshare.into_os_string(),
            "--mount".into(),
            "sh".into(),
            "-c".into(),
            script.into(),
        ];
        Some(run.within(prefix))
    }
}

/// A run in that tier; where the workload could reach the API, everybody may pause it.
fn in_tier(tier: &str, script: &str) -> RunBuilder {
    let run = RunBuilder::sh(script).flag("--isolation").flag(tier);
    match tier {
        "full" => run,
        _ => run.flag("--insecure-no-auth"),
    }
}

/// Asks the run; the status of the answer, and the answer.
fn ask(run: &Run, path: &str) -> (u16, Value) {
    over_socket(&run.socket(), "POST", path, "")
}

/// Pauses the run by those means.
fn pause(run: &Run, means: Means) {
    let (code, answer) = ask(run, "/pause");
    assert_eq!(code, 200, "{answer}");
    assert_eq!(answer["by"], means.word(), "{answer}");
    assert_eq!(answer["paused"], true, "{answer}");
}

/// The processes of the workload: what descends from the run and is not of the program itself.
fn workload(run: &Run) -> Vec<Process> {
    let table = process_table::all();
    let mut family = vec![run.guardian_pid()];
    let mut found = Vec::new();
    let mut idx = 0;
    while let Some(parent) = family.get(idx).copied() {
        for process in table.iter().filter(|process| process.parent == parent) {
            family.push(process.pid);
            if !process.name.starts_with("stockade") && process.state != 'Z' {
                found.push(process.clone());
            }
        }
        idx += 1;
    }
    found
}

/// The processor time of each process of the workload, in clock ticks.
fn ticks(run: &Run) -> BTreeMap<i32, u64> {
    let of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat[stat.rfind(") ")? + 2..].split(' ');
        // utime and stime are fields 14 and 15 of the line; the state was 3.
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some((pid, user + system))
    };
    workload(run)
        .iter()
        .filter_map(|process| of(process.pid))
        .collect()
}

/// How much the time of a process that stands still may seem to change: the kernel rounds its two parts by themselves.
const ROUNDING: u64 = 2;

/// Asserts that for that time no process of the workload runs, begins or ends.
fn assert_stands(run: &Run, time: Duration) {
    let before = ticks(run);
    assert!(!before.is_empty());
    wait_until(Instant::now() + time);
    let after = ticks(run);
    let stands = before.keys().eq(after.keys())
        && before
            .values()
            .zip(after.values())
            .all(|(before, after)| before.abs_diff(*after) <= ROUNDING);
    assert!(stands, "before {before:?}, after {after:?}");
}
