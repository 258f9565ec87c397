//! Runs in a terminal: what a person types reaches whom it is meant for, and the terminal is as before at every end.

use crate::harness::{Recording, RunBuilder, Terminal};

#[test]
fn control_c_once_stops_a_run_in_order() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let script = "trap 'sleep 1.2; echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let run = RunBuilder::sh(script);
    terminal.run(&run.command());
    terminal.until_line("up");
    terminal.press("C-c");
    // The grace was not cut short: one key is one request, though the whole process group got it.
    terminal.until_shows("asked");
    terminal.until_line("exit=130");
    let recording = Recording::at(run.recordings().join("run"));
    assert_eq!(recording.status()["status"], "terminated");
    recording.assert_whole();
}

#[test]
fn what_a_command_prints_is_shown_as_it_is_and_the_terminal_stays_as_it_was() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    terminal.resize(60, 20);
    let before = settings_of(&terminal);
    assert!(before.contains("columns 60"), "{before}");
    let run = RunBuilder::sh(r"seq 1 100; printf '\033[31mred\033[0m\n'");
    terminal.run(&run.command());
    terminal.until_line("exit=0");
    let history = terminal.history();
    let numbers: Vec<u32> = history
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{history}");
    let styled = terminal.styled_screen();
    assert!(styled.contains("\u{1b}[31mred"), "{styled:?}");
    assert_eq!(settings_of(&terminal), before);
}

/// What stty(1) says of the terminal.
fn settings_of(terminal: &Terminal) -> String {
    let output = std::process::Command::new("stty")
        .arg("-F")
        .arg(terminal.device())
        .arg("-a")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
