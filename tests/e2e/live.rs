//! The live view: what a person sees in a terminal while a run goes on, and what is left of it afterwards.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::run::kill;
use crate::harness::{Recording, RunBuilder, Terminal, until};

/// A workload that goes on when the file `go` is there.
const GATED: &str = "echo first; until [ -e go ]; do sleep 0.02; done; echo second";

/// What the row of the view begins with, while the run goes on.
const RUNNING: &str = "running  run";

/// Lines of the flood; the terminal keeps 20,000.
const N_LINES: usize = 15_000;

fn open_gate(workspace: &Path) {
    std::fs::write(workspace.join("go"), "").unwrap();
}

fn count(screen: &str, beginning: &str) -> usize {
    let rows = screen.lines();
    rows.filter(|line| line.starts_with(beginning)).count()
}

#[test]
fn the_view_shows_where_the_run_is_and_leaves_its_output_and_where_to_look() {
    let Some(terminal) = Terminal::open(110, 30) else {
        return;
    };
    let run = RunBuilder::sh(GATED);
    terminal.run(&run.command());
    terminal.until_screen("the view is there", |screen| {
        let is_there = screen.contains(RUNNING) && screen.lines().any(|line| line == "first");
        (is_there && screen.contains("▸ 0:0") && screen.contains("of 10:00")).then_some(())
    });
    open_gate(&run.workspace());
    terminal.until_line("exit=0");
    let screen = terminal.screen();
    let at = |text: &str| {
        let line = screen.lines().position(|line| line.starts_with(text));
        line.unwrap_or_else(|| panic!("{text:?} in\n{screen}"))
    };
    assert!(at("first") < at("second") && at("second") < at("completed after"));
    assert_eq!(at("exit=0"), at("recorded in") + 1, "{screen}");
    assert_eq!(count(&screen, RUNNING), 0, "{screen}");
    assert!(!screen.contains('▸'), "{screen}");
}

#[test]
fn ten_thousand_lines_a_second_are_all_there_and_the_view_is_drawn_once() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    // 1,000 lines in each tenth of a second.
    let script = format!(
        "n=0; while [ $n -lt {N_LINES} ]; do seq $((n+1)) $((n+1000)); n=$((n+1000)); sleep 0.1; done; \
         until [ -e go ]; do sleep 0.02; done"
    );
    let run = RunBuilder::sh(&script);
    terminal.run(&run.command());
    let mut n_seen = 0;
    terminal.until_screen("the flood is over", |screen| {
        let n_rows = count(screen, RUNNING);
        assert!(n_rows <= 1, "{screen}");
        n_seen += n_rows;
        screen
            .lines()
            .any(|line| line == N_LINES.to_string())
            .then_some(())
    });
    assert!(n_seen > 0, "the view was never seen");
    open_gate(&run.workspace());
    terminal.until_line("exit=0");
    let history = terminal.history();
    let numbers: Vec<usize> = history
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=N_LINES).collect::<Vec<_>>());
}

#[test]
fn the_view_follows_the_size_of_the_terminal() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh(GATED);
    terminal.run(&run.command());
    terminal.until_shows(RUNNING);
    for (columns, rows) in [(40, 12), (120, 40), (24, 8), (100, 30)] {
        terminal.resize(columns, rows);
        let mut clock = None;
        // Drawn anew at least once: its clock went on.
        terminal.until_screen("the view is drawn once at the new size", |screen| {
            let row = screen.lines().find(|line| line.starts_with(RUNNING))?;
            assert!(row.chars().count() < usize::from(columns), "{screen}");
            let before = clock.get_or_insert_with(|| row.to_owned());
            let is_new = before != row || columns < 30;
            (is_new && count(screen, RUNNING) == 1 && count(screen, "▸") <= 1).then_some(())
        });
    }
    open_gate(&run.workspace());
    terminal.until_line("exit=0");
    assert_eq!(count(&terminal.screen(), RUNNING), 0);
}

#[test]
fn the_rows_of_a_view_that_dies_are_taken_away_and_its_output_stays() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh(GATED);
    terminal.run(&run.command());
    terminal.until_screen("the view is there", |screen| {
        let is_there = screen.contains(RUNNING) && screen.lines().any(|line| line == "first");
        is_there.then_some(())
    });
    let claim = std::fs::read(run.recordings().join("run/claim.json")).unwrap();
    let claim: serde_json::Value = serde_json::from_slice(&claim).unwrap();
    let supervisor = i32::try_from(claim["pid"].as_i64().unwrap()).unwrap();
    kill(supervisor, Signal::SIGKILL);
    terminal.until_line("exit=125");
    let screen = terminal.screen();
    assert_eq!(count(&screen, RUNNING), 0, "{screen}");
    assert!(!screen.contains('▸'), "{screen}");
    let lines: Vec<&str> = screen.lines().collect();
    let first = lines.iter().position(|line| *line == "first");
    let first = first.unwrap_or_else(|| panic!("no output in\n{screen}"));
    let behind = lines[first + 1];
    assert!(behind.contains("SUPERVISOR_CRASHED"), "{screen}");
}

