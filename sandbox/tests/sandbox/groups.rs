//! Limits, what holds them, and what becomes of control groups.
//!
//! What needs a control group needs root here; the means that hold limits without one are tested for every starter.

use crate::harness::{
    LIMIT, Run, Starter, build, eventually, for_each_starter, helper_program, is_root, launch,
    mark, marked, skip, with_limits,
};
use crate::lifetime::send;
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use stockade_sandbox::{
    End, GROUP_PREFIX, Isolation, Layer, LimitKind, Limits, Means, Policy, Target,
    remove_recorded_groups, remove_stale_groups,
};

const MIB: u64 = 1 << 20;

/// Forks until it is refused, tells how often it was not, and waits for its input to be closed by its end.
const FORK_ALL: &str = "
import os, time
n = 0
for _ in range(200):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    n += 1
print(n)
";

/// Builds a sandbox whose group has every limit; none where the host gives no group.
fn limited(isolation: Isolation, limits: Limits) -> Option<Run> {
    if !is_root() {
        skip("only root can make control groups here");
        return None;
    }
    Some(build(Starter::Root, &with_limits(isolation, limits)))
}

fn means(run: &Run, kind: LimitKind) -> Option<(Means, u64)> {
    let enforced = run.sandbox.enforced().limits.iter();
    let mut of_kind = enforced.filter(|limit| limit.limit == kind);
    of_kind.next().map(|limit| (limit.by, limit.value))
}

fn is_group(means: Option<(Means, u64)>) -> bool {
    matches!(means, Some((Means::CgroupV1 | Means::CgroupV2, _)))
}

fn pids_of(directory: &Path) -> Vec<i32> {
    let list = fs::read_to_string(directory.join("cgroup.procs")).expect("members");
    list.lines().map(|pid| pid.parse().expect("pid")).collect()
}

#[test]
fn as_many_processes_as_the_limit_says_and_no_more() {
    let limits = Limits {
        pids: Some(12),
        ..Limits::default()
    };
    for isolation in [Isolation::Full, Isolation::None] {
        let Some(run) = limited(isolation, limits) else {
            return;
        };
        assert!(is_group(means(&run, LimitKind::Pids)), "{isolation:?}");
        assert!(run.sandbox.enforced().has(Layer::CgroupLimits));
        // The program itself is the twelfth.
        assert_eq!(run.python(FORK_ALL).success(), "11\n", "{isolation:?}");
        let reading = run.sandbox.group_reading().expect("a group");
        assert_eq!(reading.forks_refused, Some(1), "{reading:?}");
        run.sandbox.kill_all(LIMIT).expect("kills");
        run.shell("true").success();
    }
}

#[test]
fn without_a_group_the_user_namespace_counts_processes() {
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.limits.pids = Some(12);
        let run = build(starter, &policy);
        assert_eq!(means(&run, LimitKind::Pids), Some((Means::Rlimit, 12)));
        let missing = &run.sandbox.enforced().missing;
        let missing = missing.iter().find(|one| one.layer == Layer::CgroupLimits);
        assert!(missing.is_some_and(|one| one.reason.starts_with("pids by other means")));
        assert_eq!(run.python(FORK_ALL).success(), "11\n");
    });
}

#[test]
fn who_takes_more_memory_than_the_limit_is_killed_and_counted() {
    let limits = Limits {
        memory_bytes: Some(64 * MIB),
        ..Limits::default()
    };
    let Some(run) = limited(Isolation::Full, limits) else {
        return;
    };
    assert!(is_group(means(&run, LimitKind::Memory)));
    run.python("x = bytearray(16 << 20)").success();
    assert_eq!(
        run.sandbox.group_reading().and_then(|r| r.oom_kills),
        Some(0)
    );
    let ended = run.python("x = bytearray(200 << 20)").report;
    assert!(
        matches!(ended.end, End::Signaled { signal: 9, .. }),
        "{ended:?}"
    );
    let reading = run.sandbox.group_reading().expect("a group");
    assert_eq!(reading.oom_kills, Some(1), "{reading:?}");
    let peak = reading.memory_peak_bytes.expect("a peak");
    assert!((32 * MIB..=64 * MIB).contains(&peak), "{reading:?}");
    // The init reported it and is there for the next one, whose peak is its own.
    run.sandbox.begin_peak();
    run.shell("true").success();
    let peak = run
        .sandbox
        .group_reading()
        .and_then(|r| r.memory_peak_bytes);
    assert!(peak.is_some_and(|peak| peak < 32 * MIB), "{peak:?}");
}

