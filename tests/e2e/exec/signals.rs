//! Signals to exec are the command's, and its end is the end of everything.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use super::{Started, mark, marked};
use crate::harness::run::kill;
use crate::harness::until;

/// State of a process in proc_pid_stat(5); none when it is gone.
pub(super) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn first_line(started: &mut Started) -> String {
    let mut line = String::new();
    let output = started.child.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_signal_to_exec_is_a_signal_to_the_command() {
    let signals = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTERM,
        libc::SIGWINCH,
        libc::SIGRTMIN() + 1,
    ];
    for signal in signals {
        let script = format!(
            "import signal, sys, time\nsignal.signal({signal}, lambda *_: sys.exit(40))\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)"
        );
        let mut started = Started::new(&[], &["python3", "-c", &script]);
        assert_eq!(first_line(&mut started), "ready\n");
        // By its number: nix knows no real-time signals.
        let sent = std::process::Command::new("kill")
            .args([format!("-{signal}"), started.pid().to_string()])
            .output()
            .unwrap()
            .status;
        assert!(sent.success());
        let status = started.child.wait().unwrap();
        assert_eq!(status.code(), Some(40), "signal {signal}: {status:?}");
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_is_not_lost() {
    for step in 0..40 {
        let mut started = Started::new(&[], &["sleep", "600"]);
        std::thread::park_timeout(Duration::from_micros(400 * step));
        kill(started.pid(), Signal::SIGTERM);
        let status = until("exec ends", || started.child.try_wait().unwrap());
        assert_eq!(status.signal(), Some(15), "after {step} steps: {status:?}");
    }
}

#[test]
fn a_stop_stops_the_command_and_a_continuation_continues_it() {
    let mark = mark();
    let started = Started::new(&[], &["sleep", &mark]);
    let command = until("the command runs", || {
        marked(&["sleep", &mark]).first().copied()
    });
    for _ in 0..3 {
        kill(started.pid(), Signal::SIGTSTP);
        until("both are stopped", || {
            let both = [state(started.pid()), state(command)];
            (both == [Some('T'), Some('T')]).then_some(())
        });
        kill(started.pid(), Signal::SIGCONT);
        until("both go on", || {
            let both = [state(started.pid()), state(command)];
            (both == [Some('S'), Some('S')]).then_some(())
        });
    }
}

#[test]
fn nothing_outlives_a_command_that_ended() {
    let mark = mark();
    for isolation in ["best", "none"] {
        let script = format!("setsid sleep {mark} & setsid -f sleep {mark}; exit 3");
        let output = super::output(&["--isolation", isolation], &["sh", "-c", &script]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(marked(&["sleep", &mark]), [0; 0], "isolation {isolation}");
    }
}

#[test]
fn nothing_outlives_an_exec_that_was_killed() {
    for isolation in ["best", "none"] {
        let mark = mark();
        let script = format!("trap '' TERM HUP; setsid sleep {mark} & sleep {mark}");
        let mut started = Started::new(&["--isolation", isolation], &["sh", "-c", &script]);
        until("the command runs", || {
            (marked(&["sleep", &mark]).len() == 2).then_some(())
        });
        started.child.kill().unwrap();
        started.child.wait().unwrap();
        until("nothing is left", || {
            marked(&["sleep", &mark]).is_empty().then_some(())
        });
    }
}

#[test]
fn it_dies_with_its_caller_only_if_it_is_told_to() {
    for (flag, is_bound) in [("--die-with-parent", true), ("--grace=8", false)] {
        let mark = mark();
        let directory = tempfile::tempdir().unwrap();
        let program = crate::harness::run::binary().display();
        let mut caller = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{program} exec {flag} -- sleep {mark} & wait"))
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        until("the command runs", || {
            (marked(&["sleep", &mark]).len() == 1).then_some(())
        });
        let own = marked(&[&program.to_string(), "exec", flag, "--", "sleep", &mark]);
        let [exec] = own.as_slice() else {
            panic!("one exec is expected: {own:?}");
        };
        caller.kill().unwrap();
        caller.wait().unwrap();
        if is_bound {
            until("nothing is left", || {
                marked(&["sleep", &mark]).is_empty().then_some(())
            });
            continue;
        }
        // Had it been bound to its caller it would have been killed before wait(2) told of the caller's end, or soon after.
        assert_eq!(marked(&["sleep", &mark]).len(), 1);
        kill(*exec, Signal::SIGUSR1);
        until("the signal has ended the command", || {
            marked(&["sleep", &mark]).is_empty().then_some(())
        });
    }
}

#[test]
fn six_hundred_deaf_processes_end_with_the_command() {
    let mark = mark();
    let script = "
import os, signal, sys, time
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
for n in range(600):
    if os.fork() == 0:
        if n % 2: os.setsid()
        while True: time.sleep(600)
print('ready', flush=True)
sys.stdin.readline()
sys.exit(9)";
    let arguments = ["python3", "-c", script, &mark];
    let mut started = Started::new(&["--pids", "700"], &arguments);
    assert_eq!(first_line(&mut started), "ready\n");
    assert_eq!(marked(&arguments).len(), 601);
    started
        .child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\n")
        .unwrap();
    assert_eq!(started.child.wait().unwrap().code(), Some(9));
    assert_eq!(marked(&arguments), [0; 0]);
}
