//! The end of a run whose agent was never started.
//!
//! Owns the terminal event of such a run, from the reason to the words of the record.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::control::{StopAnswer, StopCall, StopCause};
use crate::description::RunDescription;
use crate::description::settings::Isolation;
use crate::event::lifecycle::Survivors;
use crate::event::{Complete, Usage};
use crate::run::{EndedBy, ErrorCode, Outcome, RunError, Status};
use crate::session::start::StartError;
use crate::session::workload::chain;

/// The end of a run whose agent was never started.
#[derive(Debug)]
pub struct EarlyEnd {
    code: ErrorCode,
    message: String,
    by: EndedBy,
    call: Option<StopCall>,
}

impl EarlyEnd {
    /// The supervisor cannot go on.
    pub fn new(code: ErrorCode, message: String) -> Self {
        Self {
            code,
            message,
            by: EndedBy::Supervisor,
            call: None,
        }
    }

    /// Somebody asked for the end before there was anything to stop.
    pub fn stopped(call: StopCall) -> Self {
        let by = match call.request.cause {
            StopCause::Signal { .. } => EndedBy::Signal,
            StopCause::Api => EndedBy::Api,
        };
        let message = "the run was asked to stop before its agent was started".to_owned();
        Self {
            code: ErrorCode::RunTerminated,
            message,
            by,
            call: Some(call),
        }
    }

    /// The deadline passed before there was an agent.
    pub fn timeout(limit: Duration) -> Self {
        let message = format!(
            "the run reached timeout_seconds = {} before its agent was started",
            limit.as_secs()
        );
        Self {
            code: ErrorCode::Timeout,
            message,
            by: EndedBy::Deadline,
            call: None,
        }
    }

    /// The sandbox could not be built.
    pub fn not_started(error: &StartError, description: &RunDescription) -> Self {
        let mut message = chain(error);
        let code = error.code();
        if error.is_lacking() {
            message.push_str("; change this host, or do not ask for that layer by `--isolation`");
        } else if code == ErrorCode::IsolationUnavailable
            && description.isolation == Isolation::Full
        {
            let otherwise = match description.requirement.allows_container() {
                true => "run without isolation by `--isolation none`",
                false => "take what it allows by `--isolation best`",
            };
            message.push_str(&format!(
                "; allow user namespaces on this host, or {otherwise}"
            ));
        }
        Self::new(code, message)
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The terminal event, and the answer that is still owed.
    pub fn into_complete(
        self,
        elapsed: Duration,
    ) -> (Complete, Option<oneshot::Sender<StopAnswer>>) {
        let (stop_signal, sender) = match self.call.as_ref().map(|call| call.request.cause) {
            Some(StopCause::Signal { signo, sender }) => (Some(signo), sender),
            Some(StopCause::Api) | None => (None, None),
        };
        let complete = Complete {
            status: Status::from(self.code.status()),
            outcome: Outcome {
                exit_code: None,
                signal: None,
                by: self.by,
                reason: self.message.clone(),
                stop_signal,
                sender,
                oom: None,
            },
            error: Some(RunError {
                code: self.code,
                message: self.message,
                details: None,
            }),
            result: None,
            data: None,
            action_count: 0,
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            usage: Usage::default(),
            survivors: Survivors::default(),
        };
        (complete, self.call.map(|call| call.answer))
    }
}
