//! A run in tmux whose client goes away and comes back: the run goes on, and the view is whole again.

use crate::harness::{Recording, RunBuilder, Terminal, until};
use crate::process_table;

/// Prints a line for each file that appears, and ends at the third. It is a file of a short name, so that no row of the view
/// is wider than the narrowest terminal here: one that has broken long rows, and tells its new size later, keeps a part of
/// them if a frame comes between (docs/observability.md), and that moment cannot be chosen.
const GATED: &str =
    "for gate in one two three; do echo at $gate; until [ -e $gate ]; do sleep 0.02; done; done\n";

/// What the row of the view begins with, while the run goes on.
const RUNNING: &str = "running  run";

/// Waits until the view is drawn once, whole, in the width of the terminal, below `line`.
fn until_view_is_whole(terminal: &Terminal, columns: usize, line: &str) {
    let mut clock = None;
    terminal.until_screen("the view is whole and goes on", |screen| {
        let rows: Vec<&str> = screen.lines().collect();
        let at_view = rows.iter().position(|row| row.starts_with(RUNNING))?;
        let row = rows[at_view];
        assert!(row.chars().count() < columns, "{screen}");
        let n_views = rows.iter().filter(|row| row.starts_with(RUNNING)).count();
        let n_actions = screen.matches('▸').count();
        let at_line = rows.iter().position(|row| *row == line)?;
        let before = clock.get_or_insert_with(|| row.to_owned());
        (before != row && n_views == 1 && n_actions == 1 && at_line < at_view).then_some(())
    });
}

#[test]
fn a_view_that_is_detached_and_attached_again_is_whole() {
    let (Some(session), Some(client)) = (Terminal::open(110, 30), Terminal::open(110, 30)) else {
        return;
    };
    let run = RunBuilder::sh("exec sh gates");
    std::fs::write(run.workspace().join("gates"), GATED).unwrap();
    client.attach(&session);
    session.run(&run.command());
    until_view_is_whole(&client, 110, "at one");
    session.detach_clients();
    client.until_shows("[detached");
    // Nobody looks: the run goes on all the same.
    std::fs::write(run.workspace().join("one"), "").unwrap();
    let recording = Recording::at(run.recordings().join("run"));
    until("the run goes on", || {
        recording.output().contains("at two").then_some(())
    });
    for (columns, rows) in [(70, 20), (120, 40)] {
        client.resize(columns, rows);
        client.attach(&session);
        until_view_is_whole(&client, usize::from(columns), "at two");
        session.detach_clients();
        client.until_shows("[detached");
    }
    client.attach(&session);
    std::fs::write(run.workspace().join("two"), "").unwrap();
    until_view_is_whole(&client, 120, "at three");
    std::fs::write(run.workspace().join("three"), "").unwrap();
    client.until_line("exit=0");
    let screen = client.screen();
    let n_lines = |text: &str| screen.lines().filter(|line| *line == text).count();
    for line in ["at one", "at two", "at three"] {
        assert_eq!(n_lines(line), 1, "{line:?} in\n{screen}");
    }
    assert!(!screen.contains(RUNNING), "{screen}");
    recording.assert_whole();
}

#[test]
fn a_session_that_ends_while_nobody_looks_ends_the_run_in_order() {
    let (Some(session), Some(client)) = (Terminal::open(100, 30), Terminal::open(100, 30)) else {
        return;
    };
    let run = RunBuilder::sh("echo up; exec sleep 100");
    client.attach(&session);
    session.run(&run.command());
    until_view_is_whole(&client, 100, "up");
    session.detach_clients();
    client.until_shows("[detached");
    session.close();
    let recording = Recording::at(run.recordings().join("run"));
    let status = recording.until_finished();
    assert_eq!(status["status"], "terminated", "{status}");
    assert_eq!(status["outcome"]["stop_signal"], 1, "{status}");
    until("nothing of the run is left", || {
        process_table::of_run(&run.workspace())
            .is_empty()
            .then_some(())
    });
    recording.assert_whole();
}