#[test]
fn the_program_that_fills_memory_is_killed_and_the_init_of_small_ones_is_not() {
    let limits = Limits {
        memory_bytes: Some(24 * MIB),
        pids: Some(200),
        ..Limits::default()
    };
    let Some(run) = limited(Isolation::Full, limits) else {
        return;
    };
    // Many processes that are all smaller than the init, until memory runs out.
    let script = "i=0; while [ $i -lt 150 ]; do sleep 60 & i=$((i+1)); done; wait";
    let id = run.start(&["sh", "-c", script]);
    eventually("memory has run out", || {
        let reading = run.sandbox.group_reading().expect("a group");
        reading.oom_kills.unwrap_or(0) > 0 || reading.pids.unwrap_or(0) > 140
    });
    run.sandbox.kill_all(LIMIT).expect("the init answers");
    assert_eq!(run.wait(id).launch, id);
    run.shell("true").success();
}

#[test]
fn a_quota_throttles_and_the_processors_that_are_seen_fit_it() {
    let limits = Limits {
        cpu_millis: Some(200),
        ..Limits::default()
    };
    let Some(run) = limited(Isolation::Full, limits) else {
        return;
    };
    assert!(is_group(means(&run, LimitKind::Cpus)));
    assert_eq!(run.shell("nproc").success(), "1\n");
    run.python("import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass")
        .success();
    let reading = run.sandbox.group_reading().expect("a group");
    assert!(
        reading.throttled.is_some_and(|time| !time.is_zero()),
        "{reading:?}"
    );
    let unlimited = limited(Isolation::Full, Limits::default()).expect("root");
    let available = std::thread::available_parallelism().expect("processors");
    assert_eq!(unlimited.shell("nproc").success(), format!("{available}\n"));
}

#[test]
fn a_file_can_only_get_as_large_as_the_limit() {
    for_each_starter(|starter| {
        let mut policy = Policy::new(Isolation::Full);
        policy.limits.file_bytes = Some(MIB);
        let run = build(starter, &policy);
        run.shell("head -c 1048576 /dev/zero > /tmp/fits").success();
        let ended = run
            .shell("trap '' XFSZ; head -c 1048577 /dev/zero > /tmp/large")
            .refused();
        assert!(ended.contains("File too large"), "{ended}");
    });
}

#[test]
fn the_workload_is_inside_from_its_first_moment_and_nobody_else_is() {
    let limits = Limits {
        pids: Some(64),
        ..Limits::default()
    };
    let Some(run) = limited(Isolation::Full, limits) else {
        return;
    };
    let mark = mark();
    run.start(&["sleep", &mark]);
    eventually("it runs", || marked(&mark) == 1);
    let own = i32::try_from(std::process::id()).expect("pid");
    let directories = run.sandbox.group_directories();
    assert!(!directories.is_empty());
    for directory in &directories {
        let pids = pids_of(directory);
        assert_eq!(pids.len(), 2, "{directory:?}");
        assert!(pids.contains(&run.sandbox.init_pid()));
        assert!(!pids.contains(&own) && !pids.contains(&run.helper.pid()));
    }
    // Its view of control groups begins at its own: of those that it is in, none has a name.
    let groups = run.output(launch(&["cat", "/proc/self/cgroup"])).success();
    let own_lines = groups.lines().filter(|line| line.contains(GROUP_PREFIX));
    assert_eq!(own_lines.count(), 0, "{groups}");
    assert!(groups.contains("pids:/\n"), "{groups}");
}

#[test]
fn without_isolation_the_group_is_killed_at_once_and_the_init_is_not_in_it() {
    let Some(run) = limited(Isolation::None, Limits::default()) else {
        return;
    };
    let unified = run.sandbox.group_directories();
    let Some(unified) = unified
        .iter()
        .find(|path| path.join("cgroup.kill").exists())
    else {
        return skip("the host has no cgroup.kill");
    };
    let mark = mark();
    let id = run.start(&["sh", "-c", &format!("setsid -f sleep {mark}; sleep {mark}")]);
    eventually("both run", || marked(&mark) == 2);
    let pids = pids_of(unified);
    assert!(!pids.contains(&run.sandbox.init_pid()), "{pids:?}");
    assert_eq!(pids.len(), 3, "{pids:?}");
    let report = run.sandbox.kill_all(LIMIT).expect("kills");
    assert_eq!((report.killed, report.left), (3, 0), "{report:?}");
    assert_eq!(run.wait(id).status, 9);
    assert_eq!(pids_of(unified), [0; 0]);
    // The signal that asks goes to all of them as before.
    let id = run.start(&["sleep", &mark]);
    run.sandbox.signal(Target::All, 15).expect("signals");
    assert_eq!(run.wait(id).status, 15);
}

