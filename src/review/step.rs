//! One action of a recording, as small as a comparison and a screen need it.
//!
//! Data only. Texts are cut; of a result a digest stays beside its beginning.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use crate::event::Action;
use crate::text::cut_at_char;

/// Longest text that is kept of a name or a result, in bytes.
pub const MAX_TEXT_BYTES: usize = 240;

/// An action that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// Number of the action.
    pub step: u64,
    /// Name of the tool.
    pub tool: String,
    /// What the tool was asked to do.
    pub action: String,
    /// One line for people.
    pub input_summary: String,
    /// Wall-clock time in milliseconds, where it is known.
    pub duration_ms: Option<u64>,
    /// Whether it succeeded; null when that is not known.
    pub success: Option<bool>,
    /// True when the end of the run cut it short.
    pub cancelled: bool,
    /// Exit code of the process behind it.
    pub exit_code: Option<i32>,
    /// Signal that the process died of.
    pub signal: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
    /// The beginning of what it gave back.
    pub result: Option<String>,
    /// Digest of the whole of it, comparable within one process only.
    #[serde(skip)]
    pub result_digest: u64,
    /// Digest of the call: tool, action and input.
    #[serde(skip)]
    pub signature: u64,
}

impl StepView {
    /// Takes what is needed of an action.
    pub fn of(action: &Action) -> Self {
        let cut = |text: &str| cut_at_char(text, MAX_TEXT_BYTES).to_owned();
        Self {
            step: action.step,
            tool: cut(&action.tool),
            action: cut(&action.action),
            input_summary: cut(&action.input_summary),
            duration_ms: action.duration_ms,
            success: action.success,
            cancelled: action.cancelled,
            exit_code: action.exit_code,
            signal: action.signal,
            error: action.error.as_deref().map(cut),
            result: action.result_text.as_deref().map(cut),
            result_digest: digest(&action.result_text),
            signature: digest(&(&action.tool, &action.action, &action.input_summary)),
        }
    }

    /// What was done, in one line.
    pub fn title(&self) -> String {
        let mut title = self.tool.clone();
        for part in [&self.action, &self.input_summary] {
            if !part.is_empty() {
                title.push(' ');
                title.push_str(part);
            }
        }
        title
    }

    /// How it ended, in a few words.
    pub fn verdict(&self) -> String {
        match (self.cancelled, self.signal, self.exit_code, self.success) {
            (true, _, _, _) => "cancelled".to_owned(),
            (false, Some(signal), _, _) => format!("signal {signal}"),
            (false, None, Some(code), _) => format!("exit {code}"),
            (false, None, None, Some(true)) => "ok".to_owned(),
            (false, None, None, Some(false)) => "failed".to_owned(),
            (false, None, None, None) => "unknown".to_owned(),
        }
    }

    /// Whether it is known to have failed.
    pub fn is_failed(&self) -> bool {
        self.success == Some(false)
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
