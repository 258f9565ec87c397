//! What is said of a recording that has lost something: never less than that it has.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::RunBuilder;
use crate::harness::run::binary;

fn stockade(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs the same twice, as `a` and `b`.
fn two_runs(recordings: &Path) {
    for id in ["a", "b"] {
        let run =
            RunBuilder::sh(r#"echo '{"type":"action","tool":"t","success":true}'; echo seen"#)
                .flag("--adapter=jsonl")
                .with_recordings(recordings)
                .flag(format!("--run-id={id}"))
                .finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
    }
}

#[test]
fn a_log_with_a_bad_line_is_played_and_compared_with_a_word_about_it() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    two_runs(&recordings);
    let [a, b] = ["a", "b"].map(|id| recordings.join(id).to_str().unwrap().to_owned());
    assert_eq!(stockade(&["diff", &a, &b]).status.code(), Some(0));
    let log = recordings.join("b/events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let line = text.lines().find(|line| line.contains("action.output"));
    fs::write(&log, text.replace(line.unwrap(), "no event")).unwrap();
    let diff = stockade(&["diff", &a, &b]);
    assert_eq!(diff.status.code(), Some(1), "{}", said(&diff));
    assert!(
        said(&diff).contains("the log of b is damaged"),
        "{}",
        said(&diff)
    );
    let replay = stockade(&["replay", "--log", "--max-wait", "0", &b]);
    assert_eq!(replay.status.code(), Some(0), "{}", said(&replay));
    assert!(
        said(&replay).contains("the log has 2 bad lines"),
        "{}",
        said(&replay)
    );
}

#[test]
fn where_there_is_no_log_nothing_is_played_and_the_status_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    two_runs(&recordings);
    let a = recordings.join("a").to_str().unwrap().to_owned();
    for spoil in [
        |log: &Path| fs::write(log, "").unwrap(),
        |log: &Path| fs::remove_file(log).unwrap(),
    ] {
        spoil(&recordings.join("a/events.jsonl"));
        let replay = stockade(&["replay", "--log", &a]);
        assert_eq!(replay.status.code(), Some(125), "{}", said(&replay));
        assert!(
            said(&replay).contains("has no events to play"),
            "{}",
            said(&replay)
        );
        let show = said(&stockade(&["show", &a]));
        assert!(show.contains("the log is missing or empty"), "{show}");
        assert!(show.contains("actions   1"), "{show}");
    }
    fs::create_dir(recordings.join("empty")).unwrap();
    let empty = recordings.join("empty").to_str().unwrap().to_owned();
    assert_eq!(stockade(&["replay", &empty]).status.code(), Some(125));
}

#[test]
fn runs_that_gave_another_result_are_different() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["a", "b"] {
        let script = format!(r#"echo '{{"type":"result","result":"{id}"}}'"#);
        let run = RunBuilder::sh(&script)
            .flag("--adapter=jsonl")
            .with_recordings(&recordings);
        assert_eq!(run.flag(format!("--run-id={id}")).finish().code(), 0);
    }
    let [a, b] = ["a", "b"].map(|id| recordings.join(id).to_str().unwrap().to_owned());
    let diff = stockade(&["diff", &a, &b]);
    assert_eq!(diff.status.code(), Some(1), "{}", said(&diff));
    assert!(said(&diff).contains("another result"), "{}", said(&diff));
}
