//! An init at a terminal: keys, sizes and jobs.

use super::{Subject, as_pid_1};
use crate::harness::Terminal;

/// Runs an init with this command in the shell of a terminal.
fn start(terminal: &Terminal, words: &[&str]) {
    terminal.run(&Subject::own(&[]).command(words));
}

#[test]
fn a_key_and_a_size_reach_the_command_once() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let script = "ulimit -c 0; trap 'n=$((n+1)); echo key$n' INT; trap 'w=$((w+1)); echo size$w' WINCH; \
                  trap 'exit 3' QUIT; echo up; while :; do sleep 0.02; done";
    start(&terminal, &["sh", "-c", script]);
    terminal.until_line("up");
    terminal.press("C-c");
    terminal.until_shows("key1");
    terminal.resize(90, 25);
    terminal.until_shows("size1");
    terminal.press("C-\\");
    terminal.until_line("exit=3");
    let screen = terminal.screen();
    assert!(
        !screen.contains("key2") && !screen.contains("size2"),
        "{screen}"
    );
}

#[test]
fn as_pid_1_a_key_and_a_size_reach_the_shell_and_its_jobs() {
    let (Some(first), Some(terminal)) = (as_pid_1(), Terminal::open(100, 30)) else {
        return;
    };
    let mut subject = Subject::own(&[]);
    subject.words = [first, subject.words].concat();
    terminal.run(&subject.command(["env", "PS1=inside> ", "sh", "-i"]));
    terminal.until_shows("inside>");
    terminal.type_line("echo pid-of-init-$(cat /proc/1/comm)");
    terminal.until_line("pid-of-init-stockade");
    // A key ends the job in the foreground, not the shell.
    terminal.type_line("clear; echo up; sleep 600; echo ended-$?");
    terminal.until_line("up");
    terminal.press("C-c");
    terminal.until_shows("inside>");
    // A job is stopped and goes on.
    terminal.type_line("clear; sh -c 'echo job-up; read -r line; echo got-$line'");
    terminal.until_line("job-up");
    terminal.press("C-z");
    terminal.until_shows("Stopped");
    terminal.type_line("fg");
    terminal.type_line("more");
    terminal.until_line("got-more");
    terminal.resize(90, 25);
    terminal.type_line("clear; echo size-$(stty size)");
    terminal.until_line("size-25 90");
    terminal.type_line("exit 5");
    terminal.until_line("exit=5");
}

#[test]
fn control_z_gives_the_shell_its_terminal_and_fg_goes_on() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let script = "trap 'n=$((n+1)); echo back$n' CONT; echo up; until read -r line; do :; done; echo got $line; exit 4";
    start(&terminal, &["sh", "-c", script]);
    terminal.until_line("up");
    for round in 1..=2 {
        terminal.press("C-z");
        // What is typed now is for the shell.
        terminal.until_shows("Stopped");
        terminal.type_line(&format!("clear; echo shell-{round}-$((1 + 1))"));
        terminal.until_line(&format!("shell-{round}-2"));
        terminal.type_line("fg; echo fg=$?");
        terminal.until_shows(&format!("back{round}"));
    }
    terminal.type_line("more");
    terminal.until_line("got more");
    terminal.until_line("fg=4");
}

#[test]
fn the_terminal_belongs_to_the_caller_again_at_the_end() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    // A script has no job control, so nobody but the init can give the terminal back.
    let words = Subject::own(&[]).words;
    let init: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let script = format!(
        "{} -- true; read -r line; echo \"got $line\"",
        init.join(" ")
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]);
    terminal.run(&command);
    terminal.type_line("typed");
    terminal.until_line("got typed");
    terminal.until_line("exit=0");
}

#[test]
fn an_init_in_the_background_leaves_the_terminal_to_the_shell() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let words = Subject::own(&[]).words;
    let init: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    terminal.type_line(&format!(
        "{} -- sh -c 'echo up-$((1 + 1)); exec sleep 600' &",
        init.join(" ")
    ));
    terminal.until_shows("up-2");
    terminal.type_line("echo still-$((1 + 1))");
    terminal.until_line("still-2");
    terminal.type_line("kill %1; wait %1; echo ended=$?");
    terminal.until_line("ended=143");
}

#[test]
fn a_shell_below_the_init_has_jobs() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    // dumb-init can hand a terminal on only where it leads the session of that terminal, as in a container.
    let leader =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let wrapper = ["python3", "-c", leader].map(std::path::PathBuf::from);
    for (flags, leads) in [
        (&[][..], false),
        (&["--compat", "tini"], false),
        (&[], true),
        (&["--compat", "dumb-init"], true),
    ] {
        terminal.type_line("clear");
        let mut subject = Subject::own(flags);
        if leads {
            subject.words = [wrapper.to_vec(), subject.words].concat();
        }
        // A launcher of Python that is a script of bash drops the prompt of its caller.
        let shell = ["--", "env", "PS1=inner> ", "sh", "-i"];
        terminal.run(&subject.command(shell));
        terminal.until_shows("inner> ");
        terminal.type_line("sh -c 'echo in-$((1 + 1)); exec sleep 600'");
        terminal.until_line("in-2");
        terminal.press("C-z");
        terminal.until_shows("Stopped");
        terminal.type_line("kill %1; fg; echo status=$?");
        terminal.until_line("status=143");
        terminal.type_line("exit 5");
        terminal.until_line("exit=5");
    }
}
