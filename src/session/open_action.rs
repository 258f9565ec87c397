//! An action that has begun and not ended.
//!
//! Owns what is known of it from its beginning. Its texts are redacted and cut when it is made, so that whoever shows it, the
//! log or a marker of the terminal recording, shows the same.

use std::time::Instant;

use super::journal::MAX_LABEL_BYTES;
use crate::agent::ReportedAction;
use crate::event::{Action, ToolKind};
use crate::guardrail::Call;
use crate::log::Millis;
use crate::redact::Redactor;
use crate::text::cut_at_char;

/// Longest label of a marker in the terminal recording, in bytes: one line of a player's list.
const MAX_MARKER_BYTES: usize = 200;

/// An action that began.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) call_id: String,
    pub(super) parent_call_id: Option<String>,
    pub(super) tool: String,
    pub(super) action: String,
    pub(super) kind: ToolKind,
    pub(super) input_summary: String,
    pub(super) call: Call,
    pub(super) attempt: Option<u32>,
    pub(super) of: Option<u32>,
    pub(super) since: Instant,
}

impl Open {
    /// What an agent reported, redacted and cut.
    pub(super) fn of(step: u64, reported: &ReportedAction, redactor: &Redactor) -> Self {
        let text = |field: &Option<String>| {
            field
                .as_deref()
                .map(|text| clean(redactor, text, MAX_LABEL_BYTES))
        };
        Self {
            call_id: text(&reported.call_id).unwrap_or_else(|| format!("call-{step}")),
            parent_call_id: text(&reported.parent_call_id),
            tool: text(&reported.tool).unwrap_or_else(|| "agent".to_owned()),
            action: text(&reported.action).unwrap_or_default(),
            kind: reported.kind.unwrap_or_default(),
            input_summary: text(&reported.input_summary).unwrap_or_default(),
            call: Call::of(reported),
            attempt: reported.attempt,
            of: reported.of,
            since: Instant::now(),
        }
    }

    /// How a marker of the terminal recording names it.
    pub(super) fn label(&self, step: u64) -> String {
        let what = match self.input_summary.as_str() {
            "" => format!("{} {}", self.tool, self.action),
            summary => summary.to_owned(),
        };
        let words: Vec<&str> = what.split_whitespace().collect();
        let label = format!("step {step}: {}", words.join(" "));
        cut_at_char(&label, MAX_MARKER_BYTES).to_owned()
    }

    /// Its end as an event, with what is known so far.
    pub(super) fn ended(&self, step: u64, duration_ms: Option<u64>) -> Action {
        Action {
            step,
            timestamp: Millis::now().to_rfc3339(),
            tool: self.tool.clone(),
            action: self.action.clone(),
            input_summary: self.input_summary.clone(),
            duration_ms,
            success: None,
            result_text: None,
            has_screenshot: false,
            error: None,
            call_id: self.call_id.clone(),
            parent_call_id: self.parent_call_id.clone(),
            kind: self.kind,
            exit_code: None,
            signal: None,
            truncated: None,
            artifact: None,
            tokens: None,
            cost_usd: None,
            agent_step: None,
            attempt: self.attempt,
            of: self.of,
            cancelled: false,
            usage: None,
        }
    }
}

/// Redacts a text, then cuts it.
pub(super) fn clean(redactor: &Redactor, text: &str, max_bytes: usize) -> String {
    let redacted = redactor.redact_text(text);
    cut_at_char(&redacted, max_bytes).to_owned()
}
