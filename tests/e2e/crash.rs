//! SIGKILL at random instants: what is on disk is true, what a reader saw is in the file, and nothing survives.
//!
//! `STOCKADE_SOAK_ROUNDS` sets the rounds of each test, `STOCKADE_SOAK_SEED` repeats one. A failure prints the seed and the
//! instant of its round.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash_follower::{Random, Reader, StatusWatcher, is_terminal, rounds, say, wait_until};
use crate::harness::run::{binary, kill};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, Recording, RunBuilder, until};
use crate::process_table;

/// Whom the round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Supervisor,
    Guardian,
    Both,
    Helper,
    Init,
}

/// When the round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// So long after the start.
    Instant(Duration),
    /// As soon as the terminal event is in the file: between it and the rename of `status.json`, if that is still to come.
    TerminalEvent,
}

/// What is run: it ends by itself, has escaped daemons, or floods.
const SCRIPTS: [&str; 3] = [
    "echo one; echo two",
    "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' & while :; do echo tick; sleep 0.005; done",
    "while :; do echo 0123456789012345678901234567890123456789; done",
];

/// How long a run takes that does next to nothing, as measured here and now.
fn typical_run() -> Duration {
    let started = Instant::now();
    let run = RunBuilder::sh(SCRIPTS[0]).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    started.elapsed()
}

fn soak(victim: Victim, usual: u64) {
    let mut random = Random::seeded();
    let typical = typical_run();
    let mut in_the_window = 0;
    let mut with_events = 0;
    let n_rounds = rounds(usual);
    for round in 0..n_rounds {
        let seed = random.0;
        let script = SCRIPTS[usize::try_from(round % 3).unwrap()];
        let at = if round % 3 == 0 && random.below(2) == 0 {
            At::TerminalEvent
        } else {
            At::Instant(random.duration(typical * 3 / 2))
        };
        // Most on memory, where a round is short, some on the disk, where a sync takes its time.
        let on_disk = random.below(4) == 0;
        let what =
            format!("{victim:?} round {round} seed {seed} {at:?} on_disk {on_disk} {script:?}");
        let outcome = std::panic::catch_unwind(|| one_round(victim, at, script, on_disk));
        match outcome {
            Ok(seen) => {
                in_the_window += u64::from(seen.in_the_window);
                with_events += u64::from(seen.n_events > 0);
            }
            Err(panic) => {
                say(&format!("FAILED ROUND: {what}"));
                std::panic::resume_unwind(panic);
            }
        }
    }
    say(&format!(
        "{victim:?}: {n_rounds} rounds, a reader in {with_events}, {in_the_window} ended between the terminal event and status.json"
    ));
    // The API is up for most of a run, so a reader that never gets anything is a broken test.
    assert!(
        with_events * 4 > n_rounds,
        "readers saw something in {with_events} rounds only"
    );
}

struct Seen {
    in_the_window: bool,
    n_events: usize,
}

/// A run that is about to be killed.
pub struct Doomed {
    child: Child,
    pub directory: PathBuf,
    _files: (RunBuilder, tempfile::TempDir),
    pub recording: Recording,
    stderr: PathBuf,
}

