//! What must hold of a playbook in one run: with its parameters, from the step that it begins with.

use std::collections::BTreeMap;

use super::expression::{Scope, StepState, Template};
use super::model::{Argument, OnFailure, Playbook, Step, StepStatus, TextExpectation};
use super::url::LoopbackUrl;
use crate::description::{ErrorKind, Faults, Given, shown_name};

/// Refuses a run from a later step, if what is run needs the output or exit code of a step that is not, and of which the
/// `earlier` run has left none.
///
/// `given` is the step as it was named, which the faults show. Returns the number of the step.
pub(crate) fn refuse_unreachable(
    playbook: &Playbook,
    earlier: &BTreeMap<String, StepState>,
    given: &Given,
    faults: &mut Faults,
) -> Option<usize> {
    use crate::description::{Value, closest};
    let Value::Text(id) = &given.value else {
        faults.add(
            ErrorKind::Invalid,
            "from_step",
            given,
            "give the id of a step",
        );
        return None;
    };
    let Some(first) = playbook.step_idx(id) else {
        let ids = || playbook.steps.iter().map(|step| step.id.as_str());
        let expected = match closest(id, ids()) {
            Some(known) => format!("use {known}"),
            None => "give the id of a step of the playbook, which is not one of finally".to_owned(),
        };
        faults.add(ErrorKind::Invalid, "from_step", given, expected);
        return None;
    };
    let is_before = |id: &str| playbook.step_idx(id).is_some_and(|idx| idx < first);
    let is_skipped = |id: &str| is_before(id) && !earlier.contains_key(id);
    let run = playbook.steps.iter().skip(first).chain(&playbook.finally);
    for step in run {
        if let Some(needed) = needed_steps(step).into_iter().find(|id| is_skipped(id)) {
            let cause = format!("the step {} needs an output of {needed}", step.id);
            let expected = format!(
                "begin with {needed} or before it, or give resumed_from, a run in which it succeeded"
            );
            faults.add(ErrorKind::Unusable { cause }, "from_step", given, expected);
        }
    }
    Some(first)
}

/// Refuses a run from a later step that would skip that step itself, as far as that is known before the run.
pub(crate) fn refuse_skipped(
    playbook: &Playbook,
    first: usize,
    arguments: &BTreeMap<String, Argument>,
    steps: &BTreeMap<String, StepState>,
    given: &Given,
    faults: &mut Faults,
) {
    let scope = Scope {
        arguments,
        steps,
        has_failed: false,
    };
    let Some(step) = playbook.steps.get(first) else {
        return;
    };
    let Some(condition) = &step.condition else {
        return;
    };
    // Nothing but those before it can be in its condition.
    if condition.holds(scope) == Ok(false) {
        let cause = format!(
            "the run would skip {} itself, for {} does not hold then",
            step.id,
            shown_name(condition.written())
        );
        let expected = "begin with an earlier step, or with one that runs";
        faults.add(ErrorKind::Unusable { cause }, "from_step", given, expected);
    }
}

/// What expressions see of the steps before the one that a run begins with: of those that succeeded in the `earlier` run
/// what that left.
pub(crate) fn skipped_before(
    playbook: &Playbook,
    first: usize,
    earlier: &BTreeMap<String, StepState>,
) -> BTreeMap<String, StepState> {
    let skipped = StepState {
        status: StepStatus::Skipped,
        exit: None,
        outputs: BTreeMap::new(),
    };
    let before = playbook.steps.iter().take(first);
    before
        .map(|step| {
            let state = earlier.get(&step.id).unwrap_or(&skipped);
            (step.id.clone(), state.clone())
        })
        .collect()
}

/// The fewest attempts with which a run from the step of the number `first` on gets through, those of `finally` included.
///
/// A step with a condition may be skipped, and those between a step and the one that it goes to after a failure.
pub(crate) fn fewest_attempts(playbook: &Playbook, first: usize) -> u64 {
    let own = |step: &Step| u64::from(step.condition.is_none());
    // Of the steps from each one to the last; a jump back never makes it fewer.
    let mut fewest = vec![0; playbook.steps.len() + 1];
    for (step_idx, step) in playbook.steps.iter().enumerate().rev() {
        let from = |step_idx: usize| fewest.get(step_idx).copied();
        let next = from(step_idx + 1).unwrap_or(0);
        let following = match step.on_failure {
            OnFailure::Goto(target) if target > step_idx => from(target).unwrap_or(0).min(next),
            OnFailure::Goto(_) | OnFailure::Abort | OnFailure::Continue => next,
        };
        if let Some(here) = fewest.get_mut(step_idx) {
            *here = own(step) + following;
        }
    }
    let of_finally: u64 = playbook.finally.iter().map(own).sum();
    fewest.get(first).copied().unwrap_or(0) + of_finally
}

