//! Limits of the workload: what they do, and what the record says of it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::harness::need::{need, skip};
use super::harness::run::{Finished, binary, kill};
use super::harness::{Recording, RunBuilder, get, until};
use super::process_table;

/// How the record says that a limit is held.
fn held_by(record: &Value, limit: &str) -> String {
    let limits = record["isolation"]["limits"].as_array().unwrap();
    let mut named = limits.iter().filter(|held| held["limit"] == limit);
    let held = named
        .next()
        .unwrap_or_else(|| panic!("{limit}: {record:#}"));
    held["by"].as_str().unwrap().to_owned()
}

/// Only root can make control groups on hosts that delegate none.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("only root can make control groups here");
    }
    is_root
}

fn groups(record: &Value) -> Vec<PathBuf> {
    let groups = record["isolation"]["groups"].as_array();
    let groups = groups.into_iter().flatten();
    groups.map(|group| group.as_str().unwrap().into()).collect()
}

#[test]
fn the_defaults_are_limits_and_the_record_says_what_holds_them() {
    if !is_root() {
        return;
    }
    let finished = RunBuilder::sh("true").finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    let status = finished.recording.status();
    for limit in ["memory", "pids"] {
        let by = held_by(&status, limit);
        assert!(by.starts_with("cgroup-v"), "{limit}: {by}");
    }
    let layers = status["isolation"]["layers"].as_array().unwrap();
    assert!(layers.contains(&"cgroup-limits".into()), "{layers:?}");
    let groups = groups(&status);
    assert!(!groups.is_empty());
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
}

#[test]
fn as_many_processes_run_as_the_flag_says() {
    let script = "i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i+1)); done; echo all of them";
    let finished = RunBuilder::sh(script).flag("--pids=16").finish();
    assert!(
        !finished.stdout.contains("all of them"),
        "{}",
        finished.stdout
    );
    assert_ne!(finished.status.code(), Some(0));
    let finished = RunBuilder::sh(script).flag("--pids=110").finish();
    assert!(
        finished.stdout.contains("all of them"),
        "{}",
        finished.stderr
    );
}

#[test]
fn programs_count_as_many_processors_as_the_flag_says() {
    let finished = RunBuilder::new(["nproc"]).flag("--cpus=0.5").finish();
    assert_eq!(finished.stdout, "1\n", "{}", finished.stderr);
}

#[test]
fn finalize_removes_the_control_group_of_a_run_whose_processes_were_all_killed() {
    if !is_root() {
        return;
    }
    let run = RunBuilder::sh("sleep 60").start();
    let recording = run.recording();
    let status = until("the sandbox is on record", || {
        let status = recording.try_status()?;
        (!groups(&status).is_empty()).then_some(status)
    });
    let groups = groups(&status);
    let supervisor = run.supervisor_pid();
    let helper = process_table::live_child(supervisor).unwrap();
    // The helper would remove the group, and the guardian would have it finalized: neither may have the time.
    for pid in [run.guardian_pid(), helper, supervisor] {
        kill(pid, Signal::SIGSTOP);
    }
    for pid in [run.guardian_pid(), helper, supervisor] {
        kill(pid, Signal::SIGKILL);
    }
    until("nothing of the run is left", || {
        let left = process_table::of_run(run.directory.path());
        left.is_empty().then_some(())
    });
    assert!(groups.iter().all(|group| group.exists()), "{groups:?}");
    let finalized = std::process::Command::new(binary())
        .arg("finalize")
        .arg(recording.path())
        .output()
        .unwrap();
    assert!(finalized.status.success(), "{finalized:?}");
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
}

/// A shell command that takes so much memory, and holds it until somebody ends it.
fn taking(mebibytes: u32) -> String {
    format!("python3 -c 'x = bytearray({mebibytes} << 20)'")
}

fn last_action(finished: &Finished) -> Value {
    finished.recording.events_of("action").pop().unwrap()
}

fn limit_events(finished: &Finished, limit: &str) -> Vec<Value> {
    let mut events = finished.recording.events_of("limit");
    events.retain(|event| event["rule"] == format!("limits.{limit}"));
    events
}

#[test]
fn a_command_that_takes_more_memory_than_it_may_fails_by_that_name() {
    if !is_root() || need("python3").is_none() {
        return;
    }
    let script = format!("exec {}", taking(200));
    let finished = RunBuilder::sh(&script).flag("--memory=64MiB").finish();
    assert_eq!(finished.code(), 137, "{}", finished.stderr);
    let status = finished.recording.status();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["code"], "OOM_KILLED", "{status:#}");
    let oom = &status["outcome"]["oom"];
    assert_eq!(oom["limit_bytes"], 64 << 20);
    assert_eq!(oom["kills"], 1);
    let peak = oom["peak_bytes"].as_u64().unwrap();
    assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
    assert_eq!(status["outcome"]["signal"], 9);
    let usage = &last_action(&finished)["usage"];
    assert_eq!(
        (&usage["oom_kills"], &usage["wait_status"]),
        (&1.into(), &9.into())
    );
    assert_eq!(usage["peak_memory_bytes"], peak);
    assert_eq!(status["usage"]["oom_kills"], 1);
    let events = limit_events(&finished, "memory");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["limit"], 64 << 20);
    assert_eq!(events[0]["decision"], "kill_process");
}

