//! The termination log: what an orchestrator reads when a container is gone, whoever wrote the end of the record.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::run::{Run, kill};
use crate::harness::{RunBuilder, until};
use crate::held::Holds;

/// Runs with a file for the last word, which exists and holds what a longer message of an earlier container would leave.
struct LastWord(tempfile::NamedTempFile);

impl LastWord {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "left over".repeat(600)).unwrap();
        Self(file)
    }

    fn within(&self, builder: RunBuilder) -> RunBuilder {
        builder.env("STOCKADE_TERMINATION_LOG", self.0.path())
    }

    /// Waits for the end; the file is one line that says what the record and the exit code say.
    fn says(&self, run: Run) -> Value {
        let run = run.finish();
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let status = run.recording.status();
        assert_eq!(line["run_id"], status["run_id"], "{line}");
        assert_eq!(line["status"], status["status"], "{line}");
        assert_eq!(line["code"], status["error"]["code"], "{line}");
        assert_eq!(line["last_event_id"], status["last_event_id"], "{line}");
        assert_eq!(line["log_head"], status["log"]["head"], "{line}");
        assert_eq!(line["exit_code"], run.code(), "{line}");
        run.recording.assert_whole();
        line
    }
}

#[test]
fn a_run_that_ended_itself_says_how() {
    for (script, code) in [("exit 0", Value::Null), ("exit 7", "COMMAND_FAILED".into())] {
        let word = LastWord::new();
        let line = word.says(word.within(RunBuilder::sh(script)).start());
        assert_eq!(line["code"], code);
    }
}

#[test]
fn a_run_that_was_stopped_says_so() {
    let word = LastWord::new();
    let run = word.within(RunBuilder::sh("sleep 600")).start();
    run.until_running();
    run.signal(Signal::SIGTERM);
    assert_eq!(word.says(run)["code"], "RUN_TERMINATED");
}

#[test]
fn a_run_whose_supervisor_was_killed_says_so() {
    let word = LastWord::new();
    let run = word.within(RunBuilder::sh("sleep 600")).start();
    run.until_running();
    kill(run.supervisor_pid(), Signal::SIGKILL);
    assert_eq!(word.says(run)["code"], "SUPERVISOR_CRASHED");
}

#[test]
fn a_supervisor_that_died_between_the_end_and_its_last_word_is_made_up_for() {
    let Some(holds) = Holds::new() else { return };
    let word = LastWord::new();
    holds.hold("finished");
    let run = holds.within(word.within(RunBuilder::sh("exit 7"))).start();
    until("the end is recorded", || {
        holds.is_at("finished").then_some(())
    });
    assert_eq!(run.recording().events_of("complete").len(), 1);
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let line = word.says(run);
    assert_eq!(
        (&line["code"], &line["exit_code"]),
        (&"COMMAND_FAILED".into(), &7.into())
    );
}
