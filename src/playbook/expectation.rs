//! Whether a text is what a step expects, and how a difference is told.

use super::expression::{EvaluationError, Scope};
use super::model::TextExpectation;

/// Most characters of a text that a mismatch shows.
const MAX_SHOWN_CHARS: usize = 200;

/// What a text should have been and was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The text is not what is expected.
    #[error("{what} {difference}; it {seen}")]
    Text {
        /// What was looked at, such as `stdout`.
        what: String,
        /// What does not hold.
        difference: String,
        /// The end of the text, quoted.
        seen: String,
    },
    /// What is expected has no value.
    #[error("what is expected of {what} has no value")]
    Unknown {
        /// What was looked at.
        what: String,
        /// Why.
        #[source]
        source: EvaluationError,
    },
}

impl TextExpectation {
    /// Whether it holds of `text`, which `what` names in errors.
    ///
    /// # Errors
    /// What does not hold, with the end of the text; the caller passes a text without secrets.
    pub fn check(&self, what: &str, text: &str, scope: Scope<'_>) -> Result<(), Mismatch> {
        let unknown = |source| Mismatch::Unknown {
            what: what.to_owned(),
            source,
        };
        let (holds, difference) = match self {
            Self::Contains(part) => {
                let part = part.render(scope).map_err(unknown)?;
                let holds = text.contains(&part);
                (holds, format!("does not contain {}", quoted(&part)))
            }
            Self::NotContains(part) => {
                let part = part.render(scope).map_err(unknown)?;
                let holds = !text.contains(&part);
                (holds, format!("contains {}", quoted(&part)))
            }
            Self::Equals(whole) => {
                let whole = whole.render(scope).map_err(unknown)?;
                let holds = without_line_end(text) == without_line_end(&whole);
                (holds, format!("is not {}", quoted(&whole)))
            }
            Self::Matches(pattern) => {
                let holds = pattern.is_in(text);
                (holds, format!("does not match {}", pattern.shown()))
            }
        };
        if holds {
            return Ok(());
        }
        Err(Mismatch::Text {
            what: what.to_owned(),
            difference,
            seen: if text.is_empty() {
                "is empty".to_owned()
            } else {
                format!("was {}", quoted(text))
            },
        })
    }
}

fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// The end of a text, in quotes and on one line.
fn quoted(text: &str) -> String {
    let n_chars = text.chars().count();
    let end: String = text
        .chars()
        .skip(n_chars.saturating_sub(MAX_SHOWN_CHARS))
        .collect();
    if n_chars > MAX_SHOWN_CHARS {
        format!("…{end:?}")
    } else {
        format!("{end:?}")
    }
}
