//! Turns what agents report into numbered actions in the log.
//!
//! Owns step numbers, call ids and the actions that have begun and not ended. Invariants: steps are dense from 1, whatever
//! numbers an agent uses; an action that began ends exactly once, at the latest when the run does.

mod launches;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::artifacts::Artifacts;
use super::guarded;
use super::open_action::{Open, clean};
use crate::agent::{Exit, Report, ReportedAction, Verdict};
use crate::cast::Cast;
use crate::event::action::Truncated;
use crate::event::{
    Action, ActionOutput, ActionStarted, ArtifactAdded, Diagnostic, Event, Guardrail,
    GuardrailDecision, Raw, Retry, Stream, Text, Usage,
};
use crate::guardrail::{Call, Finding, Seen, Watch};
use crate::log::{ActionLog, AppendError};
use crate::redact::Redactor;
use crate::text::cut_at_char;

/// Longest text field that an event keeps, in bytes; longer results become artifacts.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Largest structured result that the terminal event holds, in bytes; a larger one becomes an artifact.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// Longest name or summary of an action, in bytes.
pub const MAX_LABEL_BYTES: usize = 1024;

/// Actions that may be open at a time; beyond it the oldest is ended as cancelled.
pub const MAX_OPEN_ACTIONS: usize = 1024;

/// Whether the run may go on after a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It may.
    GoOn,
    /// There are more actions than `max_steps`.
    TooManySteps,
    /// A guardrail stops the run.
    Blocked(Guardrail),
}

/// Writes the agent's side of the log.
#[derive(Debug)]
pub struct Journal {
    log: ActionLog,
    artifacts: Artifacts,
    /// Texts are redacted before they are cut: half a secret is found by nobody.
    redactor: Redactor,
    /// The beginning of each action is a marker of it.
    cast: Cast,
    max_steps: u64,
    watch: Watch,
    /// Looks at attempts at steps of a playbook, where somebody wants that.
    attempts: Option<Watch>,
    n_steps: u64,
    open: BTreeMap<u64, Open>,
    usage: Usage,
}

impl Journal {
    /// A journal without a step.
    pub fn new(
        log: ActionLog,
        artifacts: Artifacts,
        redactor: Redactor,
        max_steps: u64,
        watch: Watch,
    ) -> Self {
        Self {
            log,
            artifacts,
            redactor,
            cast: Cast::off(),
            max_steps,
            watch,
            attempts: None,
            n_steps: 0,
            open: BTreeMap::new(),
            usage: Usage::default(),
        }
    }

    /// The same with a terminal recording.
    #[must_use]
    pub fn with_cast(mut self, cast: Cast) -> Self {
        self.cast = cast;
        self
    }

    /// The terminal recording.
    pub fn cast(&self) -> &Cast {
        &self.cast
    }

    /// Actions that the run may have.
    pub fn max_steps(&self) -> u64 {
        self.max_steps
    }

    /// Actions so far.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// What the run used so far, as far as the journal knows.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Adds what a process used.
    pub fn add_usage(&mut self, exit: &Exit) {
        self.usage.cpu_ms += exit.usage.user_cpu_ms + exit.usage.system_cpu_ms;
        self.usage.max_rss_bytes = self.usage.max_rss_bytes.max(exit.usage.max_rss_bytes);
    }

    /// The same, with a watch that looks at attempts at steps of a playbook.
    ///
    /// What its tools report is counted apart.
    #[must_use]
    pub fn watching_attempts(mut self, watch: Option<Watch>) -> Self {
        self.attempts = watch;
        self
    }

