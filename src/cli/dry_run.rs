//! `stockade run --dry-run`: the plan of a run that passed every check, and nothing else.
//!
//! It writes no recording and starts nothing of the run; the sandbox is built and taken down again. Everything that it prints
//! goes through the redactor of the run.

use std::process::ExitCode;

use super::results::Results;
use super::run::{Refusal, refuse_taken_id, refuse_writable_recordings};
use super::{FAILURE, notice};
use crate::description::{RunDescription, SupervisorOptions};
use crate::playbook::plan::Plan;
use crate::recordings::Store;
use crate::run::ErrorCode;
use crate::session::workload::chain;
use crate::supervisor::rehearsal::rehearse;
use crate::supervisor::warnings::warnings;
use crate::supervisor::{listeners, policy, report_file, setup};

/// Prints the plan: 0, or the exit status that the run would give for what stands in its way.
pub(super) fn main(description: &RunDescription, options: &SupervisorOptions) -> ExitCode {
    let redactor = setup::redactor(description, options);
    let refuse = |text: &str| {
        notice::error(&redactor.redact_text(text));
        ExitCode::from(FAILURE)
    };
    if let Err(refusal) = check(description, options) {
        return refuse(&refusal.to_string());
    }
    let playbook = match setup::playbook(description) {
        Ok(playbook) => playbook,
        Err(errors) => return refuse(&errors.to_string()),
    };
    let mut warned = Vec::new();
    let plan = match (&description.playbook, &playbook) {
        (Some(run), Some(playbook)) => {
            let first = run.from_step.as_deref();
            let first_step = first.and_then(|id| playbook.step_idx(id)).unwrap_or(0);
            let earlier = run.earlier_states();
            let plan = Plan {
                playbook,
                arguments: &run.arguments,
                first_step,
                earlier: &earlier,
            };
            warned.extend(plan.faults());
            plan.to_string()
        }
        _ => format!("command\n     {:?}", description.command),
    };
    warned.extend(warnings(description, playbook.as_ref(), &redactor));
    for warning in warned {
        notice::line(&format!("warning: {}", redactor.redact_text(&warning)));
    }
    let mut results = Results::stdout();
    results.line(visible(&redactor.redact_text(plan.trim_end())));
    results.end(ExitCode::SUCCESS)
}

/// Whether the run could begin: what it would use is tried, and nothing of it stays.
fn check(description: &RunDescription, options: &SupervisorOptions) -> Result<(), Refusal> {
    let recordings = &options.recordings;
    refuse_writable_recordings(description, recordings)?;
    Store::check(recordings)
        .map_err(|error| Refusal::new(ErrorCode::RecordingsUnusable, chain(&error)))?;
    refuse_taken_id(&description.run_id, recordings)?;
    if let Some(Err(error)) = options.junit.as_deref().map(report_file::check) {
        return Err(Refusal::new(ErrorCode::SetupFailed, error.to_string()));
    }
    // Let go of at once, with the file of the socket.
    listeners::bind(
        &options.listen,
        &options.socket,
        &description.run_id,
        policy::has_own_network(description),
        &setup::sight(description),
    )
    .map_err(|error| Refusal::new(ErrorCode::ListenFailed, chain(&error)))?;
    rehearse(description, recordings).map_err(|end| Refusal::new(end.code(), end.message()))
}

/// The text with control characters as escapes: a playbook from elsewhere must not be able to hide its commands from who
/// reads the plan on a terminal.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') || !c.is_control() {
            visible.push(c);
        } else {
            visible.extend(c.escape_default());
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_plan_cannot_move_the_cursor() {
        let hidden = "rm -rf /\r\u{1b}[2Kecho hello\n\tnext\u{9b}1m";
        let expected = "rm -rf /\\r\\u{1b}[2Kecho hello\n\tnext\\u{9b}1m";
        assert_eq!(super::visible(hidden), expected);
    }
}
