//! What is wrong with the syntax of a document: place, what stands there, what would be right.
//!
//! It names kinds of things and never quotes the document's text.

use super::Place;

/// A violation of the syntax or of a limit of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {found}; {expected}")]
pub struct SyntaxError {
    /// Where it stands.
    pub place: Place,
    /// What stands there, in words.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl SyntaxError {
    pub(super) fn new(place: Place, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            place,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// A name that stands twice in one map; the first stands at `first`.
    pub(super) fn duplicate(place: Place, first: Place) -> Self {
        Self::new(
            place,
            format!("a name that stands in the same map at {first} already"),
            "give each name once",
        )
    }
}