#[test]
fn exit_137_and_a_sigkill_of_somebody_else_are_not_out_of_memory() {
    for script in ["exit 137", "kill -9 $$"] {
        let finished = RunBuilder::sh(script).finish();
        assert_eq!(finished.code(), 137, "{}", finished.stderr);
        let status = finished.recording.status();
        assert_eq!(status["error"]["code"], "COMMAND_FAILED", "{script}");
        assert_eq!(status["outcome"]["oom"], Value::Null, "{script}");
        let usage = &last_action(&finished)["usage"];
        assert_eq!(usage["oom_kills"], Value::Null, "{usage}");
    }
}

#[test]
fn a_child_that_ran_out_of_memory_is_told_and_changes_nothing() {
    if !is_root() || need("python3").is_none() {
        return;
    }
    let script = format!("{}; echo went on", taking(200));
    let finished = RunBuilder::sh(&script).flag("--memory=64MiB").finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    assert_eq!(finished.recording.status()["status"], "completed");
    assert_eq!(last_action(&finished)["usage"]["oom_kills"], 1);
    assert_eq!(limit_events(&finished, "memory").len(), 1);
}

#[test]
fn a_step_of_a_playbook_that_ran_out_of_memory_fails_the_run_by_that_name() {
    if !is_root() || need("python3").is_none() {
        return;
    }
    let playbook = "name: memory
version: 1
steps:
  - id: small
    run: \"true\"
  - id: large
    run: exec python3 -c 'x = bytearray(200 << 20)'
";
    let finished = RunBuilder::playbook(playbook)
        .flag("--memory=64MiB")
        .finish();
    assert_eq!(finished.code(), 137, "{}", finished.stderr);
    let status = finished.recording.status();
    assert_eq!(status["error"]["code"], "OOM_KILLED", "{status:#}");
    assert_eq!(status["outcome"]["oom"]["limit_bytes"], 64 << 20);
    // Each attempt has its own peak.
    let actions = finished.recording.events_of("action");
    let peaks: Vec<_> = actions
        .iter()
        .map(|action| action["usage"]["peak_memory_bytes"].as_u64())
        .collect();
    assert!(
        peaks[0].unwrap() < 32 << 20 && peaks[1].unwrap() > 32 << 20,
        "{peaks:?}"
    );
}

/// Forks until it is refused, fills memory until it is killed, opens files until none is left; again and again.
const BOMB: &str = "
import os, sys, time
print('begins', flush=True)
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            hold, files = [], []
            # All of them are there before memory runs out.
            time.sleep(0.5)
            try:
                while True:
                    files.append(open('/dev/null'))
            except OSError:
                pass
            while True:
                hold.append(bytearray(4 << 20))
    except OSError:
        pass
";

#[test]
fn supervisor_and_guardian_survive_a_bomb_and_the_status_api_answers_all_the_while() {
    if !is_root() || need("python3").is_none() {
        return;
    }
    let flags = ["--memory=128MiB", "--pids=32", "--cpus=1"];
    let run = RunBuilder::new(["python3", "-c", BOMB]);
    let run = flags.into_iter().fold(run, RunBuilder::flag).start();
    let address = run.address();
    run.until_stdout("begins");
    let (mut n_answers, mut slowest) = (0, Duration::ZERO);
    let (mut most_memory, mut most_pids) = (0, 0);
    until("the bomb has ended", || {
        let asked_at = Instant::now();
        if get(&address, "/readyz").status != 200 {
            return Some(());
        }
        assert_eq!(get(&address, "/healthz").status, 200);
        slowest = slowest.max(asked_at.elapsed());
        n_answers += 1;
        let usage = &get(&address, "/status").json()["usage"];
        most_memory = most_memory.max(usage["memory_bytes"].as_u64().unwrap_or(0));
        most_pids = most_pids.max(usage["pids"].as_u64().unwrap_or(0));
        None
    });
    let finished = run.finish();
    assert!(n_answers > 10, "{n_answers}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(
        most_memory > 16 << 20 && most_memory <= 128 << 20,
        "{most_memory}"
    );
    assert!(most_pids > 8 && most_pids <= 32, "{most_pids}");
    // The bomb itself may have been killed for its children's memory, which is of the same size.
    let status = finished.recording.status();
    assert!(["completed", "failed"].contains(&status["status"].as_str().unwrap()));
    assert!(
        status["usage"]["oom_kills"].as_u64().unwrap() > 0,
        "{status:#}"
    );
    for limit in ["pids", "memory"] {
        assert!(!limit_events(&finished, limit).is_empty(), "{limit}");
    }
}

