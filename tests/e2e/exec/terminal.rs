//! exec in a terminal: a terminal for the command, and the keys that mean a job.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::signals::state;
use super::{exec, marked};
use crate::harness::{Terminal, until};

/// exec as a person types it, in the directory of the terminal.
fn typed(terminal: &Terminal, flags: &[&str], command: &[&str]) -> Command {
    let mut exec = exec(terminal.directory());
    exec.args(flags).arg("--").args(command);
    exec
}

#[test]
fn the_command_has_a_terminal_of_its_own_with_the_size_of_the_outer_one() {
    let Some(terminal) = Terminal::open(90, 25) else {
        return;
    };
    // All but the first line, which has the size.
    let settings = || {
        terminal
            .settings()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = settings();
    let script = "tty; stty size; trap 'stty size' WINCH; trap 'echo int; exit 9' INT; while :; do sleep 0.05; done";
    terminal.run(&typed(&terminal, &["--tty"], &["sh", "-c", script]));
    terminal.until_line("/dev/pts/0");
    terminal.until_line("25 90");
    terminal.resize(70, 20);
    terminal.until_line("20 70");
    // In raw mode the key is a byte, and only the terminal inside makes a signal of it.
    assert_ne!(settings(), before);
    terminal.press("C-c");
    terminal.until_shows("int");
    terminal.until_line("exit=9");
    assert_eq!(settings(), before);
}

#[test]
fn a_shell_inside_has_jobs() {
    let Some(terminal) = Terminal::open(90, 25) else {
        return;
    };
    let shell = ["env", "PS1=inner> ", "sh", "-i"];
    terminal.run(&typed(&terminal, &["--tty"], &shell));
    terminal.until_shows("inner>");
    let job = "trap \"echo back\" CONT; echo begun; while :; do sleep 0.05; done";
    terminal.type_line(&format!("sh -c '{job}'"));
    terminal.until_line("begun");
    terminal.press("C-z");
    terminal.until_shows("Stopped");
    terminal.type_line("fg");
    // A key that interrupts takes back what was typed and not read.
    terminal.until_line("back");
    terminal.press("C-c");
    terminal.type_line("jobs; echo none | tr a-z A-Z");
    terminal.until_shows("NONE");
    terminal.type_line("exit 4");
    terminal.until_line("exit=4");
}

#[test]
fn control_c_ends_a_command_without_a_terminal_of_its_own() {
    let Some(terminal) = Terminal::open(90, 25) else {
        return;
    };
    let script = "trap 'echo int; exit 9' INT; echo up; while :; do sleep 0.05; done";
    terminal.run(&typed(&terminal, &[], &["sh", "-c", script]));
    terminal.until_line("up");
    terminal.press("C-c");
    terminal.until_shows("int");
    terminal.until_line("exit=9");
}

#[test]
fn control_z_stops_the_command_and_fg_continues_it() {
    for flags in [&[][..], &["--isolation", "none"]] {
        let Some(terminal) = Terminal::open(90, 25) else {
            return;
        };
        let script = "echo up; until test -e go-on; do sleep 0.05; done; echo done; exit 6";
        let command = ["sh", "-c", script];
        terminal.run(&typed(&terminal, flags, &command));
        terminal.until_line("up");
        terminal.press("C-z");
        terminal.until_shows("exit=148");
        let [pid] = marked(&command)[..] else {
            panic!("the command is gone");
        };
        until("the command is stopped, too", || {
            (state(pid) == Some('T')).then_some(())
        });
        std::fs::write(terminal.directory().join("go-on"), "").unwrap();
        terminal.type_line("fg; echo end=$?");
        terminal.until_line("done");
        terminal.until_line("end=6");
    }
}

#[test]
fn what_is_piped_into_a_terminal_is_typed_there_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    for (command, typed, code, shown) in [
        (&["sh"][..], "echo $((6 * 7))\nexit 5\n", 5, "42"),
        (&["cat"], "line", 0, "lineline"),
    ] {
        let mut child = exec(directory.path())
            .args(["--tty", "--"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(typed.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(shown), "{text:?}");
    }
}

#[test]
fn a_command_may_close_its_terminal_and_open_it_again() {
    let directory = tempfile::tempdir().unwrap();
    // Where nobody holds the outer side any more, a signal tells whoever had the terminal.
    let script =
        "exec </dev/null >/dev/null 2>&1; sleep 0.5; echo again >/dev/tty; sleep 0.5; exit 3";
    let output = exec(directory.path())
        .args(["--tty", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"again\r\n");
}

#[test]
fn all_that_a_command_left_on_its_terminal_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let output = exec(directory.path())
        .args(["--tty", "--", "sh", "-c", "seq 1 30000; kill -9 $$"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected: String = (1..=30_000).map(|n| format!("{n}\r\n")).collect();
    assert!(
        text == expected,
        "{} of {} bytes",
        text.len(),
        expected.len()
    );
    assert_eq!(output.status.signal(), Some(9));
}
