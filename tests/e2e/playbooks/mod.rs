//! Playbooks as runs: steps, attempts, checks, values, stops, and what is on record of them.

mod checks;
mod ends;
mod plans;
mod results;
mod resumed;
mod steps;
mod values;

use serde_json::{Value, json};

use crate::harness::RunBuilder;
use crate::harness::run::Finished;

/// A run of a playbook with these steps.
fn playbook(steps: &str) -> RunBuilder {
    RunBuilder::playbook(&format!("version: 1\nname: test\n{steps}"))
}

/// Fields of the actions of the playbook.
fn attempts(run: &Finished) -> Vec<Value> {
    run.recording
        .events_of("action")
        .into_iter()
        .filter(|action| action["tool"] == "playbook")
        .map(|action| {
            json!([
                action["action"],
                action["attempt"],
                action["of"],
                action["success"],
                action["exit_code"],
                action["error"]
            ])
        })
        .collect()
}

fn junit(run: &Finished) -> String {
    std::fs::read_to_string(run.recording.path().join("artifacts/junit.xml")).unwrap()
}

/// What became of the steps.
fn steps(run: &Finished) -> Value {
    run.recording.status()["data"]["steps"].clone()
}
