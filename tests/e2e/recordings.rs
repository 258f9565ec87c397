//! Recordings after the run: retention, pins, and the commands that read them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::RunBuilder;
use crate::harness::run::binary;

/// Runs a command of the binary.
pub fn stockade<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A finished run in `recordings`.
fn add(recordings: &Path, id: &str) {
    let run = RunBuilder::sh("echo kept")
        .with_recordings(recordings)
        .flag(format!("--run-id={id}"));
    assert_eq!(run.finish().code(), 0);
}

fn prune(recordings: &Path, flags: &[&str]) -> Output {
    let recordings = recordings.to_str().unwrap();
    let mut arguments = vec!["prune", "--recordings", recordings];
    arguments.extend(flags);
    stockade(arguments)
}

#[test]
fn a_dry_run_says_why_and_a_pin_keeps_what_the_limits_would_remove() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["first", "second", "third"] {
        add(&recordings, id);
    }
    let pinned = stockade(["pin", "first", "--recordings", recordings.to_str().unwrap()]);
    assert!(pinned.status.success(), "{}", text(&pinned));
    let dry = prune(&recordings, &["--keep-runs=1", "--dry-run"]);
    let said = text(&dry);
    assert!(
        said.contains("would remove second: beyond the number of runs"),
        "{said}"
    );
    assert!(said.contains("would keep first: pinned"), "{said}");
    assert!(said.contains("would keep third: the newest run"), "{said}");
    assert!(recordings.join("second").exists());
    let done = prune(&recordings, &["--keep-runs=1", "--json"]);
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["removed"], serde_json::json!(["second"]));
    assert!(!recordings.join("second").exists());
    assert!(recordings.join("first/status.json").exists());
    let unpinned = stockade([
        "pin",
        "--unpin",
        "first",
        "--recordings",
        recordings.to_str().unwrap(),
    ]);
    assert!(unpinned.status.success(), "{}", text(&unpinned));
    prune(&recordings, &["--keep-runs=1"]);
    assert!(!recordings.join("first").exists());
    let absent = stockade(["pin", "first", "--recordings", recordings.to_str().unwrap()]);
    assert_eq!(absent.status.code(), Some(125));
    assert!(text(&absent).contains("no run first"), "{}", text(&absent));
}

#[test]
fn a_run_prunes_earlier_recordings_while_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["first", "second", "third"] {
        add(&recordings, id);
    }
    // What a pruning that was cut short left.
    let rest = recordings.join(".stockade/trash-0123456789abcdef/artifacts");
    std::fs::create_dir_all(&rest).unwrap();
    let run = RunBuilder::sh("exit 0")
        .with_recordings(&recordings)
        .flag("--keep-runs=2")
        .flag("--run-id=run");
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let mut left: Vec<_> = std::fs::read_dir(&recordings)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "latest")
        .collect();
    left.sort();
    assert_eq!(left, ["run", "third"], "{}", run.stderr);
    assert!(!rest.exists());
    assert!(run.stderr.contains("pruned"), "{}", run.stderr);
}

#[test]
fn a_limit_of_retention_that_is_none_is_refused_by_its_name() {
    for flag in ["--keep-runs=0", "--keep-days=x", "--keep-bytes=1G"] {
        let run = RunBuilder::sh("exit 0").flag(flag).finish();
        assert_eq!(run.code(), 2, "{flag}: {}", run.stderr);
        let name = flag.split('=').next().unwrap().trim_start_matches("--");
        assert!(run.stderr.contains(name), "{flag}: {}", run.stderr);
    }
}
