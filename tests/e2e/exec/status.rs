//! The exit status of exec is that of its command, to the caller's wait(2).

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::{exec, output};
use crate::harness::RunBuilder;

/// Signals that end a process that does nothing about them, signal(7).
fn ending_signals() -> impl Iterator<Item = i32> {
    use nix::libc::*;
    let others = [
        SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU,
    ];
    (1..=64).filter(move |signal| !others.contains(signal))
}

/// Does it for all of them, on two threads.
fn for_all<T: Copy + Send + Sync>(all: &[T], check: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for part in all.chunks(all.len().div_ceil(2)) {
            let check = &check;
            scope.spawn(move || part.iter().for_each(|one| check(*one)));
        }
    });
}

fn status_of_sh(directory: &Path, script: &str) -> ExitStatus {
    let mut exec = exec(directory);
    exec.args(["--", "sh", "-c", script])
        .output()
        .unwrap()
        .status
}

#[test]
fn every_exit_code_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let codes: Vec<i32> = (0..=255).collect();
    for_all(&codes, |code| {
        let status = status_of_sh(directory.path(), &format!("exit {code}"));
        assert_eq!(status.code(), Some(code), "{status:?}");
    });
}

#[test]
fn every_signal_that_ends_the_command_ends_exec() {
    let directory = tempfile::tempdir().unwrap();
    let signals: Vec<i32> = ending_signals().collect();
    assert_eq!(signals.len(), 56);
    for_all(&signals, |signal| {
        let status = status_of_sh(directory.path(), &format!("kill -{signal} $$"));
        assert_eq!(status.signal(), Some(signal), "{status:?}");
        assert!(!status.core_dumped(), "{status:?}");
    });
}

#[test]
fn exit_137_is_told_from_a_sigkill() {
    let exited = output::<&str>(&[], &["sh", "-c", "exit 137"]);
    assert_eq!(
        (exited.status.code(), exited.status.signal()),
        (Some(137), None)
    );
    let killed = output::<&str>(&[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!(
        (killed.status.code(), killed.status.signal()),
        (None, Some(9))
    );
    assert!(exited.stderr.is_empty() && killed.stderr.is_empty());
}

#[test]
fn every_exit_code_of_a_run_arrives() {
    let codes: Vec<i32> = (0..=255).collect();
    for_all(&codes, |code| {
        let run = RunBuilder::sh(&format!("exit {code}")).finish();
        assert_eq!(run.code(), code, "{}", run.stderr);
        let status = run.recording.status();
        assert_eq!(status["outcome"]["exit_code"], code, "{status}");
        let is_completed = status["status"] == "completed";
        assert_eq!(is_completed, code == 0, "{status}");
    });
}

#[test]
fn what_cannot_be_started_is_told_on_stderr_with_its_code() {
    let cases: [(&[&str], &[&str], i32, &str); 7] = [
        (
            &[],
            &["no-such-program"],
            127,
            "cannot find the program no-such-program",
        ),
        (
            &[],
            &["/etc/passwd"],
            126,
            "cannot execute the program /etc/passwd: EACCES",
        ),
        (
            &["--chdir", "/no/such"],
            &["true"],
            125,
            "cannot enter the directory /no/such: ENOENT",
        ),
        (
            &["--ro", "/no/such"],
            &["true"],
            125,
            "ro[0].source = \"/no/such\" from --ro cannot be used",
        ),
        (
            &["--ro", "/usr:/proc/x"],
            &["true"],
            2,
            "ro[0].target = \"/proc/x\" from --ro is invalid",
        ),
        (
            &["--tmpfs", "/x:much"],
            &["true"],
            2,
            "tmpfs[0] = \"/x:much\" from --tmpfs is invalid",
        ),
        (
            &["--isolation", "none", "--uid", "0"],
            &["true"],
            2,
            "uid = \"0\" from --uid conflicts",
        ),
    ];
    for (flags, command, code, message) in cases {
        let output = output(flags, command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.starts_with("stockade: ") && stderr.contains(message),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_timeout_asks_first_then_kills_and_is_124() {
    let asked = output(
        &["--timeout", "1"],
        &[
            "sh",
            "-c",
            "trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done",
        ],
    );
    assert_eq!(asked.status.code(), Some(124), "{asked:?}");
    assert_eq!(asked.stdout, b"asked\n");
    let stderr = String::from_utf8(asked.stderr).unwrap();
    let told = "stockade: the command was ended after 1 s, its timeout\n";
    assert!(stderr.ends_with(told), "{stderr}");
    let deaf = output(
        &["--timeout", "1", "--grace", "1"],
        &["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
    );
    assert_eq!(deaf.status.code(), Some(124), "{deaf:?}");
}

#[test]
fn a_command_that_nobody_gave_memory_has_that_of_a_run() {
    // Each step is written, and less than what a look could miss by.
    let fill = "import time; all = []
for step in range(64): all.append(b'x' * (64 << 20)); time.sleep(0.01)";
    for isolation in ["best", "none"] {
        let output = output(&["--isolation", isolation], &["python3", "-c", fill]);
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            stderr,
            "stockade: killed for memory: more than 2147483648 bytes; --memory gives it more\n"
        );
    }
}

#[test]
fn a_command_that_is_killed_for_its_memory_is_told_so() {
    let fill = "x = bytearray(300 << 20); import time; time.sleep(60)";
    for isolation in ["best", "none"] {
        let flags = ["--memory", "64MiB", "--isolation", isolation];
        let output = output(&flags, &["python3", "-c", fill]);
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("stockade: killed for memory"),
            "{stderr}"
        );
    }
}
