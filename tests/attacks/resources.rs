//! Attempts at resources: bombs with caps, and limits that are lifted from inside.

use std::process::Command;

use super::attempt::{Attempt, Class, Round};
use super::stage::Stage;

const fn resource(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Resources, name, attack, twin)
}

const DEPENDS: &str = "what a host limits by itself differs";

pub const ATTEMPTS: &[Attempt] = &[
    resource("fork-bomb", "processes 200", "processes 20").round(Round::Pids),
    resource("thread-bomb", "threads 200", "threads 20").round(Round::Threads),
    resource(
        "fill-disk",
        "fill {workspace}/large 64",
        "fill {workspace}/small 1",
    )
    .round(Round::Limits),
    resource(
        "sparse-file",
        "stretch {workspace}/hole 1024",
        "stretch {workspace}/small-hole 1",
    )
    .round(Round::Limits),
    resource("larger-files", "raise-limit file-size", "lower-limit")
        .round(Round::Limits)
        .unproven(DEPENDS),
    resource("more-processes", "raise-limit processes", "lower-limit")
        .round(Round::Plain)
        .unproven(DEPENDS),
    resource("memory-bomb", "memory 256 {hold}", "memory 16 0").round(Round::Memory),
    resource(
        "fill-memory-disk",
        "fill-and-hold /dev/shm/{tag}-large 200 {hold}",
        "fill /dev/shm/{tag}-small 1",
    )
    .round(Round::SharedMemory),
    resource(
        "fill-disk-in-pieces",
        "fill-in-pieces {workspace}/pieces 48 {hold}",
        "fill-in-pieces {workspace}/few 2 0",
    )
    .round(Round::Disk),
    resource(
        "inodes",
        "inodes $TMPDIR 200000",
        "many-files {workspace}/many 100",
    )
    .unproven(DEPENDS),
    resource("higher-priority", "priority -5", "priority 5").root(),
    resource("real-time", "real-time", "batch").unproven(DEPENDS),
    resource("lower-score", "own-score -900", "own-score 900").unproven(DEPENDS),
    resource("more-descriptors", "raise-limit descriptors", "lower-limit").unproven(DEPENDS),
    resource("core-limit", "raise-limit core", "lower-limit").unproven(DEPENDS),
    resource("core-dump", "dump-core {workspace}", "end-own signal").unproven(DEPENDS),
    resource("lock-memory", "lock-memory 131072", "lock-memory 4").root(),
    resource(
        "memory-that-stays",
        "shared-memory {key}",
        "own-shared-memory",
    )
    .damage(|scene| has_shared_memory(scene.stage).then(|| "the host has the segment".to_owned())),
    resource(
        "leave-control-group",
        "open-to-write {cgroup}",
        "read /proc/self/cgroup",
    )
    .unproven(DEPENDS),
];

fn key(stage: &Stage) -> String {
    let key: i64 = stage.fact("key").parse().unwrap();
    format!("0x{key:08x}")
}

fn has_shared_memory(stage: &Stage) -> bool {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table
        .lines()
        .any(|line| line.split_whitespace().next() == Some(stage.fact("key")))
}

/// Removes what an unconfined attempt has left.
pub fn remove_shared_memory(stage: &Stage) {
    if !has_shared_memory(stage) {
        return;
    }
    let mut command = Command::new("ipcrm");
    command.args(["--shmem-key", &key(stage)]);
    let _ = command.output();
}