    /// Records what an agent reported.
    ///
    /// # Errors
    /// As [`ActionLog::append`].
    pub async fn record(&mut self, report: Report) -> Result<Recorded, AppendError> {
        let event = match report {
            Report::Started(reported) => {
                self.start(&reported).await?;
                return Ok(self.within_limit());
            }
            Report::Action(reported) => {
                let (step, seen) = self.end(*reported).await?;
                return match self.within_limit() {
                    Recorded::GoOn => self.guard(step, seen).await,
                    beyond @ (Recorded::TooManySteps | Recorded::Blocked(_)) => Ok(beyond),
                };
            }
            Report::Checked(reported) => {
                self.watch.begin_anew();
                let (step, (seen, label)) = self.end(*reported).await?;
                return match self.within_limit() {
                    Recorded::GoOn => self.guard_attempt(step, seen, &label).await,
                    beyond @ (Recorded::TooManySteps | Recorded::Blocked(_)) => Ok(beyond),
                };
            }
            Report::Limit(limit) => Event::Limit(limit),
            Report::Message { role, text } => Event::Message(Text {
                role: role.map(|role| self.label(&role)),
                text: self.cut(&text),
            }),
            Report::Thought { text } => Event::Thought(Text {
                role: None,
                text: self.cut(&text),
            }),
            Report::Log { level, message } => Event::Log(Diagnostic {
                level,
                message: self.cut(&message),
                source: "agent".to_owned(),
            }),
            Report::Retry {
                action,
                attempt,
                of,
                delay,
                reason,
            } => Event::Retry(Retry {
                step: self.n_steps,
                action: self.label(&action),
                attempt,
                of,
                delay_ms: millis(delay),
                reason: self.label(&reason),
            }),
            // A result that no adapter took is a message like any other.
            Report::Result { result, data, .. } => {
                let text = result
                    .or_else(|| data.map(|data| data.to_string()))
                    .unwrap_or_default();
                Event::Message(Text {
                    role: Some("result".to_owned()),
                    text: self.cut(&text),
                })
            }
            Report::Plain(line) => {
                let lossy = std::str::from_utf8(&line).is_err();
                let mut text = self.cut(&String::from_utf8_lossy(&line));
                text.push('\n');
                let bytes = line.len() as u64 + 1;
                Event::ActionOutput(ActionOutput {
                    step: None,
                    call_id: None,
                    stream: Stream::Stdout,
                    text,
                    bytes,
                    lossy,
                })
            }
            Report::Raw { line, bytes } => Event::AgentRaw(Raw { line, bytes }),
        };
        self.log.append(event).await?;
        Ok(Recorded::GoOn)
    }

    /// Lets the guardrails look at an action that an agent reported, and records what they decide.
    async fn guard(
        &mut self,
        step: u64,
        (seen, label): (Seen, String),
    ) -> Result<Recorded, AppendError> {
        match self.watch.saw(seen) {
            Some(finding) => self.decide(step, &finding, &label).await,
            None => Ok(Recorded::GoOn),
        }
    }

    /// Looks at no further attempt: the run is over, and nothing can be decided any more.
    pub(super) fn ends_watch_of_attempts(&mut self) {
        self.attempts = None;
    }

    /// Records what a guardrail found.
    async fn decide(
        &mut self,
        step: u64,
        finding: &Finding,
        label: &str,
    ) -> Result<Recorded, AppendError> {
        let guardrail = guarded::event(step, finding, label);
        self.log.append(Event::Guardrail(guardrail.clone())).await?;
        Ok(match guardrail.decision {
            GuardrailDecision::Hint | GuardrailDecision::Warn => Recorded::GoOn,
            GuardrailDecision::Stop => Recorded::Blocked(guardrail),
        })
    }

    /// Ends every open action as cancelled.
    ///
    /// # Errors
    /// As [`ActionLog::append`].
    pub async fn cancel_open(&mut self) -> Result<(), AppendError> {
        while let Some((step, open)) = self.open.first_key_value() {
            let mut action = open.ended(*step, Some(millis(open.since.elapsed())));
            action.cancelled = true;
            self.close(action).await?;
        }
        Ok(())
    }

    /// Appends the end of an action. Cancel safe: the action is open until its end is in the log.
    async fn close(&mut self, action: Action) -> Result<(), AppendError> {
        let step = action.step;
        let (duration_ms, success, cancelled) =
            (action.duration_ms, action.success, action.cancelled);
        self.log.append(Event::Action(Box::new(action))).await?;
        // Never what the action did: names and texts are the agent's.
        tracing::debug_span!("step", step)
            .in_scope(|| tracing::debug!(duration_ms, success, cancelled, "action ended"));
        self.open.remove(&step);
        self.n_steps = self.n_steps.max(step);
        Ok(())
    }

    fn cut(&self, text: &str) -> String {
        clean(&self.redactor, text, MAX_TEXT_BYTES)
    }

    fn label(&self, text: &str) -> String {
        clean(&self.redactor, text, MAX_LABEL_BYTES)
    }

    /// A sentence for the record, redacted and cut.
    pub fn sentence(&self, text: String) -> String {
        self.label(&text)
    }

    /// A verdict whose result fits into the terminal event; what does not is kept as an artifact.
    pub async fn bounded(&mut self, mut verdict: Verdict) -> Verdict {
        if let Some(result) = verdict.result.take() {
            if result.len() > MAX_TEXT_BYTES {
                self.keep("result.txt", "text/plain; charset=utf-8", &result)
                    .await;
            }
            verdict.result = Some(self.cut(&result));
        }
        for file in std::mem::take(&mut verdict.files) {
            self.keep(file.path, file.media_type, &file.text).await;
        }
        if let Some(data) = verdict.data.take() {
            let text = data.to_string();
            verdict.data = if text.len() <= MAX_DATA_BYTES {
                Some(data)
            } else {
                let artifact = self.keep("data.json", "application/json", &text).await;
                let note = serde_json::json!({"truncated": true, "bytes": text.len(), "artifact": artifact});
                let summary = verdict.summary.take().map(|summary| *summary);
                Some(match (summary, note) {
                    (Some(Value::Object(mut summary)), Value::Object(note)) => {
                        summary.extend(note);
                        Value::Object(summary)
                    }
                    (_, note) => note,
                })
            };
        }
        verdict
    }

