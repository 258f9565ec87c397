//! Attempts to outlive the run.

use std::time::Duration;

use super::attempt::{Attempt, Class, Round, Scene};

const fn life(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Life, name, attack, twin).round(Round::Survivors)
}

const INSIDE: &str = "without a sandbox the first process is the machine's";

/// Time in which a runaway leaves many marks.
const LOOK: Duration = Duration::from_millis(200);

/// Whether the file still grows in which each generation leaves a mark.
fn runs_on(scene: &Scene<'_>) -> Option<String> {
    let length =
        || std::fs::metadata(scene.stage.path("workspace/kept")).map(|status| status.len());
    let before = length().unwrap();
    std::thread::park_timeout(LOOK);
    let after = length().unwrap();
    (after > before).then(|| format!("{} marks in {LOOK:?}", after - before))
}

fn survives(scene: &Scene<'_>, name: &str) -> Option<String> {
    let survivors = scene.stage.survivors(name);
    (!survivors.is_empty()).then(|| format!("alive: {survivors:?}"))
}

pub const ATTEMPTS: &[Attempt] = &[
    life("daemonise", "daemonise {tag}-dae", "background").damage(|scene| survives(scene, "dae")),
    life(
        "hold-output",
        "hold-output {tag}-out",
        "print-text twin-of-hold-output",
    )
    .damage(|scene| survives(scene, "out")),
    life("ignore-signals", "ignore-signals {tag}-ign", "catch-signal")
        .damage(|scene| survives(scene, "ign")),
    life("stop-itself", "stop-itself {tag}-sto", "stop-and-continue")
        .damage(|scene| survives(scene, "sto")),
    life("spin", "spin {tag}-spi", "call times !").damage(|scene| survives(scene, "spi")),
    life(
        "run-away",
        "run-away {tag}-run {workspace}/kept",
        "background",
    )
    .damage(runs_on),
    life(
        "end-first-thread",
        "end-first-thread {tag}-thr",
        "join-thread",
    )
    .damage(|scene| survives(scene, "thr")),
    life("keep-zombies", "keep-zombies {tag}-zom", "background")
        .damage(|scene| survives(scene, "zom")),
    life("trace-and-stay", "trace-and-stay {tag}-tra", "trace-own")
        .damage(|scene| survives(scene, "tra")),
    life(
        "orphan-of-a-dead-sandbox",
        "daemonise {tag}-orp",
        "background",
    )
    .round(Round::Suicide)
    .unproven(INSIDE)
    .damage(|scene| survives(scene, "orp")),
    life("kill-first", "send-signal {first} 9", "end-own signal")
        .round(Round::Suicide)
        .unproven(INSIDE)
        .damage(is_not_told),
    life("stop-first", "send-signal {first} 19", "stop-and-continue")
        .round(Round::StopFirst)
        .unproven(INSIDE)
        .damage(is_not_told),
    life("signals-to-first", "storm {first}", "catch-signal")
        .round(Round::Storm)
        .unproven(INSIDE)
        .damage(is_not_told),
    life(
        "kill-everyone",
        "send-signal {everyone} 9",
        "end-own signal",
    )
    .round(Round::Everyone)
    .unproven(INSIDE)
    .damage(is_not_told),
    life("kill-keeper", "send-signal above 9", "end-own signal")
        .round(Round::Step)
        .unproven(INSIDE)
        .damage(is_not_told),
];

/// Whether the run went on as if nothing were, and yet did not come to its end.
fn is_not_told(scene: &Scene<'_>) -> Option<String> {
    let status = &scene.status()["status"];
    let is_told = match status.as_str() {
        Some("completed") => scene.exit_code == Some(0),
        Some("failed") => scene.exit_code != Some(0),
        _ => false,
    };
    (!is_told).then(|| format!("status {status}, exit code {:?}", scene.exit_code))
}
