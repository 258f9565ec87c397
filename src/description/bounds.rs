//! Bounds that say nothing beside another one: each was set by somebody and can never be reached.
//!
//! Pure. It owns the pairs that the keys of one group do not check themselves (`guardrails`, a playbook and `max_steps`,
//! `grace_seconds` and what ends within it), and the steps of a playbook that are longer than the run.

use super::RunDescription;
use super::error::ErrorKind;
use super::layers::Faults;
use super::value::{Given, Value};
use crate::playbook::{DEFAULT_STEP_TIMEOUT, Playbook};

const TIMEOUT: &str = "timeout_seconds";
const IDLE: &str = "idle_timeout_seconds";
const FILES: &str = "recording.artifact_files";
const FILE_BYTES: &str = "recording.artifact_bytes";
const TOTAL_BYTES: &str = "recording.artifact_total_bytes";

/// Refuses bounds that somebody set and that another one keeps from ever being reached.
pub(super) fn check(description: &RunDescription, faults: &mut Faults) {
    let (timeout, artifacts) = (description.timeout, &description.artifacts);
    let mut refuse = |keys: [&str; 2], bound: u64, expected: String| {
        // A bound that is refused stands as its default, of which nothing can be said.
        if !faults.has_any(&keys) {
            let given = Given {
                value: Value::Integer(i64::try_from(bound).unwrap_or(i64::MAX)),
                origin: description.origin_of(keys[0]).clone(),
            };
            faults.add(ErrorKind::Conflict, keys[0], &given, expected);
        }
    };
    if let Some(idle) = description.idle_timeout.filter(|idle| *idle > timeout) {
        let seconds = timeout.as_secs();
        let expected = format!(
            "the run ends before, with {TIMEOUT} = {seconds}; give at most that, or a longer {TIMEOUT}"
        );
        refuse([IDLE, TIMEOUT], idle.as_secs(), expected);
    }
    let (of_one, of_all) = (artifacts.max_file_bytes, artifacts.max_total_bytes);
    if of_one > of_all && description.is_explicit(FILE_BYTES) {
        let expected = format!(
            "all files together have {TOTAL_BYTES} = {of_all}; give at most that, or a larger {TOTAL_BYTES}"
        );
        refuse([FILE_BYTES, TOTAL_BYTES], of_one, expected);
    }
    if artifacts.max_files == 0 && !artifacts.patterns.is_empty() {
        let expected =
            "recording.artifacts chooses files, and none is kept; give 1 or more, or no patterns";
        refuse([FILES, "recording.artifacts"], 0, expected.to_owned());
    }
}

impl RunDescription {
    /// What is to be said of steps of its playbook that may take longer than the whole run: one sentence each, but for the
    /// timeout that a step has where nobody says one.
    pub fn steps_beyond_the_run(&self, playbook: &Playbook) -> Vec<String> {
        let run = self.timeout;
        let steps = playbook.steps.iter().chain(&playbook.finally);
        let longer =
            steps.filter(|step| step.timeout > run && step.timeout != DEFAULT_STEP_TIMEOUT);
        longer
            .map(|step| {
                let (id, step, run) = (&step.id, step.timeout.as_secs(), run.as_secs());
                format!(
                    "the step {id} may take {step} s, and the run ends after {TIMEOUT} = {run}; give a longer --timeout"
                )
            })
            .collect()
    }
}
