//! What an agent says of itself, one JSON object a line.
//!
//! Owns the reading of such a line. Unknown or damaged lines are kept as they are (`agent.raw`): what an agent prints
//! never fails a run.

use serde::Deserialize;
use serde_json::Value;

use super::exact::{Inexact, first_inexact};
use crate::event::{Level, Limit, ToolKind};

/// Longest kept part of a line that was not understood, in bytes.
pub const MAX_RAW_BYTES: usize = 8 * 1024;

/// Something that an agent reported.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// An action began.
    Started(Box<ReportedAction>),
    /// An action ended.
    Action(Box<ReportedAction>),
    /// The agent said something.
    Message {
        /// Who said it.
        role: Option<String>,
        /// What was said.
        text: String,
    },
    /// The agent thought something.
    Thought {
        /// What was thought.
        text: String,
    },
    /// A diagnostic.
    Log {
        /// How grave it is.
        level: Level,
        /// One sentence.
        message: String,
    },
    /// Our own checks were repeated, which is an action of its own and no circle of an agent.
    Checked(Box<ReportedAction>),
    /// A limit of a playbook was reached.
    Limit(Limit),
    /// An attempt failed and another one follows; it is of the action that ended last.
    Retry {
        /// What was attempted.
        action: String,
        /// Number of the attempt that failed, from 1.
        attempt: u32,
        /// Attempts that there may be.
        of: u32,
        /// Time until the next one.
        delay: std::time::Duration,
        /// Why it failed, one sentence.
        reason: String,
    },
    /// The result of the run.
    Result {
        /// Summary.
        result: Option<String>,
        /// Structured result.
        data: Option<Value>,
        /// A number in it that could not be kept as it was written.
        inexact: Option<Box<Inexact>>,
    },
    /// Text that is no report: plain output.
    Plain(Vec<u8>),
    /// A JSON object that is no report.
    Raw {
        /// The line, cut at [`MAX_RAW_BYTES`].
        line: String,
        /// Bytes of the whole line.
        bytes: u64,
    },
}

/// An action, as the agent reported it; every field may be missing.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ReportedAction {
    /// Number of the attempt.
    #[serde(deserialize_with = "lenient")]
    pub attempt: Option<u32>,
    /// Attempts that there may be.
    #[serde(deserialize_with = "lenient")]
    pub of: Option<u32>,
    /// The agent's own number.
    #[serde(deserialize_with = "lenient")]
    pub step: Option<i64>,
    /// Joins `action.started` and `action`.
    #[serde(deserialize_with = "lenient")]
    pub call_id: Option<String>,
    /// The action that this one is part of.
    #[serde(deserialize_with = "lenient")]
    pub parent_call_id: Option<String>,
    /// Name of the tool.
    #[serde(deserialize_with = "lenient")]
    pub tool: Option<String>,
    /// What the tool was asked to do.
    #[serde(deserialize_with = "lenient")]
    pub action: Option<String>,
    /// What sort of tool it is.
    #[serde(deserialize_with = "lenient")]
    pub kind: Option<ToolKind>,
    /// One line for people.
    #[serde(deserialize_with = "lenient")]
    pub input_summary: Option<String>,
    /// What the tool was given, as it was given; compared with other actions, not recorded.
    #[serde(deserialize_with = "lenient")]
    pub input: Option<Value>,
    /// Wall-clock time in milliseconds.
    #[serde(deserialize_with = "lenient")]
    pub duration_ms: Option<f64>,
    /// Whether it succeeded.
    #[serde(deserialize_with = "lenient")]
    pub success: Option<bool>,
    /// What it gave back.
    #[serde(deserialize_with = "lenient")]
    pub result_text: Option<String>,
    /// Whether there is a picture of it.
    #[serde(deserialize_with = "lenient")]
    pub has_screenshot: Option<bool>,
    /// Why it failed.
    #[serde(deserialize_with = "lenient")]
    pub error: Option<String>,
    /// Exit code of the process behind it.
    #[serde(deserialize_with = "lenient")]
    pub exit_code: Option<i32>,
    /// Signal that the process died of.
    #[serde(deserialize_with = "lenient")]
    pub signal: Option<i32>,
    /// Tokens used.
    #[serde(deserialize_with = "lenient")]
    pub tokens: Option<u64>,
    /// Cost in US dollars.
    #[serde(deserialize_with = "lenient")]
    pub cost_usd: Option<f64>,
}

impl ReportedAction {
    /// `duration_ms` as whole milliseconds; none when it is missing or no duration.
    pub fn whole_duration_ms(&self) -> Option<u64> {
        let max = std::time::Duration::from_secs(u64::from(u32::MAX)).as_secs_f64() * 1000.0;
        let ms = self
            .duration_ms
            .filter(|ms| ms.is_finite() && (0.0..=max).contains(ms))?;
        u64::try_from(std::time::Duration::from_secs_f64(ms / 1000.0).as_millis()).ok()
    }
}

/// Takes a field when it has the right type; a field of another type counts as missing, so that one odd field does not
/// cost the whole action.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

impl Report {
    /// Reads one line.
    pub fn parse(line: &[u8]) -> Self {
        let trimmed = line.trim_ascii();
        if !trimmed.starts_with(b"{") {
            return Self::Plain(line.to_vec());
        }
        match serde_json::from_slice::<Value>(trimmed) {
            Ok(Value::Object(object)) => match Self::of_object(&object) {
                Some(report) => report.with_exactness(trimmed),
                None => Self::raw(line),
            },
            Ok(_) | Err(_) => Self::raw(line),
        }
    }