#[test]
fn what_the_workload_takes_is_in_status_and_metrics_while_it_runs() {
    if !is_root() {
        return;
    }
    let run = RunBuilder::sh("sleep 60 & sleep 60 & wait").start();
    let status = run.until_status("three processes run", |status| status["usage"]["pids"] == 3);
    assert!(status["usage"]["memory_bytes"].as_u64().unwrap() > 0);
    let metrics = get(&run.address(), "/metrics").text();
    assert!(
        metrics.contains("\nstockade_workload_pids{} 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nstockade_workload_memory_bytes{} "),
        "{metrics}"
    );
    run.signal(Signal::SIGTERM);
    let usage = run.finish().recording.status()["usage"].clone();
    assert_eq!(
        (&usage["pids"], &usage["memory_bytes"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(usage["peak_pids"], 3);
}

/// Runs it as an ordinary user, to whom this host gives no control group.
fn as_user(builder: RunBuilder) -> Option<(std::process::Output, Value)> {
    const USER: u32 = 1_234;
    if !nix::unistd::geteuid().is_root() {
        skip("becoming another user needs root");
        return None;
    }
    let builder = builder.with_own_binary();
    for path in [builder.workspace(), builder.recordings()] {
        std::fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).unwrap();
    }
    let socketless = builder.flag("--socket=none");
    let recording = Recording::at(socketless.recordings().join("run"));
    let output = socketless.command().uid(USER).gid(USER).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = recording.try_status();
    let status = status.unwrap_or_else(|| panic!("no record: {:?} {said}", output.status));
    Some((output, status))
}

#[test]
fn a_user_without_control_groups_is_told_so_and_gets_other_means() {
    let Some((output, status)) = as_user(RunBuilder::sh("true").flag("--cpus=1")) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let held = ["memory", "pids", "cpus"].map(|limit| held_by(&status, limit));
    assert_eq!(held, ["sampled", "rlimit", "affinity"]);
    let missing = status["isolation"]["missing"].as_array().unwrap();
    let missing = missing.iter().find(|one| one["layer"] == "cgroup-limits");
    let reason = missing.unwrap()["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("memory, pids, cpus by other means: "),
        "{reason}"
    );
    assert!(reason.contains("Permission denied"), "{reason}");
}

#[test]
fn a_user_whose_workload_takes_too_much_memory_is_told_the_same_as_root() {
    if need("python3").is_none() {
        return;
    }
    let script = "exec python3 -c 'import time; x = bytearray(200 << 20); time.sleep(60)'";
    let run = RunBuilder::sh(script).flag("--memory=64MiB");
    let Some((output, status)) = as_user(run) else {
        return;
    };
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    assert_eq!(status["error"]["code"], "OOM_KILLED", "{status:#}");
    assert_eq!(status["outcome"]["by"], "limit");
    assert_eq!(status["outcome"]["oom"]["limit_bytes"], 64 << 20);
    assert!(status["outcome"]["oom"]["peak_bytes"].as_u64().unwrap() > 64 << 20);
}

#[test]
fn memory_that_processes_share_is_counted_once() {
    if need("python3").is_none() {
        return;
    }
    // Four processes of which each has all of it: far beyond the limit, if it were counted four times.
    let script = "
import os, time
x = bytearray(40 << 20)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        time.sleep(1)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
";
    let run = RunBuilder::new(["python3", "-c", script]).flag("--memory=96MiB");
    let Some((output, status)) = as_user(run) else {
        return;
    };
    assert!(output.status.success(), "{status:#}");
}

#[test]
fn without_isolation_and_control_groups_processes_are_counted_by_looks() {
    let script = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; wait";
    let run = RunBuilder::sh(script)
        .flag("--pids=16")
        .flag("--isolation=none");
    let Some((output, status)) = as_user(run) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(status["error"]["code"], "BUDGET_EXCEEDED", "{status:#}");
    assert_eq!(held_by(&status, "pids"), "sampled");
}

#[test]
fn what_is_written_to_the_workspace_has_a_limit() {
    let large = "trap '' XFSZ; head -c 9000000 /dev/zero > large || exit 3";
    let finished = RunBuilder::sh(large).flag("--disk=8MiB").finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    let many = "while :; do i=$((i+1)); head -c 1000000 /dev/urandom > file$i; sleep 0.05; done";
    let finished = RunBuilder::sh(many).flag("--disk=8MiB").finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    let status = finished.recording.status();
    assert_eq!(status["error"]["code"], "BUDGET_EXCEEDED", "{status:#}");
    let details = json!({"rule": "limits.disk", "limit": 8 << 20});
    assert_eq!(status["error"]["details"], details);
    assert_eq!(held_by(&status, "disk"), "sampled");
    assert_eq!(held_by(&status, "file-size"), "rlimit");
    let events = limit_events(&finished, "disk");
    assert_eq!((events.len(), &events[0]["decision"]), (1, &json!("kill")));
    let few = "head -c 7000000 /dev/zero > few; sleep 3";
    let finished = RunBuilder::sh(few).flag("--disk=8MiB").finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
}