/// The steps whose outputs or exit codes a step needs.
fn needed_steps(step: &Step) -> Vec<&str> {
    let mut needed: Vec<&str> = Vec::new();
    for (_, template) in &step.env {
        needed.extend(template.needed_steps());
    }
    if let Some(condition) = &step.condition {
        needed.extend(condition.needed_steps());
    }
    for template in templates(step) {
        needed.extend(template.needed_steps());
    }
    needed
}

/// All texts with expressions among the expectations of a step.
fn templates(step: &Step) -> Vec<&Template> {
    let expect = &step.expect;
    let mut templates = Vec::new();
    for file in &expect.files {
        templates.push(&file.path);
        templates.extend(file.content.iter().filter_map(TextExpectation::template));
    }
    for http in &expect.http {
        templates.push(&http.url);
        templates.extend(http.body.iter().filter_map(TextExpectation::template));
    }
    let texts = expect.stdout.iter().chain(&expect.stderr);
    templates.extend(texts.filter_map(TextExpectation::template));
    templates
}

impl TextExpectation {
    fn template(&self) -> Option<&Template> {
        match self {
            Self::Contains(template) | Self::NotContains(template) | Self::Equals(template) => {
                Some(template)
            }
            Self::Matches(_) => None,
        }
    }
}

/// Refuses parameters that make a URL which is none of the loopback, as far as that is known before the run.
pub(crate) fn refuse_urls(
    playbook: &Playbook,
    scope: Scope<'_>,
    given: &Given,
    faults: &mut Faults,
) {
    for step in playbook.steps.iter().chain(&playbook.finally) {
        for http in &step.expect.http {
            if !http.url.is_known_in(scope) {
                continue;
            }
            let is_right = match http.url.render(scope) {
                Ok(url) => LoopbackUrl::parse(&url).is_ok(),
                Err(_) => false,
            };
            if !is_right {
                let cause = format!(
                    "with these parameters the step {} would look at {:?}",
                    step.id,
                    http.url.shown(scope)
                );
                let expected = "give parameters that make http://127.0.0.1:PORT/PATH";
                faults.add(ErrorKind::Unusable { cause }, "playbook", given, expected);
            }
        }
    }
}

/// Longest variable with its name and `=`, in bytes: MAX_ARG_STRLEN of execve(2) without the NUL.
const MAX_VARIABLE_BYTES: usize = 128 * 1024 - 1;

/// Whether a process can be given a variable.
///
/// # Errors
/// One clause that never shows the value.
pub(crate) fn check_variable(name: &str, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err(format!(
            "env {name} has a NUL character, which no variable can hold"
        ));
    }
    let longest = MAX_VARIABLE_BYTES.saturating_sub(name.len() + 1);
    if value.len() > longest {
        return Err(format!(
            "env {name} would have {} bytes, of which a process can be given {longest}; hand it on in a file",
            value.len()
        ));
    }
    Ok(())
}

/// Refuses parameters that make a variable which no process can be given, as far as that is known before the run.
pub(crate) fn refuse_variables(
    playbook: &Playbook,
    scope: Scope<'_>,
    given: &Given,
    faults: &mut Faults,
) {
    for step in playbook.steps.iter().chain(&playbook.finally) {
        for (name, value) in &step.env {
            if !value.is_known_in(scope) {
                continue;
            }
            if let Ok(value) = value.render(scope)
                && let Err(why) = check_variable(name, &value)
            {
                let cause = format!(
                    "with these parameters the step {} cannot run: {why}",
                    step.id
                );
                let expected = "give shorter parameters";
                faults.add(ErrorKind::Unusable { cause }, "playbook", given, expected);
            }
        }
    }
}