impl Doomed {
    pub fn start(script: &str, on_disk: bool) -> Self {
        let shm = Path::new("/dev/shm");
        let recordings = if on_disk || !shm.is_dir() {
            tempfile::tempdir().unwrap()
        } else {
            tempfile::tempdir_in(shm).unwrap()
        };
        let builder = RunBuilder::sh(script).with_recordings(recordings.path());
        let directory = builder.workspace().parent().unwrap().to_owned();
        let stderr = directory.join("stderr");
        let child = builder
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child,
            recording: Recording::at(recordings.path().join("run")),
            directory,
            _files: (builder, recordings),
            stderr,
        }
    }

    fn guardian(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The victims; none when they do not exist yet.
    fn victims(&self, victim: Victim) -> Option<Vec<i32>> {
        let supervisor = || process_table::live_child(self.guardian());
        let helper = || supervisor().and_then(process_table::live_child);
        Some(match victim {
            Victim::Guardian => vec![self.guardian()],
            Victim::Supervisor => vec![supervisor()?],
            Victim::Both => vec![supervisor()?, self.guardian()],
            Victim::Helper => vec![helper()?],
            Victim::Init => vec![process_table::namespace_init(helper()?)?],
        })
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills at the instant; a victim that is not born yet is killed at its birth. False when the run was over before.
    pub fn kill(&mut self, victim: Victim, at: At, began: Instant) -> bool {
        let mut found = None;
        match at {
            At::Instant(after) => wait_until(began + after),
            At::TerminalEvent => {
                // Nothing else may lie between the sight of the event and the kill.
                while self.recording_lacks_its_end() {
                    if let Some(pids) = self.victims(victim) {
                        found = Some(pids);
                    }
                    if self.ended().is_some() {
                        return false;
                    }
                }
            }
        }
        loop {
            if self.ended().is_some() {
                return false;
            }
            if let Some(pids) = found.take().or_else(|| self.victims(victim)) {
                for pid in pids {
                    kill(pid, Signal::SIGKILL);
                }
                return true;
            }
        }
    }

    fn recording_lacks_its_end(&self) -> bool {
        std::fs::read_to_string(self.recording.path().join("events.jsonl"))
            .map_or(true, |log| !log.contains(r#""type":"complete""#))
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn one_round(victim: Victim, at: At, script: &str, on_disk: bool) -> Seen {
    let began = Instant::now();
    let mut run = Doomed::start(script, on_disk);
    let recording = run.recording.clone();
    let reader = Reader::start(run.directory.join("api.sock"));
    let watcher = StatusWatcher::start(recording.path().join("status.json"));
    let killed = run.kill(victim, at, began);
    let status = until_within(DEADLINE * 2, "the guardian ends", || run.ended());
    until_within(DEADLINE, "nothing of the run is left", || {
        process_table::of_run(&run.directory)
            .is_empty()
            .then_some(())
    });
    let seen = reader.finish();
    watcher.finish();
    let stderr = std::fs::read_to_string(&run.stderr).unwrap();
    let in_the_window = killed
        && !run.recording_lacks_its_end()
        && !recording
            .try_status()
            .is_some_and(|status| is_terminal(&status));
    if matches!(victim, Victim::Guardian | Victim::Both) && killed {
        if !recording.path().join("spec.json").exists() {
            // It died before the run had a record.
            assert!(seen.is_empty());
            return Seen {
                in_the_window: false,
                n_events: 0,
            };
        }
        // A finalizer of a guardian that just died may hold the lock.
        until_within(DEADLINE, "the lock is free", || {
            let done = try_finalize(recording.path());
            assert!(
                done.is_ok() || done.as_ref().is_err_and(|said| said.contains("RUN_LOCKED")),
                "{done:?}"
            );
            done.ok()
        });
    }
    recording.assert_whole();
    assert_seen_is_kept(&recording, &seen);
    assert_told_truly(victim, killed, status, &recording, &stderr);
    let leftovers: Vec<_> = std::fs::read_dir(recording.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".status.json") || name.contains(".tmp"))
        .collect();
    assert_eq!(leftovers, Vec::<String>::new());
    Seen {
        in_the_window,
        n_events: seen.len(),
    }
}

/// `stockade finalize`, which must succeed.
pub fn finalize(path: &Path) {
    try_finalize(path).unwrap();
}

fn try_finalize(path: &Path) -> Result<(), String> {
    let done = Command::new(binary())
        .arg("finalize")
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

/// Every event that a reader saw is in the file with the same bytes.
fn assert_seen_is_kept(recording: &Recording, seen: &BTreeMap<u64, String>) {
    let lines = recording.lines();
    for (number, data) in seen {
        let at = usize::try_from(*number).unwrap() - 1;
        assert_eq!(
            lines.get(at),
            Some(data),
            "event {number} as a reader saw it"
        );
    }
}

/// The status does not claim what did not happen, and the exit code agrees with it.
fn assert_told_truly(
    victim: Victim,
    killed: bool,
    exit: ExitStatus,
    recording: &Recording,
    stderr: &str,
) {
    let status = recording.status();
    let code = status["error"]["code"].as_str();
    if code.is_none() {
        // Completed: then the command did end, with 0.
        let action = recording.events_of("action").pop().unwrap();
        assert_eq!(action["exit_code"], 0, "{action}");
    }
    let expected = match code {
        None => 0,
        Some("SUPERVISOR_CRASHED" | "LOST" | "SETUP_FAILED") => 125,
        Some("COMMAND_FAILED") => 128 + 9,
        Some(other) => panic!("{other} in {status}\n{stderr}"),
    };
    match victim {
        // Which died first is chance: the guardian may have started `finalize` with what it saw.
        Victim::Both => {}
        Victim::Guardian => {
            assert_ne!(code, Some("SUPERVISOR_CRASHED"), "nobody saw that");
        }
        Victim::Supervisor => {
            assert!(killed || code.is_none(), "{status}\n{stderr}");
            assert_eq!(exit.code(), Some(expected), "{status}\n{stderr}");
        }
        Victim::Helper | Victim::Init => {
            assert_ne!(code, Some("SUPERVISOR_CRASHED"), "{status}\n{stderr}");
            assert_eq!(exit.code(), Some(expected), "{status}\n{stderr}");
        }
    }
}

#[test]
fn a_killed_supervisor_leaves_a_true_record_and_nothing_else() {
    soak(Victim::Supervisor, 90);
}

#[test]
fn a_killed_guardian_leaves_a_record_that_can_be_finalized_and_nothing_else() {
    soak(Victim::Guardian, 90);
}

#[test]
fn guardian_and_supervisor_killed_together_leave_a_record_that_can_be_finalized() {
    soak(Victim::Both, 90);
}

#[test]
fn a_killed_launch_helper_ends_the_run_on_record() {
    soak(Victim::Helper, 60);
}

#[test]
fn a_killed_in_sandbox_init_ends_the_run_on_record() {
    soak(Victim::Init, 60);
}

#[test]
fn a_terminal_status_stands_when_the_guardians_finalizer_is_killed() {
    let mut random = Random::seeded();
    // A finalizer lives for about a tenth of a run.
    let typical = typical_run() / 10;
    let (mut n_killed, mut n_terminal) = (0, 0);
    for round in 0..rounds(40) {
        let context = format!("round {round} seed {}", random.0);
        let mut run = Doomed::start(SCRIPTS[0], random.below(2) == 0);
        let guardian = run.guardian();
        if !run.kill(Victim::Supervisor, At::TerminalEvent, Instant::now()) {
            continue;
        }
        let finalizer = until_within(DEADLINE, "a finalizer or the end", || {
            if run.ended().is_some() {
                return Some(None);
            }
            let is_finalizer = |pid: i32| {
                std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.windows(8).any(|word| word == b"finalize"))
            };
            process_table::live_child(guardian)
                .filter(|pid| is_finalizer(*pid))
                .map(Some)
        });
        let mut before = None;
        if let Some(finalizer) = finalizer {
            wait_until(Instant::now() + random.duration(typical));
            // Stopped, so that the look at the file comes before anything that the guardian does about it.
            kill(guardian, Signal::SIGSTOP);
            if process_table::read(finalizer)
                .is_some_and(|it| it.parent == guardian && it.state != 'Z')
            {
                kill(finalizer, Signal::SIGKILL);
                n_killed += 1;
                until("the finalizer is dead", || {
                    process_table::read(finalizer)
                        .is_none_or(|it| it.state == 'Z')
                        .then_some(())
                });
                before = run.recording.try_status().filter(is_terminal);
                n_terminal += u64::from(before.is_some());
            }
            kill(guardian, Signal::SIGCONT);
        }
        until_within(DEADLINE, "the guardian ends", || run.ended());
        let status = run.recording.status();
        assert!(is_terminal(&status), "{context}: {status}");
        if let Some(before) = before {
            assert_eq!(before["status"], status["status"], "{context}");
        }
        finalize(run.recording.path());
        run.recording.assert_whole();
        assert_eq!(run.recording.status()["status"], "completed", "{context}");
    }
    eprintln!("{n_killed} finalizers killed, {n_terminal} of them with a terminal status in place");
}
