//! `stockade init`, alone and in the place of other inits: what it passes on, reaps, holds, and ends with.
//!
//! Owns the start of an init under test. Where the program that it stands in for is installed, the same is asked of both.

mod exit_codes;
mod signals;
mod reaping;
mod rest;
mod footprint;
mod listening;
mod job_control;
mod side_by_side;
mod containers;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;

use crate::harness::need::need;
use crate::harness::run::{Capture, binary};
use crate::harness::until;
use crate::process_table;

/// Prints the number of every signal that it can catch, one a line, after a first line `ready`. The interpreter's own
/// handler writes the number: one in its language would wait for the next signal if this one came just before the pause.
const PROBE: &str = r#"
import os, signal
numbers, told = os.pipe()
os.set_blocking(told, False)
signal.set_wakeup_fd(told)
for number in range(1, 65):
    try:
        signal.signal(number, lambda number, frame: None)
    except (OSError, ValueError):
        pass
os.write(1, b"ready\n")
while True:
    os.write(1, b"%d\n" % os.read(numbers, 1)[0])
"#;

/// Variable by which all that a test starts is found again, also when the init between was killed.
const MARK: &str = "STOCKADE_TEST_INIT";

/// A value of [`MARK`] that no other test has.
fn next_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}-", std::process::id())
}

/// An init, by the words that start it.
#[derive(Clone)]
struct Subject {
    name: &'static str,
    words: Vec<PathBuf>,
}

impl Subject {
    /// `stockade init` with these flags.
    fn own(flags: &[&str]) -> Self {
        let words = [binary().into(), "init".into()]
            .into_iter()
            .chain(flags.iter().map(PathBuf::from))
            .collect();
        Self {
            name: "stockade init",
            words,
        }
    }

    /// `stockade init` in the place of another init.
    fn instead_of(init: &'static str) -> Self {
        Self {
            name: init,
            ..Self::own(&["--compat", init])
        }
    }

    /// The other init itself, where it is installed.
    fn original(init: &'static str) -> Option<Self> {
        Some(Self {
            name: init,
            words: vec![need(init)?],
        })
    }

    /// A command that starts it with these arguments, and with all signals as at a login: tests may run below nohup.
    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("env");
        command
            .arg("--default-signal")
            .args(&self.words)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(MARK, next_mark())
            .stdin(Stdio::null());
        command
    }

    /// The same with the probe for a command.
    fn probe(&self, options: &[&str]) -> Started {
        let words = ["--", "python3", "-c", PROBE];
        let started = Started::new(self.command(options.iter().chain(&words)));
        started.until_line("ready");
        started
    }
}

/// A started init; killed with all that it left when it is dropped.
struct Started {
    child: Child,
    mark: Option<OsString>,
    stdout: Capture,
    stderr: Capture,
}

impl Started {
    fn new(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mark = command.get_envs().find(|(name, _)| *name == MARK);
        let mark = mark.and_then(|(_, value)| Some(value?.to_owned()));
        let mut child = command.spawn().unwrap();
        let stdout = Capture::of(child.stdout.take().unwrap());
        let stderr = Capture::of(child.stderr.take().unwrap());
        Self {
            child,
            mark,
            stdout,
            stderr,
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The main child.
    fn main_child(&self) -> i32 {
        until("the main child is there", || {
            process_table::live_child(self.pid())
        })
    }

    fn signal(&self, number: i32) {
        send(self.pid(), number);
    }

    /// The lines of stdout until now.
    fn lines(&self) -> Vec<String> {
        let text = self.stdout.so_far();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    fn until_line(&self, line: &str) {
        until(
            &format!(
                "{line:?} stands in {:?} {:?}",
                self.stdout.so_far(),
                self.stderr.so_far()
            ),
            || self.lines().iter().any(|found| found == line).then_some(()),
        );
    }

    /// Waits for the end; the exit code, and 1000 + n for a death of the init itself by signal n.
    fn end(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let what = format!("the init ends; {}", self.stderr.so_far());
        let status = until(&what, || self.child.try_wait().unwrap());
        status
            .code()
            .unwrap_or_else(|| 1000 + status.signal().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let mut family = vec![self.pid()];
            let mut next = 0;
            while next < family.len() && family.len() < 1_000 {
                let children = process_table::children(family[next]);
                family.extend(children.into_iter().map(|child| child.pid));
                next += 1;
            }
            for pid in family {
                send(pid, libc::SIGKILL);
            }
            let _ = self.child.wait();
        }
        let Some(mark) = &self.mark else { return };
        let value = format!("{MARK}={}", mark.display());
        for process in process_table::all() {
            let environment = std::fs::read(format!("/proc/{}/environ", process.pid));
            if environment.is_ok_and(|text| String::from_utf8_lossy(&text).contains(&value)) {
                crate::harness::run::kill(process.pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// Sends a signal of any number. What is gone is sent nothing.
fn send(pid: i32, number: i32) {
    let sent = Command::new("sh")
        .args(["-c", "kill -$0 $1 2>/dev/null"])
        .args([number.to_string(), pid.to_string()])
        .output();
    assert!(sent.is_ok());
}

/// The words by which a command becomes PID 1 of a namespace of its own; none, said aloud, where that cannot be.
fn as_pid_1() -> Option<Vec<PathBuf>> {
    let words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let probe = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(words.map(PathBuf::from).into());
    }
    crate::harness::need::skip("no pid namespace can be made here");
    None
}

/// A line of `/proc/<pid>/status`.
fn field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Whether a process has this word in its command line.
fn anybody_with(word: &str) -> bool {
    process_table::all()
        .iter()
        .any(|process| is_called_with(process.pid, word))
}

/// Whether this process has the word in its command line.
fn is_called_with(pid: i32, word: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
}