    /// A line that was too long to be kept.
    pub fn too_long() -> Self {
        Self::Log {
            level: Level::Warn,
            message: format!(
                "a line of more than {} bytes was not read",
                super::MAX_LINE_BYTES
            ),
        }
    }

    /// The same, which cannot be taken for an action of ours: it is no action of that tool, and no attempt.
    #[must_use]
    pub fn of_another_than(mut self, tool: &str) -> Self {
        if let Self::Started(action) | Self::Action(action) = &mut self {
            action.attempt = None;
            action.of = None;
            if action.tool.as_deref() == Some(tool) {
                action.tool = Some(format!("reported:{tool}"));
            }
        }
        self
    }

    fn of_object(object: &serde_json::Map<String, Value>) -> Option<Self> {
        let text_of = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let action = || {
            serde_json::from_value::<ReportedAction>(Value::Object(object.clone()))
                .ok()
                .map(Box::new)
        };
        match object.get("type").map(Value::as_str) {
            None | Some(Some("action")) => action()
                .filter(|a| a.tool.is_some() || a.action.is_some())
                .map(Self::Action),
            Some(Some("action.started")) => action()
                .filter(|a| a.tool.is_some() || a.action.is_some())
                .map(Self::Started),
            Some(Some("message")) => text_of("text").map(|text| Self::Message {
                role: text_of("role"),
                text,
            }),
            Some(Some("thought")) => text_of("text").map(|text| Self::Thought { text }),
            Some(Some("log")) => {
                let level = object
                    .get("level")
                    .and_then(|l| serde_json::from_value(l.clone()).ok());
                text_of("message").map(|message| Self::Log {
                    level: level.unwrap_or(Level::Info),
                    message,
                })
            }
            Some(Some("result")) => Some(Self::Result {
                result: text_of("result"),
                data: object.get("data").filter(|data| !data.is_null()).cloned(),
                inexact: None,
            }),
            Some(_) => None,
        }
    }

    /// Notes what the numbers of a result have lost.
    fn with_exactness(mut self, line: &[u8]) -> Self {
        if let Self::Result { inexact, .. } = &mut self {
            *inexact = first_inexact(line)
                .filter(|inexact| is_in_data(&inexact.path))
                .map(Box::new);
        }
        self
    }

    fn raw(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        let mut end = text.len().min(MAX_RAW_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Raw {
            line: text.get(..end).unwrap_or_default().to_owned(),
            bytes: line.len() as u64,
        }
    }
}

/// Whether a JSON pointer leads to the structured result or into it.
fn is_in_data(path: &str) -> bool {
    path.strip_prefix("/data")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_the_seed_make_an_action() {
        let line = br#"{"step":5,"timestamp":"2026-01-01T00:00:00Z","tool":"browser_dom","action":"click",
            "input_summary":"click #a","duration_ms":100,"success":true,"result_text":"ok","has_screenshot":true,"error":null}"#;
        let Report::Action(action) = Report::parse(line) else {
            panic!()
        };
        let expected = ReportedAction {
            step: Some(5),
            tool: Some("browser_dom".to_owned()),
            action: Some("click".to_owned()),
            input_summary: Some("click #a".to_owned()),
            duration_ms: Some(100.0),
            success: Some(true),
            result_text: Some("ok".to_owned()),
            has_screenshot: Some(true),
            ..ReportedAction::default()
        };
        assert_eq!(*action, expected);
    }

    #[test]
    fn an_odd_field_counts_as_missing_and_costs_nothing_else() {
        let line = br#"{"tool":"t","success":"yes","duration_ms":"1s","step":1.5,"kind":"unheard","tokens":-1}"#;
        let Report::Action(action) = Report::parse(line) else {
            panic!()
        };
        assert_eq!(
            *action,
            ReportedAction {
                tool: Some("t".to_owned()),
                ..ReportedAction::default()
            }
        );
    }

    #[test]
    fn durations_that_are_none_are_dropped() {
        let with = |duration_ms| ReportedAction {
            duration_ms: Some(duration_ms),
            ..ReportedAction::default()
        };
        assert_eq!(with(1.6).whole_duration_ms(), Some(1));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(with(bad).whole_duration_ms(), None, "{bad}");
        }
    }

    #[test]
    fn everything_else_is_kept_and_nothing_fails() {
        assert_eq!(Report::parse(b"hello"), Report::Plain(b"hello".to_vec()));
        assert_eq!(Report::parse(b"[1]"), Report::Plain(b"[1]".to_vec()));
        for raw in [
            &b"{}"[..],
            b"{\"tool\":",
            br#"{"type":7}"#,
            br#"{"type":"unheard"}"#,
            b"{\xff}",
        ] {
            assert!(
                matches!(Report::parse(raw), Report::Raw { bytes, .. } if bytes == raw.len() as u64)
            );
        }
        let long = format!(
            "{{\"type\":\"x\",\"t\":\"{}\"}}",
            "\u{1F600}".repeat(10_000)
        );
        let Report::Raw { line, bytes } = Report::parse(long.as_bytes()) else {
            panic!()
        };
        assert!(line.len() <= MAX_RAW_BYTES && bytes == long.len() as u64);
    }
}
