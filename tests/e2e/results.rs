//! Results that cannot be written: on a full disk no command ends as if all were well, and a reader may go away.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::run::binary;
use crate::harness::{RunBuilder, need};

/// A command that prints a result, and the code that it ends with where all of it is read.
struct Case {
    arguments: Vec<String>,
    code: i32,
}

fn cases(recordings: &Path, playbook: &Path) -> Vec<Case> {
    let (recordings, playbook) = (recordings.display(), playbook.display());
    let place = format!("--recordings {recordings}");
    let mut lines = vec![
        (format!("status {place}"), 0),
        (format!("status --json {place}"), 0),
        (format!("stop {place}"), 0),
        (format!("verify {recordings}/run"), 0),
        (format!("finalize {recordings}/run"), 0),
        (format!("prune --keep-runs 5 --dry-run {place}"), 0),
        (format!("run --dry-run --playbook {playbook} {place}"), 0),
        ("help".to_owned(), 0),
        ("run --help".to_owned(), 0),
        ("--version".to_owned(), 0),
    ];
    if cfg!(feature = "operator") {
        lines.extend([
            (format!("tail {place}"), 3),
            (format!("tail --json {place}"), 3),
            (format!("replay --max-wait 0 {place}"), 0),
            (format!("replay --log --max-wait 0 {place}"), 0),
            (format!("show {place}"), 0),
            (format!("diff run run {place}"), 0),
            (format!("pin run {place}"), 0),
            ("config check -- true".to_owned(), 0),
            ("config show -- true".to_owned(), 0),
            ("schema playbook".to_owned(), 0),
            ("completions bash".to_owned(), 0),
            ("man run".to_owned(), 0),
        ]);
    }
    let case = |(line, code): (String, i32)| Case {
        arguments: line.split(' ').map(str::to_owned).collect(),
        code,
    };
    lines.into_iter().map(case).collect()
}

fn finished(case: &Case, home: &Path, stdout: Stdio) -> Output {
    let mut command = Command::new(binary());
    command.args(&case.arguments).env_clear().env("HOME", home);
    let command = command
        .current_dir(home.join("workspace"))
        .stdin(Stdio::null());
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_result_that_is_not_written_whole_is_no_success_and_a_reader_may_go_away() {
    if !Path::new("/dev/full").exists() {
        need::skip("there is no /dev/full");
        return;
    }
    let run = RunBuilder::sh("echo out; exit 3").finish();
    let place = run.directory.path();
    let playbook = place.join("playbook.yaml");
    let text = "version: 1\nname: p\nsteps:\n  - id: one\n    run: exit 0\n";
    std::fs::write(&playbook, text).unwrap();
    for case in cases(&place.join("recordings"), &playbook) {
        let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let whole = finished(&case, place, Stdio::piped());
        let arguments = &case.arguments;
        assert_eq!(
            whole.status.code(),
            Some(case.code),
            "{arguments:?}: {}",
            told(&whole)
        );
        assert!(!whole.stdout.is_empty(), "{arguments:?}");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = finished(&case, place, full.into());
        let stderr = told(&full);
        assert_eq!(full.status.code(), Some(125), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains("not written whole"),
            "{arguments:?}: {stderr}"
        );
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let closed = finished(&case, place, writer.into());
        let expected = if arguments[0] == "tail" { 0 } else { case.code };
        assert_eq!(
            closed.status.code(),
            Some(expected),
            "{arguments:?}: {}",
            told(&closed)
        );
    }
}

#[test]
fn a_dry_run_finds_that_the_report_cannot_be_written() {
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("report.xml");
    let playbook = "version: 1\nname: p\nsteps:\n  - id: one\n    run: exit 0\n";
    let dry = |path: &str| {
        RunBuilder::playbook(playbook)
            .flag("--dry-run")
            .flag(format!("--junit={path}"))
            .command()
            .output()
            .unwrap()
    };
    let absent = dry("/nonexistent/report.xml");
    let stderr = String::from_utf8_lossy(&absent.stderr);
    assert_eq!(absent.status.code(), Some(125), "{stderr}");
    assert!(
        stderr.contains("--junit = /nonexistent/report.xml"),
        "{stderr}"
    );
    std::fs::write(&report, "an earlier one").unwrap();
    let there = dry(report.to_str().unwrap());
    assert_eq!(
        there.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&there.stderr)
    );
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "an earlier one");
}
