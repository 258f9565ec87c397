//! Actions that are launches: a command, or an attempt at a step of a playbook.
//!
//! Owns what is recorded of their beginning and end, and what guardrails that look at attempts are to know of them. By default
//! none does: what is launched is decided here, not by an agent in its circles, and retries are meant to be the same.

use std::time::Duration;

use super::{Journal, Recorded, guarded, millis};
use crate::agent::{Attempt, Exit, ReportedAction};
use crate::event::ToolKind;
use crate::event::action::Truncated;
use crate::guardrail::Seen;
use crate::log::AppendError;

impl Journal {
    /// Records that a launched command began as an action; gives its step and call id.
    ///
    /// # Errors
    /// As [`crate::log::ActionLog::append`].
    pub async fn command_started(&mut self, argv: &[String]) -> Result<(u64, String), AppendError> {
        let reported = ReportedAction {
            tool: Some("command".to_owned()),
            action: Some("run".to_owned()),
            kind: Some(ToolKind::Execute),
            input_summary: Some(argv.join(" ")),
            ..ReportedAction::default()
        };
        self.launch_started(&reported).await
    }

    /// Records that an attempt at a step of a playbook began; gives its step and call id.
    ///
    /// # Errors
    /// As [`crate::log::ActionLog::append`].
    pub async fn attempt_started(
        &mut self,
        attempt: &Attempt,
    ) -> Result<(u64, String), AppendError> {
        let reported = ReportedAction {
            tool: Some("playbook".to_owned()),
            action: Some(attempt.id.clone()),
            kind: Some(ToolKind::Execute),
            input_summary: Some(attempt.summary.clone()),
            attempt: Some(attempt.attempt),
            of: Some(attempt.of),
            ..ReportedAction::default()
        };
        self.launch_started(&reported).await
    }

    async fn launch_started(
        &mut self,
        reported: &ReportedAction,
    ) -> Result<(u64, String), AppendError> {
        self.watch.begin_anew();
        let step = self.start(reported).await?;
        let call_id = self
            .open
            .get(&step)
            .map(|open| open.call_id.clone())
            .unwrap_or_default();
        Ok((step, call_id))
    }

    /// Records the end of such a command.
    ///
    /// # Errors
    /// As [`crate::log::ActionLog::append`].
    pub async fn command_ended(
        &mut self,
        step: u64,
        exit: &Exit,
        output: String,
        truncated: Option<Truncated>,
    ) -> Result<(), AppendError> {
        let failure = (!exit.is_success()).then(|| format!("the command {}", exit.describe()));
        self.launch_ended(step, exit, exit.duration, failure, output, truncated)
            .await
    }

    /// Records the end of an attempt as its agent judged it; its time is that of the command and of the checks.
    ///
    /// # Errors
    /// As [`crate::log::ActionLog::append`].
    pub async fn attempt_ended(
        &mut self,
        step: u64,
        exit: &Exit,
        failure: Option<String>,
        output: String,
        truncated: Option<Truncated>,
    ) -> Result<Recorded, AppendError> {
        let Some(open) = self.open.get(&step) else {
            return Ok(Recorded::GoOn);
        };
        let duration = open.since.elapsed();
        let label = guarded::label(&open.ended(step, None));
        let success = failure.is_none();
        let ended = ReportedAction {
            success: Some(success),
            error: failure.clone(),
            result_text: Some(output.clone()),
            exit_code: exit.code,
            signal: exit.signal,
            ..ReportedAction::default()
        };
        let seen = Seen {
            signature: open.call.ended(&ended),
            success: Some(success),
        };
        let failure = failure.map(|failure| self.cut(&failure));
        self.launch_ended(step, exit, duration, failure, output, truncated)
            .await?;
        self.guard_attempt(step, seen, &label).await
    }

    /// Lets the guardrails that look at attempts look at one.
    pub(super) async fn guard_attempt(
        &mut self,
        step: u64,
        seen: Seen,
        label: &str,
    ) -> Result<Recorded, AppendError> {
        match self.attempts.as_mut().and_then(|watch| watch.saw(seen)) {
            Some(finding) => self.decide(step, &finding, label).await,
            None => Ok(Recorded::GoOn),
        }
    }

    async fn launch_ended(
        &mut self,
        step: u64,
        exit: &Exit,
        duration: Duration,
        failure: Option<String>,
        output: String,
        truncated: Option<Truncated>,
    ) -> Result<(), AppendError> {
        let Some(open) = self.open.get(&step) else {
            return Ok(());
        };
        let mut action = open.ended(step, Some(millis(duration)));
        action.success = Some(failure.is_none());
        action.exit_code = exit.code;
        action.signal = exit.signal;
        action.error = failure;
        action.result_text = Some(output).filter(|text| !text.is_empty());
        action.truncated = truncated;
        action.usage = Some(exit.usage);
        self.close(action).await
    }

    /// Records that a command could not be started.
    ///
    /// # Errors
    /// As [`crate::log::ActionLog::append`].
    pub async fn command_not_started(
        &mut self,
        step: u64,
        why: &str,
    ) -> Result<Recorded, AppendError> {
        let Some(open) = self.open.get(&step) else {
            return Ok(Recorded::GoOn);
        };
        let is_attempt = open.attempt.is_some();
        let ended = ReportedAction {
            success: Some(false),
            error: Some(why.to_owned()),
            ..ReportedAction::default()
        };
        let seen = Seen {
            signature: open.call.ended(&ended),
            success: ended.success,
        };
        let mut action = open.ended(step, None);
        action.success = Some(false);
        action.error = Some(why.to_owned());
        let label = guarded::label(&action);
        self.close(action).await?;
        if is_attempt {
            return self.guard_attempt(step, seen, &label).await;
        }
        Ok(Recorded::GoOn)
    }
}
