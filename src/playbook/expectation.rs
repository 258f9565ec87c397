//! Whether a text is what a step expects, and how a difference is told.

use super::expression::{EvaluationError, Scope};
use super::model::TextExpectation;
use crate::text::Excerpt;

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
    /// What was kept of the text does not tell.
    #[error(
        "{what} is longer than the {kept_bytes} bytes that are looked at, so nothing tells whether it {claim}; check it in the command itself"
    )]
    Cut {
        /// What was looked at.
        what: String,
        /// How much of it was.
        kept_bytes: usize,
        /// What it should be or have.
        claim: String,
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
    /// What does not hold, with the end of the text, or cannot be told of a text that is not whole; the caller passes a
    /// text without secrets.
    pub fn check(&self, what: &str, text: &Excerpt, scope: Scope<'_>) -> Result<(), Mismatch> {
        let unknown = |source| Mismatch::Unknown {
            what: what.to_owned(),
            source,
        };
        let (head, tail) = (text.head(), text.tail());
        let has = |part: &str| head.contains(part) || tail.is_some_and(|tail| tail.contains(part));
        let (finding, claim, difference) = match self {
            Self::Contains(part) => {
                let part = quoted_and(part.render(scope).map_err(unknown)?);
                let finding = match (has(&part.0), tail) {
                    (true, _) => Finding::Holds,
                    (false, None) => Finding::Differs,
                    (false, Some(_)) => Finding::Unknown,
                };
                let shown = part.1;
                (
                    finding,
                    format!("contains {shown}"),
                    format!("does not contain {shown}"),
                )
            }
            Self::NotContains(part) => {
                let part = quoted_and(part.render(scope).map_err(unknown)?);
                let finding = match (has(&part.0), tail) {
                    (true, _) => Finding::Differs,
                    (false, None) => Finding::Holds,
                    (false, Some(_)) => Finding::Unknown,
                };
                let claim = format!("contains {}", part.1);
                (finding, claim.clone(), claim)
            }
            Self::Equals(whole) => {
                let whole = quoted_and(whole.render(scope).map_err(unknown)?);
                let is_equal = without_line_end(head) == without_line_end(&whole.0);
                let finding = match (is_equal, tail) {
                    (_, Some(_)) => Finding::Unknown,
                    (true, None) => Finding::Holds,
                    (false, None) => Finding::Differs,
                };
                (
                    finding,
                    format!("is {}", whole.1),
                    format!("is not {}", whole.1),
                )
            }
            Self::Matches(pattern) => {
                let finding = match tail {
                    None if pattern.is_in(head) => Finding::Holds,
                    None => Finding::Differs,
                    Some(tail) if pattern.is_in_head(head) || pattern.is_in_tail(tail) => {
                        Finding::Holds
                    }
                    Some(_) => Finding::Unknown,
                };
                let shown = pattern.shown();
                (
                    finding,
                    format!("matches {shown}"),
                    format!("does not match {shown}"),
                )
            }
        };
        let what = what.to_owned();
        match finding {
            Finding::Holds => Ok(()),
            Finding::Unknown => Err(Mismatch::Cut {
                what,
                kept_bytes: text.kept_bytes(),
                claim,
            }),
            Finding::Differs => Err(Mismatch::Text {
                what,
                difference,
                seen: match tail.filter(|tail| !tail.is_empty()).unwrap_or(head) {
                    "" => "is empty".to_owned(),
                    end => format!("was {}", quoted(end)),
                },
            }),
        }
    }
}

/// What a text says of an expectation.
enum Finding {
    Holds,
    Differs,
    /// The text is not whole, and what is there does not decide.
    Unknown,
}

/// A text, and the same in quotes.
fn quoted_and(text: String) -> (String, String) {
    let shown = quoted(&text);
    (text, shown)
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
