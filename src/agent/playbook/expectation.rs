//! What a step expects against what was seen.
//!
//! Owns the judgement and its words. It is pure. Invariant: a failure says what was expected and what was there instead.

use super::progress::Failure;
use crate::agent::{Attempted, Seen};
use crate::playbook::expression::Scope;
use crate::playbook::model::{FileExpectation, HttpExpectation, Step, TextExpectation};
use crate::run::ErrorCode;
use crate::session::workload::chain;
use crate::text::Excerpt;

/// Judges how a command ended and what it wrote.
pub(super) fn of_command(
    step: &Step,
    attempted: &Attempted,
    scope: Scope<'_>,
) -> Result<(), Failure> {
    if attempted.timed_out {
        let why = format!("it took longer than its timeout of {:?}", step.timeout);
        return Err(Failure::of_check(why));
    }
    let exit = &attempted.exit;
    let is_right = exit
        .code
        .is_some_and(|code| step.expect.exit.contains(&code));
    if !is_right {
        let mut why = format!("the command {}", exit.describe());
        if step.expect.exit != [0] {
            let right: Vec<_> = step.expect.exit.iter().map(i32::to_string).collect();
            why.push_str(&format!(", not with {}", right.join(" or ")));
        }
        // Only a code that is no success can be handed on as the code of a failure.
        return Err(if exit.is_success() {
            Failure::of_check(why)
        } else {
            Failure {
                code: exit.error_code(ErrorCode::CommandFailed),
                why,
                exit: Some(Box::new(*exit)),
                limit: None,
            }
        });
    }
    for (what, text, expected) in [
        ("stdout", &attempted.stdout, &step.expect.stdout),
        ("stderr", &attempted.stderr, &step.expect.stderr),
    ] {
        of_text(what, text, expected, scope).map_err(Failure::of_check)?;
    }
    Ok(())
}

/// Judges a file.
pub(super) fn of_file(
    expected: &FileExpectation,
    path: &str,
    seen: &Seen,
    scope: Scope<'_>,
) -> Result<(), String> {
    match (seen, expected.exists) {
        (Seen::Nothing, false) => Ok(()),
        (Seen::Nothing, true) => Err(format!("the file {path} does not exist")),
        (Seen::File { .. } | Seen::Other { .. }, false) => Err(format!("the file {path} exists")),
        (Seen::File { text }, true) => {
            of_text(&format!("the file {path}"), text, &expected.content, scope)
        }
        (Seen::Other { .. }, true) if expected.content.is_empty() => Ok(()),
        (Seen::Other { kind }, true) => Err(format!("{path} is a {kind}")),
        (Seen::Failed { why }, _) => Err(format!("the file {path} cannot be read: {why}")),
        (Seen::Answer { .. }, _) => Err(format!("the file {path} was not looked at")),
    }
}

/// Judges an HTTP answer.
pub(super) fn of_http(
    expected: &HttpExpectation,
    url: &str,
    seen: &Seen,
    scope: Scope<'_>,
) -> Result<(), String> {
    match seen {
        Seen::Answer { status, body } if expected.status.contains(status) => {
            of_text(&format!("the answer of {url}"), body, &expected.body, scope)
        }
        Seen::Answer { status, .. } => {
            let right: Vec<_> = expected.status.iter().map(u16::to_string).collect();
            Err(format!(
                "{url} answered with status {status}, not with {}",
                right.join(" or ")
            ))
        }
        Seen::Failed { why } => Err(format!("{url} gave no answer: {why}")),
        Seen::Nothing | Seen::File { .. } | Seen::Other { .. } => {
            Err(format!("{url} was not asked"))
        }
    }
}

fn of_text(
    what: &str,
    text: &Excerpt,
    expected: &[TextExpectation],
    scope: Scope<'_>,
) -> Result<(), String> {
    expected
        .iter()
        .try_for_each(|expectation| expectation.check(what, text, scope))
        .map_err(|mismatch| chain(&mismatch))
}
