//! What playbooks are read as, and what their parameters can and cannot change.

mod binding;
mod corpus;
mod injection;
mod matching;
mod model;

use std::collections::BTreeMap;

use super::expression::StepState;
use super::model::{Argument, StepStatus};
use super::*;

/// A playbook that is right.
fn read(text: &str) -> Playbook {
    match parse(text.as_bytes(), Format::Yaml, "playbook.yaml") {
        Ok(playbook) => playbook,
        Err(errors) => panic!("{errors}"),
    }
}

fn text(text: &str) -> Argument {
    Argument::Text(text.to_owned())
}

fn arguments<const N: usize>(arguments: [(&str, Argument); N]) -> BTreeMap<String, Argument> {
    arguments
        .into_iter()
        .map(|(name, argument)| (name.to_owned(), argument))
        .collect()
}

fn succeeded(outputs: &[(&str, &str)]) -> StepState {
    StepState {
        status: StepStatus::Succeeded,
        exit: Some(0),
        outputs: outputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}