    async fn keep(&mut self, path: &str, media_type: &'static str, text: &str) -> Option<String> {
        let added = self.artifacts.keep(path, media_type, text).await?;
        let path = added.path.clone();
        self.log.append(Event::Artifact(added)).await.ok()?;
        Some(path)
    }

    /// Lists files that were taken from the workload among the artifacts.
    pub async fn list_artifacts(&mut self, taken: Vec<ArtifactAdded>) {
        self.artifacts.list(taken).await;
    }

    fn within_limit(&self) -> Recorded {
        if self.n_steps > self.max_steps {
            Recorded::TooManySteps
        } else {
            Recorded::GoOn
        }
    }

    async fn start(&mut self, reported: &ReportedAction) -> Result<u64, AppendError> {
        if self.open.len() >= MAX_OPEN_ACTIONS
            && let Some((step, oldest)) = self.open.first_key_value()
        {
            let mut action = oldest.ended(*step, Some(millis(oldest.since.elapsed())));
            action.cancelled = true;
            self.close(action).await?;
        }
        let step = self.n_steps + 1;
        let open = Open::of(step, reported, &self.redactor);
        self.cast.mark(&open.label(step));
        self.log
            .append(Event::ActionStarted(ActionStarted {
                step,
                call_id: open.call_id.clone(),
                parent_call_id: open.parent_call_id.clone(),
                tool: open.tool.clone(),
                action: open.action.clone(),
                kind: open.kind,
                input_summary: open.input_summary.clone(),
                attempt: open.attempt,
                of: open.of,
            }))
            .await?;
        self.n_steps = step;
        self.open.insert(step, open);
        Ok(step)
    }

    /// Ends a reported action; gives its step, and what the guardrails are to know of it.
    async fn end(
        &mut self,
        reported: ReportedAction,
    ) -> Result<(u64, (Seen, String)), AppendError> {
        let began = reported.call_id.as_ref().and_then(|call_id| {
            self.open
                .iter()
                .find(|(_, open)| open.call_id == *call_id)
                .map(|(step, _)| *step)
        });
        let duration_ms = reported.whole_duration_ms();
        let call = Call::of(&reported);
        let call = match began.and_then(|step| self.open.get(&step)) {
            Some(open) => call.begun_as(open.call),
            None => call,
        };
        let seen = Seen {
            signature: call.ended(&reported),
            success: reported.success,
        };
        let mut action = match began.and_then(|step| self.open.get(&step).map(|open| (step, open)))
        {
            Some((step, open)) => {
                let measured = millis(open.since.elapsed());
                open.ended(step, Some(duration_ms.unwrap_or(measured)))
            }
            None => {
                let open = Open::of(self.n_steps + 1, &reported, &self.redactor);
                self.cast.mark(&open.label(self.n_steps + 1));
                open.ended(self.n_steps + 1, duration_ms)
            }
        };
        let step = action.step;
        self.usage.tokens = self
            .usage
            .tokens
            .saturating_add(reported.tokens.unwrap_or(0));
        self.usage.cost_usd += reported
            .cost_usd
            .filter(|cost| cost.is_finite())
            .unwrap_or(0.0);
        if let Some(summary) = reported.input_summary {
            action.input_summary = self.label(&summary);
        }
        action.success = reported.success;
        action.error = reported.error.map(|error| self.cut(&error));
        action.has_screenshot = reported.has_screenshot.unwrap_or(false);
        action.exit_code = reported.exit_code;
        action.signal = reported.signal;
        action.tokens = reported.tokens;
        action.cost_usd = reported.cost_usd;
        action.agent_step = reported.step;
        if let Some(text) = reported.result_text {
            if text.len() > MAX_TEXT_BYTES {
                let added = self.artifacts.keep_result(step, &text).await;
                action.artifact = added.as_ref().map(|added| added.path.clone());
                let kept = cut_at_char(&text, MAX_TEXT_BYTES);
                action.truncated = Some(Truncated {
                    total_bytes: text.len() as u64,
                    kept_bytes: kept.len() as u64,
                });
                if let Some(added) = added {
                    self.log.append(Event::Artifact(added)).await?;
                }
            }
            action.result_text = Some(self.cut(&text));
        }
        let label = guarded::label(&action);
        self.close(action).await?;
        Ok((step, (seen, label)))
    }
}

/// A time in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
