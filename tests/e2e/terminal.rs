//! Runs in a terminal: what a person types reaches whom it is meant for, and the terminal is as before at every end.

use nix::sys::signal::Signal;

use crate::harness::run::kill;
use crate::harness::{Recording, RunBuilder, Terminal, until};
use crate::process_table::{live_child, namespace_init};

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
    let before = terminal.settings();
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
    assert_eq!(terminal.settings(), before);
}

/// A run that has ended in the terminal.
fn recording_of(run: &RunBuilder) -> Recording {
    Recording::at(run.recordings().join("run"))
}

/// Pid of the supervisor of a run that goes on in the terminal.
fn supervisor_of(run: &RunBuilder) -> i32 {
    let claim = run.recordings().join("run/claim.json");
    until("the supervisor claims the run", || {
        let claim: serde_json::Value = serde_json::from_slice(&std::fs::read(&claim).ok()?).ok()?;
        i32::try_from(claim["pid"].as_i64()?).ok()
    })
}

#[test]
fn a_run_with_a_terminal_has_one_of_its_own() {
    let script =
        "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all >&2; echo x > /dev/tty";
    let run = RunBuilder::sh(script).flag("--tty").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let expected = "/dev/pts/0\r\n24 80\r\nall\r\nx\r\n";
    assert_eq!(run.stdout, expected);
    let output = run.recording.events_of("action.output");
    let text = output.iter().map(|event| event["text"].as_str().unwrap());
    assert_eq!(text.collect::<String>(), expected);
    assert!(output.iter().all(|event| event["stream"] == "stdout"));
    let cast = std::fs::read_to_string(run.recording.path().join("terminal.cast")).unwrap();
    assert!(
        cast.contains(r"all\r\n") && !cast.contains(r"\r\r"),
        "{cast}"
    );
    run.recording.assert_whole();
}

#[test]
fn keys_and_sizes_reach_the_program_and_the_terminal_is_restored() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let before = terminal.settings();
    let script = "trap 'echo key' INT; trap 'stty size' WINCH; stty size; \
        read -r first; echo \"got $first\"; until read -r second; do :; done; echo \"then $second\"; exit 3";
    let run = RunBuilder::sh(script).flag("-t").flag("-i");
    terminal.run(&run.command());
    terminal.until_line("30 100");
    assert_ne!(terminal.settings(), before, "the terminal is raw meanwhile");
    terminal.type_line("typed");
    terminal.until_line("got typed");
    terminal.press("C-c");
    terminal.until_shows("key");
    terminal.resize(90, 25);
    terminal.until_line("25 90");
    terminal.type_line("more");
    terminal.until_line("then more");
    terminal.until_line("exit=3");
    // All but the first line, which has the size.
    let but_size = |settings: &str| settings.split_once('\n').unwrap().1.to_owned();
    assert_eq!(but_size(&terminal.settings()), but_size(&before));
    let recording = recording_of(&run);
    recording.assert_whole();
    let cast = std::fs::read_to_string(recording.path().join("terminal.cast")).unwrap();
    assert!(cast.contains("\"width\":100,\"height\":30"), "{cast}");
    assert!(cast.contains("\"r\", \"90x25\""), "{cast}");
}

#[test]
fn the_terminal_is_restored_behind_a_supervisor_that_is_killed() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let before = terminal.settings();
    let run = RunBuilder::sh("echo up; exec sleep 100").flag("-ti");
    terminal.run(&run.command());
    terminal.until_line("up");
    assert_ne!(terminal.settings(), before, "the terminal is raw meanwhile");
    kill(supervisor_of(&run), Signal::SIGKILL);
    terminal.until_line("exit=125");
    assert_eq!(terminal.settings(), before);
    assert_eq!(
        recording_of(&run).status()["error"]["code"],
        "SUPERVISOR_CRASHED"
    );
}

#[test]
fn control_z_suspends_the_run_and_fg_goes_on_with_it() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh("echo up; until test -e go; do sleep 0.02; done; echo down");
    terminal.run(&run.command());
    terminal.until_line("up");
    let supervisor = supervisor_of(&run);
    let workload = || {
        let init = namespace_init(live_child(supervisor)?)?;
        live_child(init)
    };
    let shell = until("the workload runs", workload);
    terminal.press("C-z");
    until("the workload stands still", || {
        (state_of(shell)? == 'T').then_some(())
    });
    // What is typed now is for the shell.
    terminal.type_line("echo shell-is-$((1 + 1))");
    terminal.until_line("shell-is-2");
    std::fs::write(run.workspace().join("go"), "").unwrap();
    assert_eq!(state_of(shell), Some('T'));
    terminal.type_line("fg; echo fg=$?");
    terminal.until_line("down");
    terminal.until_line("fg=0");
    let messages: Vec<String> = recording_of(&run)
        .events_of("log")
        .iter()
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["the run is suspended from its terminal", "the run goes on"];
    assert_eq!(messages, expected);
    recording_of(&run).assert_whole();
}

/// State letter of a process, proc_pid_stat(5).
fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_terminal_that_is_closed_ends_the_run_in_order() {
    // With a live view, with a terminal of its own, and with the keyboard as well.
    for flag in ["--progress=live", "--tty", "-ti"] {
        let Some(terminal) = Terminal::open(100, 30) else {
            return;
        };
        let run = RunBuilder::sh("echo up; exec sleep 100").flag(flag);
        terminal.run(&run.command());
        terminal.until_line("up");
        terminal.close();
        let recording = recording_of(&run);
        let status = recording.until_finished();
        assert_eq!(status["status"], "terminated", "{status}");
        assert_eq!(status["outcome"]["stop_signal"], 1, "{status}");
        recording.assert_whole();
    }
}

#[test]
fn input_is_read_where_it_is_asked_for_and_nowhere_else() {
    for (flags, expected) in [
        (&[][..], ""),
        (&["--interactive"][..], "one\ntwo"),
        (&["-i", "-t"][..], "one\r\ntwo"),
    ] {
        let mut run = RunBuilder::sh("stty -echo 2>/dev/null; cat");
        for flag in flags {
            run = run.flag(flag);
        }
        let mut command = run.command();
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let _ = std::io::Write::write_all(&mut input, b"one\ntwo");
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        // What came before the echo was off is shown twice by a terminal.
        assert!(shown.ends_with(expected), "{flags:?} {shown:?}");
        assert_eq!(shown.is_empty(), flags.is_empty());
    }
}

#[test]
fn a_secret_that_is_typed_is_found_nowhere() {
    const SECRET: &str = "correct-horse-battery-staple";
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let run = RunBuilder::sh("echo up; read -r line; test ${#line} = 28 && echo taken")
        .flag("-ti")
        .flag("--credential=KEY=env:GIVEN")
        .env("GIVEN", SECRET);
    terminal.run(&run.command());
    terminal.until_line("up");
    for piece in ["correct-", "horse-bat", "tery-stap"] {
        terminal.type_keys(piece);
    }
    terminal.type_line("le");
    terminal.until_line("taken");
    terminal.until_line("exit=0");
    let recording = recording_of(&run);
    for entry in std::fs::read_dir(recording.path()).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(bytes) = std::fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(SECRET), "{}", path.display());
            for piece in ["horse-bat", "tery-stap"] {
                assert!(!text.contains(piece), "{piece} in {}", path.display());
            }
        }
    }
}
