//! Limits of the workload: what they do, and what the record says of it.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::harness::need::skip;
use super::harness::run::{binary, kill};
use super::harness::{RunBuilder, until};
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
