//! Events for the tests of this module.

use crate::event::lifecycle::Survivors;
use crate::event::{Action, ActionStarted, Complete, Event, LogOpened, RunPhase, ToolKind, Usage};
use crate::run::{EndedBy, ErrorCode, Outcome, Phase, RunError, Status};

pub(super) const NOON: &str = "2026-01-02T12:00:00.000Z";
pub(super) const NOON_MS: u64 = 1_767_355_200_000;

pub(super) fn opened() -> Event {
    Event::LogOpened(LogOpened {
        epoch: "e1".to_owned(),
        first_seq: 1,
        cut_bytes: 0,
        schema_version: 1,
    })
}

pub(super) fn phase(phase: Phase, status: Status) -> Event {
    Event::RunPhase(RunPhase {
        phase,
        status,
        reason: None,
        listen: None,
    })
}

pub(super) fn started(step: u64) -> Event {
    Event::ActionStarted(ActionStarted {
        step,
        call_id: format!("c{step}"),
        parent_call_id: None,
        tool: "shell".to_owned(),
        action: "run".to_owned(),
        kind: ToolKind::Execute,
        input_summary: String::new(),
        attempt: None,
        of: None,
    })
}

pub(super) fn action(step: u64) -> Action {
    Action {
        step,
        timestamp: NOON.to_owned(),
        tool: "shell".to_owned(),
        action: "run".to_owned(),
        duration_ms: Some(3),
        success: Some(true),
        result_text: Some("ok".to_owned()),
        call_id: format!("c{step}"),
        kind: ToolKind::Execute,
        exit_code: Some(0),
        ..Action::default()
    }
}

pub(super) fn ended(step: u64) -> Event {
    Event::Action(Box::new(action(step)))
}

pub(super) fn complete(status: Status) -> Complete {
    Complete {
        status,
        outcome: Outcome {
            exit_code: Some(0),
            signal: None,
            by: EndedBy::Agent,
            reason: "the command exited".to_owned(),
            stop_signal: None,
            sender: None,
            oom: None,
        },
        error: (status != Status::Completed).then(|| RunError {
            code: ErrorCode::CommandFailed,
            message: "exit code 1".to_owned(),
            details: None,
        }),
        result: Some("done".to_owned()),
        data: None,
        action_count: 1,
        duration_ms: 5_000,
        usage: Usage {
            cpu_ms: 77,
            ..Usage::default()
        },
        survivors: Survivors::default(),
    }
}

pub(super) fn end(status: Status) -> Event {
    Event::Complete(Box::new(complete(status)))
}
