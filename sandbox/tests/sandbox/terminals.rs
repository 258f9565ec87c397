//! Terminals of the sandbox: whose they are, and what a program in one can do.

use crate::harness::{LIMIT, Run, for_each_starter, full, launch};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use stockade_sandbox::{Terminal, TerminalSize};

const SIZE: TerminalSize = TerminalSize {
    columns: 91,
    rows: 33,
};

/// What a script shows on a terminal of its own, until its end.
fn shown(run: &Run, script: &str) -> String {
    let Terminal { master, slave } = run.sandbox.open_terminal(SIZE).expect("a terminal");
    let mut program = launch(&["sh", "-c", script]);
    let copy = || slave.try_clone().expect("a copy");
    program.stdio = [copy(), copy(), copy()];
    let launched = run.sandbox.launch(program).expect("starts");
    drop(slave);
    let mut shown = Vec::new();
    // EIO is the end: nobody has the slave open any more.
    let _ = File::from(master).read_to_end(&mut shown);
    run.wait(launched);
    String::from_utf8(shown).expect("text")
}

#[test]
fn a_launch_on_a_terminal_has_it_as_its_own() {
    for_each_starter(|starter| {
        let run = full(starter);
        let script =
            "tty; stty size; echo by name > /dev/tty; ps -o tty= -p $$ 2>/dev/null; echo end";
        let shown = shown(&run, script);
        assert!(
            shown.starts_with("/dev/pts/0\r\n33 91\r\nby name\r\n"),
            "{shown:?}"
        );
        assert!(shown.ends_with("end\r\n"), "{shown:?}");
    });
}

#[test]
fn keys_are_signals_of_the_launch_and_a_new_size_is_told() {
    for_each_starter(|starter| {
        let run = full(starter);
        let Terminal { master, slave } = run.sandbox.open_terminal(SIZE).expect("a terminal");
        let script = "trap 'stty size' WINCH; trap 'echo key; exit 5' INT; echo up; while :; do sleep 0.01; done";
        let mut program = launch(&["sh", "-c", script]);
        let copy = || slave.try_clone().expect("a copy");
        program.stdio = [copy(), copy(), copy()];
        let launched = run.sandbox.launch(program).expect("starts");
        drop(slave);
        let mut master = File::from(master);
        let mut shown = String::new();
        let mut until = |text: &str, master: &mut File| {
            let mut chunk = [0; 256];
            while !shown.contains(text) {
                let n_read = master.read(&mut chunk).expect("output");
                shown.push_str(std::str::from_utf8(&chunk[..n_read]).expect("text"));
            }
        };
        until("up", &mut master);
        let size = TerminalSize {
            columns: 120,
            rows: 40,
        };
        size.apply(master.as_fd()).expect("a size");
        until("40 120", &mut master);
        assert_eq!(TerminalSize::of(master.as_fd()).expect("a size"), size);
        std::io::Write::write_all(&mut master, &[3]).expect("a key");
        until("key", &mut master);
        let report = run.sandbox.wait_report(LIMIT).expect("a report");
        assert_eq!(report.launch, launched);
        assert_eq!(report.end, stockade_sandbox::End::Exited { code: 5 });
    });
}

#[test]
fn two_terminals_are_two() {
    for_each_starter(|starter| {
        let run = full(starter);
        let first = run.sandbox.open_terminal(SIZE).expect("a terminal");
        assert!(shown(&run, "tty").starts_with("/dev/pts/1"));
        drop(first);
        assert!(shown(&run, "tty").starts_with("/dev/pts/"));
    });
}