#[test]
fn a_destroyed_sandbox_dies_by_its_group_even_when_its_init_does_not_answer() {
    let Some(run) = limited(Isolation::Full, Limits::default()) else {
        return;
    };
    let mark = mark();
    run.start(&["setsid", "sleep", &mark]);
    eventually("it runs", || marked(&mark) == 1);
    send(run.sandbox.init_pid(), Signal::SIGSTOP);
    run.helper.destroy(&run.sandbox, LIMIT).expect("destroys");
    eventually("it is dead", || marked(&mark) == 0);
}

#[test]
fn two_hundred_sandboxes_leave_no_group() {
    if !is_root() {
        return skip("only root can make control groups here");
    }
    let limits = Limits {
        memory_bytes: Some(64 * MIB),
        pids: Some(8),
        cpu_millis: Some(1_000),
        ..Limits::default()
    };
    let helper = crate::harness::spawn_helper(Starter::Root);
    let mut made = Vec::new();
    for _ in 0..200 {
        let plan = with_limits(Isolation::Full, limits).plan().expect("plans");
        let sandbox = helper.build(plan, LIMIT).expect("builds");
        let directories = sandbox.group_directories();
        assert!(directories.iter().all(|directory| directory.is_dir()));
        assert!(directories.len() >= 2, "{directories:?}");
        made.extend(directories);
    }
    let left: Vec<&PathBuf> = made.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_launch_helper_removes_the_groups_of_a_supervisor_that_was_killed() {
    if !is_root() {
        return skip("only root can make control groups here");
    }
    for tier in ["full", "none"] {
        let mark = mark();
        let mut supervisor = Command::new(helper_program())
            .args(["drive", tier, &mark])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let output = supervisor.stdout.take().expect("output");
        BufReader::new(output).read_line(&mut line).expect("reads");
        assert_eq!(line, "ready\n");
        let groups = groups_named(&mark);
        assert!(!groups.is_empty());
        supervisor.kill().expect("kills");
        supervisor.wait().expect("reaps");
        eventually("its groups are gone", || groups_named(&mark).is_empty());
        assert_eq!(marked(&mark), 0);
    }
}

/// Every directory of the host's control groups whose name has the mark.
fn groups_named(mark: &str) -> Vec<PathBuf> {
    fn below(directory: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.file_name().is_some_and(|last| last == name) {
                found.push(path);
            } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below(&path, name, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    let name = format!("{GROUP_PREFIX}{mark}");
    below(Path::new("/sys/fs/cgroup"), &name, 6, &mut found);
    found
}

#[test]
fn what_a_record_names_is_emptied_and_removed_and_what_is_in_use_is_not_stale() {
    let Some(run) = limited(Isolation::None, Limits::default()) else {
        return;
    };
    let mark = mark();
    run.start(&["sleep", &mark]);
    eventually("it runs", || marked(&mark) == 1);
    let directories = run.sandbox.group_directories();
    remove_stale_groups();
    assert!(directories.iter().all(|directory| directory.is_dir()));
    let removed = remove_recorded_groups(&directories, LIMIT);
    assert_eq!(removed, directories.len());
    assert_eq!(marked(&mark), 0);
    assert!(directories.iter().all(|directory| !directory.exists()));
}

#[test]
fn without_a_group_memory_is_looked_at_and_what_is_shared_counts_once() {
    for_each_starter(|starter| {
        let run = build(starter, &Policy::new(Isolation::Full));
        let before = run.sandbox.taken(u64::MAX).expect("looks");
        let script = "
import os, time
x = bytearray(24 << 20)
pids = [os.fork() for _ in range(2)]
time.sleep(60)
";
        run.start(&["python3", "-c", script]);
        eventually("all four run", || {
            run.sandbox.taken(u64::MAX).expect("looks").pids == before.pids + 4
        });
        let quick = run.sandbox.taken(u64::MAX).expect("looks").memory_bytes;
        let exact = run.sandbox.taken(0).expect("looks").memory_bytes;
        assert!(quick > 4 * 24 * MIB, "{quick}");
        assert!((24 * MIB..3 * 24 * MIB).contains(&exact), "{exact}");
        run.shell("head -c 8388608 /dev/zero > /tmp/file").success();
        let with_file = run.sandbox.taken(0).expect("looks").memory_bytes;
        assert!(with_file >= exact + 7 * MIB, "{exact} {with_file}");
    });
}