#[test]
fn control_c_once_ends_the_view_with_its_last_line() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh(GATED);
    terminal.run(&run.command());
    terminal.until_shows(RUNNING);
    terminal.press("C-c");
    terminal.until_line("exit=130");
    let screen = terminal.screen();
    assert!(
        screen.contains("terminated (RUN_TERMINATED) after"),
        "{screen}"
    );
    assert!(
        screen
            .replace('\n', "")
            .contains("SIGINT from the terminal"),
        "{screen}"
    );
    assert!(screen.contains("recorded in"), "{screen}");
    assert_eq!(count(&screen, RUNNING), 0, "{screen}");
}

#[test]
fn a_terminal_that_is_held_does_not_hold_the_run() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    // More than a terminal takes while it is held.
    let run = RunBuilder::sh("until [ -e go ]; do sleep 0.02; done; seq 1 50000");
    terminal.run(&run.command());
    terminal.until_shows(RUNNING);
    terminal.press("C-s");
    open_gate(&run.workspace());
    let recording = Recording::at(run.recordings().join("run"));
    until("the run has ended while the terminal is held", || {
        (recording.try_status()?["status"] == "completed").then_some(())
    });
    terminal.press("C-q");
    terminal.until_line("exit=0");
    recording.assert_whole();
}

#[test]
fn what_the_workload_prints_cannot_harm_the_terminal() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let script = r"echo kept; printf '\033[2J\033[H\033[?1049h\033]0;title\007\033[31mred\033[0m harmless\r\n'; printf 'torn \033['";
    let run = RunBuilder::sh(script);
    terminal.run(&run.command());
    terminal.until_line("exit=0");
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().collect();
    for line in ["kept", "red harmless", "torn"] {
        assert!(lines.contains(&line), "{line:?} in\n{screen}");
    }
    assert!(terminal.styled_screen().contains("\u{1b}[31mred"));
}

#[test]
fn no_color_means_none() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh(r"printf '\033[31mred\033[0m\n'; exit 3").env("NO_COLOR", "1");
    terminal.run(&run.command());
    terminal.until_line("exit=3");
    let styled = terminal.styled_screen();
    assert!(styled.contains("failed (COMMAND_FAILED)"), "{styled}");
    assert!(!styled.contains('\u{1b}'), "{styled:?}");
}

#[test]
fn a_terminal_that_is_slow_but_not_held_gets_the_last_line_of_a_stopped_run() {
    let pty = nix::pty::openpty(None, None).unwrap();
    // Less than is passed over while a run goes on, and more than at the end of one that was stopped.
    let run = RunBuilder::sh("yes 0123456789 | head -c 2000000; exec sleep 1000");
    let run = run.env("TERM", "xterm");
    let recordings = run.recordings();
    let mut command = run.command();
    command
        .stdin(std::process::Stdio::null())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave);
    let mut child = command.spawn().unwrap();
    // It holds the terminal's other end.
    drop(command);
    let mut master = std::fs::File::from(pty.master);
    let mut shown = Vec::new();
    let mut piece = [0; 2_048];
    let mut stopped_at = None;
    // EIO when the last writer is gone.
    while let Ok(n_read @ 1..) = std::io::Read::read(&mut master, &mut piece) {
        shown.extend_from_slice(&piece[..n_read]);
        // More is on record than is shown at the end of a stopped run.
        let log = recordings.join("run/events.jsonl");
        if stopped_at.is_none() && std::fs::metadata(log).is_ok_and(|log| log.len() > 2_000_000) {
            kill(child.id().cast_signed(), Signal::SIGTERM);
            stopped_at = Some(shown.len());
        }
        // At most 40 KB a second: a frame takes longer than a terminal may take nothing.
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    // The frame that was on its way, and the last lines: not four seconds of output.
    let n_after = shown.len() - stopped_at.unwrap();
    assert!(n_after < 120_000, "{n_after} bytes behind the stop");
    let shown = String::from_utf8_lossy(&shown);
    let end: Vec<&str> = shown.lines().rev().take(8).collect();
    let has = |text: &str| end.iter().any(|line| line.contains(text));
    assert!(
        has("(RUN_TERMINATED) after") && has("recorded in"),
        "{end:?}"
    );
}
