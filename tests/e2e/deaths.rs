//! Every way in which a supervisor can die, from within and in the middle of a run, and what is on record then.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::crash::finalize;
use crate::crash_follower::{Reader, StatusWatcher};
use crate::harness::need::skip;
use crate::harness::run::{binary, kill};
use crate::harness::{Recording, RunBuilder, until};
use crate::held::Holds;
use crate::process_table;

/// Ticks until it is told to end; an idle limit makes the supervisor look at the clock, where the library waits.
const SCRIPT: &str = "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' & \
                      echo up; until [ -e go ]; do echo tick; sleep 0.05; done; exit 7";

fn builder(holds: &Holds) -> RunBuilder {
    holds
        .within(RunBuilder::sh(SCRIPT))
        .flag("--idle-timeout=5")
        .flag("--watchdog=5")
}

/// Kills the supervisor from within; the record says how, is whole, has what readers saw, and nothing is left.
fn dies(builder: RunBuilder, holds: &Holds, word: &str) -> String {
    let run = builder.start();
    let directory = run.directory.path().to_owned();
    let reader = Reader::start(run.socket());
    let watcher = StatusWatcher::start(run.recording().path().join("status.json"));
    run.until_running();
    until("a reader has seen the run", || {
        (reader.seen_bytes() > 0).then_some(())
    });
    holds.die(word);
    let run = run.finish();
    let seen = reader.finish();
    watcher.finish();
    assert_eq!(run.code(), 125, "{word}: {}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["error"]["code"], "SUPERVISOR_CRASHED", "{word}");
    run.recording.assert_whole();
    assert!(!seen.is_empty(), "{word}");
    let lines = run.recording.lines();
    for (number, data) in seen {
        let at = usize::try_from(number).unwrap() - 1;
        assert_eq!(lines.get(at), Some(&data), "{word}: event {number}");
    }
    assert_eq!(process_table::of_run(&directory), [""; 0], "{word}");
    let message = status["error"]["message"].as_str().unwrap().to_owned();
    format!("{message}\n{}", run.stderr)
}

#[test]
fn a_supervisor_that_dies_from_within_leaves_the_truth_about_how() {
    let Some(holds) = Holds::new() else { return };
    for (word, told) in [
        ("panic", "exited with code 101"),
        ("abort", "killed by signal 6"),
        ("overflow", "killed by signal 6"),
        ("segv", "killed by signal 11"),
        ("hang", "did not answer the watchdog"),
    ] {
        let said = {
            let holds = holds.another();
            dies(builder(&holds), &holds, word)
        };
        assert!(said.contains(told), "{word}: {said}");
        // That it is this death and no other, where the runtime says so.
        let words_of_the_runtime = match word {
            "panic" => "panicked at",
            "overflow" => "has overflowed its stack",
            _ => "",
        };
        assert!(said.contains(words_of_the_runtime), "{word}: {said}");
    }
}

/// A control group of version 1 with little memory; removed when it is dropped.
struct SmallGroup(PathBuf);

impl SmallGroup {
    fn new(word: &str) -> Option<Self> {
        let name = format!("stockade-test-deaths-{}-{word}", std::process::id());
        let path = Path::new("/sys/fs/cgroup/memory").join(name);
        let limit = path.join("memory.limit_in_bytes");
        std::fs::create_dir(&path).ok()?;
        let group = Self(path);
        std::fs::write(limit, (64 << 20).to_string()).ok()?;
        Some(group)
    }

    /// A run that is in the group with its guardian, as in a container.
    fn around(&self, holds: &Holds) -> RunBuilder {
        let script = format!(
            "echo $$ >{} && exec env \"$@\"",
            self.0.join("cgroup.procs").display()
        );
        let mut prefix = ["sh", "-c", &script, "sh"].map(OsString::from).to_vec();
        // The library gives its variables to no program but ours, so they are set behind the shell.
        for (name, value) in holds.variables() {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            prefix.push(word);
        }
        builder(holds).within(prefix)
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_supervisor_that_the_kernel_kills_for_memory_leaves_the_truth() {
    let (Some(holds), Some(group)) = (Holds::new(), SmallGroup::new("oom")) else {
        skip("a control group of version 1 with a memory limit cannot be made here");
        return;
    };
    let said = dies(group.around(&holds), &holds, "oom");
    // Without the limit it would have ended itself by signal 6.
    assert!(
        said.contains("killed by signal 9 as memory ran out"),
        "{said}"
    );
    assert!(said.contains("during the run: 1)"), "{said}");
}

#[test]
fn a_supervisor_that_somebody_killed_is_not_said_to_have_run_out_of_memory() {
    let (Some(holds), Some(group)) = (Holds::new(), SmallGroup::new("kill")) else {
        skip("a control group of version 1 with a memory limit cannot be made here");
        return;
    };
    let said = dies(group.around(&holds), &holds, "kill");
    assert!(said.contains("killed by signal 9"), "{said}");
    assert!(!said.contains("memory"), "{said}");
}

#[test]
fn a_supervisor_that_was_only_stopped_while_a_finalizer_looked_ends_its_run_itself() {
    let run = RunBuilder::sh(SCRIPT).start();
    run.until_running();
    run.until_stdout("tick");
    let workspace = run.directory.path().join("workspace");
    let watcher = StatusWatcher::start(run.recording().path().join("status.json"));
    let (guardian, supervisor) = (run.guardian_pid(), run.supervisor_pid());
    for stopped in [[supervisor].as_slice(), &[supervisor, guardian]] {
        for pid in stopped {
            kill(*pid, Signal::SIGSTOP);
        }
        until("all are stopped", || {
            let state = |pid: &i32| process_table::read(*pid).map(|process| process.state);
            stopped
                .iter()
                .all(|pid| state(pid) == Some('T'))
                .then_some(())
        });
        let before = std::fs::read(run.recording().path().join("events.jsonl")).unwrap();
        let looked = Command::new(binary())
            .arg("finalize")
            .arg(run.recording().path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&looked.stderr).into_owned();
        assert_eq!(looked.status.code(), Some(125), "{said}");
        assert!(said.contains("RUN_LOCKED"), "{said}");
        let after = std::fs::read(run.recording().path().join("events.jsonl")).unwrap();
        assert_eq!(before, after);
        for pid in stopped {
            kill(*pid, Signal::SIGCONT);
        }
    }
    std::fs::write(workspace.join("go"), "").unwrap();
    let run = run.finish();
    watcher.finish();
    assert_eq!(run.code(), 7, "{}", run.stderr);
    assert_eq!(run.recording.status()["error"]["code"], "COMMAND_FAILED");
    run.recording.assert_whole();
}

/// What is left of a run whose processes were all killed while it ticked.
fn remains() -> (tempfile::TempDir, Recording) {
    let run = RunBuilder::sh(SCRIPT).start();
    run.until_running();
    run.until_stdout("tick");
    let supervisor = run.supervisor_pid();
    run.signal(Signal::SIGKILL);
    kill(supervisor, Signal::SIGKILL);
    let run = run.finish();
    until("nothing of the run is left", || {
        process_table::of_run(run.directory.path())
            .is_empty()
            .then_some(())
    });
    (run.directory, run.recording)
}

#[test]
fn a_finalizer_that_is_killed_between_its_event_and_the_rename_is_made_up_for() {
    let Some(holds) = Holds::new() else { return };
    let (_kept, recording) = remains();
    holds.hold("finalize-finished");
    let mut finalizer = Command::new(binary())
        .arg("finalize")
        .arg(recording.path())
        .envs(holds.variables())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the finalizer is before its rename", || {
        holds.is_at("finalize-finished").then_some(())
    });
    let ends = || recording.events_of("complete");
    assert_eq!(ends().len(), 1);
    assert_ne!(recording.status()["phase"], "finished");
    // A second one may not touch it meanwhile.
    let second = Command::new(binary())
        .arg("finalize")
        .arg(recording.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("RUN_LOCKED"));
    finalizer.kill().unwrap();
    finalizer.wait().unwrap();
    let end = ends();
    finalize(recording.path());
    assert_eq!(ends(), end);
    recording.assert_whole();
}
