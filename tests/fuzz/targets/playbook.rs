//! What must hold for every file that is given as a playbook.

use std::collections::BTreeMap;

use stockade::description::Origin;
use stockade::description::error::MAX_SHOWN_CHARS;
use stockade::document::Format;
use stockade::playbook::model::{OnFailure, Step};
use stockade::playbook::plan::Plan;
use stockade::playbook::{MAX_FAULTS, MAX_STEPS, Playbook, PlaybookErrors, parse};

/// Reads `input` as a playbook of either format.
pub(crate) fn check(input: &[u8]) {
    for format in [Format::Yaml, Format::Json] {
        match parse(input, format, "input") {
            Ok(playbook) => {
                let again = parse(input, format, "input");
                assert_eq!(
                    again.as_ref(),
                    Ok(&playbook),
                    "reading is the same each time"
                );
                check_playbook(&playbook);
            }
            Err(errors) => check_errors(&errors, input),
        }
    }
}

fn check_playbook(playbook: &Playbook) {
    let n_steps = playbook.steps.len();
    assert!(n_steps > 0 && n_steps + playbook.finally.len() <= MAX_STEPS);
    let mut ids: Vec<&str> = Vec::new();
    for step in playbook.steps.iter().chain(&playbook.finally) {
        assert!(
            !ids.contains(&step.id.as_str()),
            "each step has an id of its own"
        );
        ids.push(&step.id);
        check_step(step, n_steps);
    }
    let arguments = BTreeMap::new();
    let plan = Plan {
        playbook,
        arguments: &arguments,
        first_step: 0,
        earlier: &BTreeMap::new(),
    };
    assert!(!plan.to_string().is_empty());
}

fn check_step(step: &Step, n_steps: usize) {
    let argv = step.run.argv();
    assert!(argv.first().is_some_and(|program| !program.is_empty()));
    for word in argv {
        assert!(
            !word.contains('\0') && !word.contains("${{"),
            "a command is run as it stands"
        );
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in &step.env {
        assert!(!names.contains(&name.as_str()), "no variable is set twice");
        names.push(name);
    }
    assert!(!step.expect.exit.is_empty());
    for attempt in [1, 2, u32::MAX] {
        assert!(step.retries.delay_after(attempt) <= step.retries.max_delay);
    }
    match step.on_failure {
        OnFailure::Goto(target) => assert!(target < n_steps),
        OnFailure::Abort | OnFailure::Continue => {}
    }
}

fn check_errors(errors: &PlaybookErrors, input: &[u8]) {
    assert!(!errors.faults.is_empty() && errors.faults.len() <= MAX_FAULTS);
    let n_lines = input.iter().filter(|byte| **byte == b'\n').count() + 2;
    for fault in &errors.faults {
        assert!(!fault.key.is_empty() && !fault.expected.is_empty());
        assert!(
            !fault.to_string().contains(char::is_control),
            "a fault is one line without control characters: {fault:?}"
        );
        let value = fault.value.as_deref().unwrap_or("none");
        assert!(
            (1..=MAX_SHOWN_CHARS).contains(&value.chars().count()),
            "a value is shown and cut: {fault}"
        );
        match &fault.origin {
            Origin::File { line, column, .. } => {
                assert!((1..=n_lines).contains(line) && *column >= 1, "{fault}");
            }
            other => panic!("a fault of a file has another origin: {other:?}"),
        }
    }
}
