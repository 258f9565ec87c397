//! Services: programs beside the agent, from before its start until after its end.

mod readiness;
mod restarts;
mod stopping;

use serde_json::Value;

use crate::harness::{Recording, RunBuilder};

/// Serves until it is asked to end, and says when: in `order`, with its name.
const WILLING: &str =
    "trap 'echo $0 >> order; exit 0' TERM; : > $0.up; while :; do sleep 0.05; done";

/// A run of a shell script, with services as YAML has them.
fn with_services(script: &str, services: &str) -> RunBuilder {
    let run = RunBuilder::sh(script);
    let file = run.workspace().parent().unwrap().join("run.yaml");
    std::fs::write(&file, format!("services:\n{services}")).unwrap();
    run.flag("--config").flag(file)
}

/// A service that is [`WILLING`], ready when it says so.
pub fn willing(name: &str) -> String {
    format!(
        "- name: {name}\n  command: [sh, -c, {WILLING:?}, {name}]\n  ready: {{file: {name}.up}}\n"
    )
}

/// What is on record of a service, in its order.
fn states(recording: &Recording, name: &str) -> Vec<String> {
    let events = recording.events_of("service");
    let own = events.iter().filter(|event| event["service"] == name);
    own.map(|event| event["state"].as_str().unwrap().to_owned())
        .collect()
}

/// The last event of a service.
fn last(recording: &Recording, name: &str) -> Value {
    let events = recording.events_of("service");
    let mut own = events.into_iter().filter(|event| event["service"] == name);
    own.next_back().unwrap()
}

/// What the workload left in a file of its workspace.
pub fn left(run: &crate::harness::run::Finished, file: &str) -> String {
    let path = run.directory.path().join("workspace").join(file);
    std::fs::read_to_string(path).unwrap_or_default()
}
