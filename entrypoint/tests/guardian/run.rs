//! One run under test: starts it, waits on conditions with a deadline, and leaves no process behind.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(10);

/// Marks every process of a run, so that a test finds what is left of it.
const MARK: &str = "GUARDIAN_TEST_RUN";

/// Starts a run with all signals at their default: a shell ignores INT and QUIT for its background jobs, and tests may run
/// below one.
pub(crate) const DEFAULT_SIGNALS: &[&str] = &["env", "--default-signal"];

/// Flags of a run without backstop and with a grace that no test outwaits.
pub(crate) const PATIENT: &[&str] = &[
    "--backstop-ms",
    "0",
    "--grace-ms",
    "60000",
    "--crash-status",
    "status.crashed",
];

/// Where cargo put `examples/guardian.rs`.
pub(crate) fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let path = test
        .parent()
        .and_then(Path::parent)
        .expect("a target directory")
        .join("examples/guardian");
    assert!(
        path.exists(),
        "{} is not built: run cargo build --examples",
        path.display()
    );
    path
}

/// Prints why a test does nothing; forbidden with STOCKADE_TEST_REQUIRE=all.
pub(crate) fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    assert_ne!(
        std::env::var("STOCKADE_TEST_REQUIRE").as_deref(),
        Ok("all"),
        "skips are forbidden: {reason}"
    );
}

/// Waits until the condition gives something.
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let ends_at = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < ends_at, "waited in vain for {what}");
        poll(&mut [], PollTimeout::from(2_u8)).expect("a pause");
    }
}

/// A started run.
pub(crate) struct Run {
    directory: TempDir,
    child: Child,
    status: Option<ExitStatus>,
}

/// A run to be started.
pub(crate) struct Plan {
    directory: TempDir,
    wrapper: Vec<String>,
    flags: Vec<String>,
    finalize: &'static str,
}

impl Plan {
    /// A run with these flags of the guardian.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        Self {
            directory,
            wrapper: vec![],
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            finalize: "125",
        }
    }

    /// Starts the run by this command.
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Lets the fake finalize end so.
    pub(crate) fn finalize(mut self, finalize: &'static str) -> Self {
        self.finalize = finalize;
        self
    }

    /// Replaces the fake supervisor by a shell script.
    pub(crate) fn script(mut self, text: &str) -> Self {
        let path = self.directory.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("an executable script");
        self.flags
            .extend(["--program".to_owned(), path.to_string_lossy().into_owned()]);
        self
    }

    /// Starts it with these steps of the fake supervisor.
    pub(crate) fn start(self, steps: &[&str]) -> Run {
        let mut words = self.wrapper.clone();
        words.push(example().to_string_lossy().into_owned());
        let log = File::create(self.directory.path().join("stderr")).expect("a log");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .arg("launch")
            .arg(self.directory.path())
            .args(&self.flags)
            .arg("--")
            .args(steps)
            .env(MARK, self.directory.path())
            .env("FAKE_FINALIZE", self.finalize)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a started run");
        Run {
            directory: self.directory,
            child,
            status: None,
        }
    }
}

impl Run {
    /// Starts a patient run.
    pub(crate) fn start(steps: &[&str]) -> Self {
        Plan::new(PATIENT).start(steps)
    }

    /// The pid of the guardian (of the wrapper, where it forks).
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The path of a file of the run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the run; empty if it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits for a file of the run and returns its lines.
    pub(crate) fn wait_for(&self, name: &str) -> Vec<String> {
        wait_until(&format!("{name}; stderr: {}", self.read("stderr")), || {
            self.path(name).exists().then_some(())
        });
        self.read(name).lines().map(str::to_owned).collect()
    }

    /// Sends a signal to the guardian.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a living guardian");
    }

    /// Waits for the end and returns how it was.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of the run in {}", self.directory.path().display());
        let status = wait_until(&what, || self.child.try_wait().expect("a child"));
        self.status = Some(status);
        status
    }

    /// Waits for the end and checks the exit code.
    pub(crate) fn ends_with(&mut self, code: i32) {
        let status = self.wait();
        assert_eq!(
            status,
            ExitStatus::from_raw(code << 8),
            "stderr: {}",
            self.read("stderr")
        );
    }

    /// What the fake finalize was called with; empty if it was not called.
    pub(crate) fn finalized(&self) -> String {
        self.read("finalized")
    }

    /// The living and dead processes that carry the mark of this run, without those that may not be looked into.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.directory.path().display());
        let carries_mark = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        pids().into_iter().filter(carries_mark).collect()
    }
}

impl Run {
    /// How many of its processes run `sleep`: two for each round of daemons that has settled.
    pub(crate) fn sleepers(&self) -> usize {
        let sleeps = |pid: &i32| field(*pid, "Name").as_deref() == Some("sleep");
        self.processes().iter().filter(|pid| sleeps(pid)).count()
    }
}

impl Drop for Run {
    /// Stop signals, one after the other, make the guardian kill everything and end.
    fn drop(&mut self) {
        let ends_at = Instant::now() + DEADLINE;
        while self.status.is_none() && Instant::now() < ends_at {
            // A wrapper, or a guardian that has just ended, cannot be told; the wait copes with both.
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
            let _ = poll(&mut [], PollTimeout::from(2_u8));
            self.status = self.child.try_wait().unwrap_or_default();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All pids of the system.
pub(crate) fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    field(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

/// A line of `/proc/<pid>/status`.
pub(crate) fn field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
