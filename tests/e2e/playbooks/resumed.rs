//! Runs that go on from an earlier one.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{playbook, steps};
use crate::harness::RunBuilder;
use crate::harness::run::Finished;

const BOOK: &str = "parameters: {who: {default: you}, fail: {type: boolean}}\nsteps:\n  - {id: one, run: 'echo said $WHO', env: {WHO: '${{ params.who }}'}, outputs: {said: 'stdout.trim()'}}\n  - {id: skipped, run: 'true', if: '1 == 2'}\n  - {id: two, run: 'test -e there'}\n  - {id: three, run: 'printf %s \"$SAID\" >said; echo three', if: \"steps.one.status == 'succeeded' && steps.one.exit == 0\", env: {SAID: '${{ steps.one.outputs.said }}'}, outputs: {n: 'stdout.trim()'}}\n";

/// A run that fails at its step `two`, and its recording.
fn earlier() -> (Finished, PathBuf) {
    let run = playbook(BOOK).flag("--run-id=first").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let recording = run.directory.path().join("recordings/first");
    (run, recording)
}

fn resumed(run: RunBuilder, from: &str, first: &str) -> RunBuilder {
    run.flag(format!("--from-step={first}"))
        .flag(format!("--resumed-from={from}"))
}

fn path_of(run: &Finished) -> &str {
    shown(run.recording.path())
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_the_steps_of_an_earlier_run_left_is_there_for_those_that_run_now() {
    let (_first, recording) = earlier();
    let again = playbook(BOOK).with_recordings(recording.parent().unwrap());
    std::fs::write(again.workspace().join("there"), "").unwrap();
    let run = resumed(again, "latest", "two").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let said = std::fs::read_to_string(run.directory.path().join("workspace/said")).unwrap();
    assert_eq!(said, "said you");
    let status = run.recording.status();
    assert_eq!(status["resumed_from"], "first");
    let spec = std::fs::read(run.recording.path().join("spec.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
    assert_eq!(spec["resumed_from"], "first");
    let all = steps(&run);
    let one = &all["one"];
    assert_eq!(
        (
            &one["status"],
            &one["attempts"],
            &one["taken_over"],
            &one["outputs"]
        ),
        (
            &json!("skipped"),
            &json!(0),
            &json!(true),
            &json!({"said": "said you"})
        )
    );
    assert_eq!(all["skipped"].get("taken_over"), None);
    assert_eq!(all["three"]["outputs"]["n"], "three");

    // And so on from the second, by its path, without the first.
    std::fs::remove_dir_all(recording).unwrap();
    let third = resumed(playbook(BOOK), path_of(&run), "three").finish();
    assert_eq!(third.code(), 0, "{}", third.stderr);
    let said = std::fs::read_to_string(third.directory.path().join("workspace/said")).unwrap();
    assert_eq!(said, "said you");
}

#[test]
fn the_plan_knows_what_is_taken_over() {
    let (_first, recording) = earlier();
    let run = resumed(playbook(BOOK), shown(&recording), "two")
        .flag("--dry-run")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    for known in [
        "taken over from the earlier run",
        "SAID=\"said you\"",
        "steps.one.exit == 0: holds",
    ] {
        assert!(run.stdout.contains(known), "{known}: {}", run.stdout);
    }
}

#[test]
fn what_is_no_run_of_the_same_playbook_and_parameters_is_refused() {
    let (_first, recording) = earlier();
    let path = shown(&recording);
    let refused = |run: RunBuilder, why: &str| {
        let run = run.finish();
        assert_eq!(run.code(), 125, "{}", run.stderr);
        assert!(
            run.stderr.contains("resumed_from") && run.stderr.contains(why),
            "{why}: {}",
            run.stderr
        );
        assert!(!run.directory.path().join("workspace/said").exists());
    };
    refused(
        resumed(playbook(BOOK), path, "two").flag("--param=who=me"),
        "had \"you\" for the parameter who, and this one has \"me\"",
    );
    let changed = BOOK.replace("echo three", "echo 3");
    refused(
        resumed(playbook(&changed), path, "two"),
        "ran another playbook",
    );
    refused(
        resumed(playbook(BOOK), "nobody", "two"),
        "there is no run nobody",
    );
    let plain = RunBuilder::sh("true").finish();
    refused(
        resumed(playbook(BOOK), path_of(&plain), "two"),
        "ran no playbook",
    );
    let alone = playbook(BOOK)
        .flag(format!("--resumed-from={path}"))
        .finish();
    assert_eq!(alone.code(), 2, "{}", alone.stderr);
    assert!(
        alone.stderr.contains("give from_step, too"),
        "{}",
        alone.stderr
    );
    // What has not succeeded cannot be taken over.
    let needs = "steps:\n  - {id: a, run: 'exit 1', outputs: {o: stdout}}\n  - {id: b, run: 'true', env: {O: '${{ steps.a.outputs.o }}'}}\n";
    let failed = playbook(needs).finish();
    let run = resumed(playbook(needs), path_of(&failed), "b").finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert!(
        run.stderr.contains("a run in which it succeeded"),
        "{}",
        run.stderr
    );
}

#[test]
fn nothing_is_taken_from_a_recording_that_is_not_sound() {
    for (file, from, to) in [
        ("events.jsonl", "said you", "said ill"),
        ("spec.json", "\"you\"", "\"ill\""),
    ] {
        let (_first, recording) = earlier();
        change(&recording.join(file), from, to);
        let run = playbook(BOOK).flag("--param=who=ill");
        let run = resumed(run, shown(&recording), "two").finish();
        assert_eq!(run.code(), 125, "{file}: {}", run.stderr);
        assert!(
            run.stderr.contains("is not sound"),
            "{file}: {}",
            run.stderr
        );
    }
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}
