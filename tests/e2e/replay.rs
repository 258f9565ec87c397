//! `stockade replay`: what was seen is seen again, at the pace that is asked for.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::harness::run::{Finished, binary};
use crate::harness::{RunBuilder, Terminal};

fn replay(path: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("replay").arg(path).args(flags);
    command.env_clear().output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn finished(run: RunBuilder) -> Finished {
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run
}

#[test]
fn what_was_seen_is_seen_again_at_the_pace_that_is_asked_for() {
    let script = r"echo one; sleep 2; printf '\033[31mtwo\033[0m\n'";
    let run = finished(RunBuilder::sh(script));
    let played = |flags: &[&str]| {
        let begun = Instant::now();
        let output = replay(run.recording.path(), flags);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output), "one\r\n\u{1b}[31mtwo\u{1b}[0m\r\n");
        begun.elapsed()
    };
    assert!(played(&[]) >= Duration::from_millis(1950));
    assert!(played(&["--speed", "2"]) >= Duration::from_millis(950));
    let at_once = played(&["--max-wait", "0"]);
    assert!(at_once < Duration::from_millis(1900), "{at_once:?}");
}

#[test]
fn a_replay_begins_with_the_step_that_is_asked_for() {
    let script = r#"
        echo '{"type":"action.started","call_id":"a","tool":"t","action":"x"}'; sleep 0.2; echo of the first >&2; sleep 0.2
        echo '{"type":"action","call_id":"a","tool":"t","action":"x"}'
        echo '{"type":"action.started","call_id":"b","tool":"t","action":"y"}'; sleep 0.2; echo of the second >&2
    "#;
    let run = finished(RunBuilder::sh(script).flag("--adapter=jsonl"));
    for form in [&[][..], &["--log"][..]] {
        let flags = [form, &["--max-wait", "0", "--from-step", "2"][..]].concat();
        let output = replay(run.recording.path(), &flags);
        assert!(output.status.success(), "{output:?}");
        let shown = text(&output);
        assert!(shown.contains("of the second"), "{shown}");
        assert!(!shown.contains("of the first"), "{shown}");
        let flags = [form, &["--max-wait", "0", "--from-step", "3"][..]].concat();
        let output = replay(run.recording.path(), &flags);
        assert_eq!(output.status.code(), Some(125));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = "the recording has no step 3; give a step from 1 to 2";
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn lines_of_the_log_are_harmless_and_stand_in_for_a_cast_that_is_not_there() {
    let script = r"printf '\033]0;title\007\033[2Jshown\033[31m\n'";
    for (terminal, flags) in [
        ("true", &["--log", "--max-wait=0"][..]),
        ("false", &["--max-wait=0"][..]),
    ] {
        let run = finished(RunBuilder::sh(script).env("STOCKADE_RECORDING_TERMINAL", terminal));
        let output = replay(run.recording.path(), flags);
        assert!(output.status.success(), "{output:?}");
        let shown = text(&output);
        assert!(shown.contains("shown"), "{shown:?}");
        let is_harmful = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(is_harmful), "{shown:?}");
    }
}

#[test]
fn a_replay_without_a_recording_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let output = replay(&missing, &[]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    for flags in [["--speed", "0"], ["--max-wait", "-1"], ["--speed", "NaN"]] {
        let output = replay(&missing, &flags);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn control_c_ends_a_replay_and_the_terminal_is_as_before() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = finished(RunBuilder::sh(
        r"printf '\033[?1049h\033[?25lon another view!'; sleep 1.5; echo late",
    ));
    let mut command = Command::new(binary());
    command
        .arg("replay")
        .arg(run.recording.path())
        .args(["--speed", "0.02", "--max-wait", "60"])
        .env_clear();
    terminal.run(&command);
    terminal.until_shows("on another view!");
    terminal.press("C-c");
    terminal.until_line("exit=130");
    // The line that was typed stands on the first screen.
    terminal.until_shows("sh ./go");
    assert!(!terminal.screen().contains("on another view!"));
}
