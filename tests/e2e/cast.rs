//! The terminal recording of real runs: what it shows, how it is cut, and that players of others take it.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::need::need;
use crate::harness::run::kill;
use crate::harness::{Recording, RunBuilder, Terminal, until};

/// Header and entries of a cast; every line is whole JSON.
fn read(recording: &Recording) -> (Value, Vec<(f64, String, String)>) {
    let text = std::fs::read_to_string(recording.path().join("terminal.cast")).unwrap();
    assert!(
        text.ends_with('\n'),
        "a torn line: {:?}",
        text.lines().last()
    );
    let mut lines = text.lines();
    let header = serde_json::from_str(lines.next().unwrap()).unwrap();
    let entries: Vec<(f64, String, String)> = lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(entries.is_sorted_by_key(|(at, ..)| *at));
    (header, entries)
}

fn texts(entries: &[(f64, String, String)], code: &str) -> Vec<String> {
    let of_code = entries.iter().filter(|(_, found, _)| found == code);
    of_code.map(|(.., text)| text.clone()).collect()
}

#[test]
fn a_run_is_recorded_as_it_was_seen_and_asciinema_plays_it() {
    let script = r#"
        printf 'gr\303'; sleep 0.2; printf '\266\303\237er \360\237\246\200\n'
        sleep 0.2; echo err >&2
        sleep 0.4
        printf '\033[31mred\033[0m\r\nend'
    "#;
    let run = RunBuilder::sh(script)
        .env("TERM", "xterm-256color")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let (header, entries) = read(&run.recording);
    assert_eq!(header["version"], 2);
    assert_eq!(
        (&header["width"], &header["height"]),
        (&80.into(), &24.into())
    );
    assert_eq!(header["title"], "run");
    assert_eq!(header["env"]["TERM"], "xterm-256color");
    assert!(header["command"].as_str().unwrap().starts_with("sh -c"));
    assert!(header["timestamp"].as_u64().unwrap() > 1_700_000_000);
    let markers = texts(&entries, "m");
    assert_eq!(markers.len(), 1, "{markers:?}");
    assert!(markers[0].starts_with("step 1: sh -c"), "{markers:?}");
    let shown = texts(&entries, "o").concat();
    assert_eq!(shown, "größer 🦀\r\nerr\r\n\u{1b}[31mred\u{1b}[0m\r\nend");
    let at = |text: &str| {
        let mut shown = entries.iter().filter(|(_, code, _)| code == "o");
        shown.find(|(.., found)| found.contains(text)).unwrap().0
    };
    assert!(at("red") - at("err") > 0.3, "{entries:?}");
    let (Some(_), Some(terminal)) = (need("asciinema"), Terminal::open(80, 24)) else {
        return;
    };
    // It asks for a terminal even where it prints into a file.
    let cast = run.recording.path().join("terminal.cast");
    terminal.type_line(&format!(
        "asciinema cat {} > out; echo exit=$?",
        cast.display()
    ));
    terminal.until_line("exit=0");
    let printed = std::fs::read(terminal.directory().join("out")).unwrap();
    assert_eq!(String::from_utf8(printed).unwrap(), shown);
    terminal.type_line(&format!("clear; asciinema play -i 0.1 {}", cast.display()));
    terminal.until_line("größer 🦀");
    terminal.until_shows("end");
}

#[test]
fn each_action_of_an_agent_is_a_marker() {
    let script = r#"
        echo '{"type":"action.started","call_id":"c1","tool":"shell","action":"build"}'
        echo '{"type":"action","call_id":"c1","tool":"shell","action":"build","success":true}'
        echo '{"tool":"editor","action":"write","input_summary":"src/main.rs"}'
    "#;
    let run = RunBuilder::sh(script).flag("--adapter=jsonl").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let (_, entries) = read(&run.recording);
    let markers = texts(&entries, "m");
    assert_eq!(markers, ["step 1: shell build", "step 2: src/main.rs"]);
}

#[test]
fn a_recording_that_reaches_its_limit_says_so_and_the_log_has_the_rest() {
    let run = RunBuilder::sh("seq 1 50000")
        .env("STOCKADE_RECORDING_TERMINAL_BYTES", "64KiB")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let cast = run.recording.path().join("terminal.cast");
    assert!(std::fs::metadata(cast).unwrap().len() <= 64 * 1024);
    let (_, entries) = read(&run.recording);
    let (_, code, label) = entries.last().unwrap();
    assert_eq!(code, "m");
    assert!(
        label.contains("recording.terminal_bytes = 65536"),
        "{label}"
    );
    let logged = run.recording.events_of("log");
    assert!(
        logged
            .iter()
            .any(|event| event["message"] == label.as_str())
    );
    assert!(run.recording.output().ends_with("\n50000\n"));
}

#[test]
fn a_run_without_terminal_recording_has_none() {
    let run = RunBuilder::sh("echo hello")
        .env("STOCKADE_RECORDING_TERMINAL", "false")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(!run.recording.path().join("terminal.cast").exists());
}

#[test]
fn the_cast_of_a_killed_supervisor_has_whole_lines() {
    let run = RunBuilder::sh("while :; do echo 0123456789; done").start();
    let cast = run.recording().path().join("terminal.cast");
    until("a part of the flood is recorded", || {
        (std::fs::metadata(&cast).ok()?.len() > 200_000).then_some(())
    });
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let (_, entries) = read(&run.recording);
    assert!(!texts(&entries, "o").is_empty());
}

#[test]
fn a_secret_that_is_printed_in_pieces_is_not_in_the_cast() {
    const SECRET: &str = "correct-horse-battery-staple";
    let script = "for piece in cor rect-h orse-batt ery-stap le; do printf '%s' $piece; sleep 0.15; done; echo";
    let run = RunBuilder::sh(script)
        .flag("--credential=KEY=env:GIVEN")
        .env("GIVEN", SECRET)
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let (_, entries) = read(&run.recording);
    assert_eq!(texts(&entries, "o").concat(), "[redacted:KEY]\r\n");
}
