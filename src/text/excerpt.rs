//! A text that may be longer than what was kept of it.
//!
//! Owns the difference between the two. It never joins what did not stand side by side. Invariant: an excerpt that has its
//! whole text has it in one part; of any other the beginning and the end stay apart.

use std::borrow::Cow;
use std::fmt;

/// A text, or its beginning and its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    head: String,
    /// None of a text that is whole.
    tail: Option<String>,
}

impl Excerpt {
    /// A text of which nothing is missing.
    pub fn whole(text: impl Into<String>) -> Self {
        Self {
            head: text.into(),
            tail: None,
        }
    }

    /// A text of which something between these two parts is missing; either may be empty.
    pub fn cut(head: String, tail: String) -> Self {
        Self {
            head,
            tail: Some(tail),
        }
    }

    /// The text, or its beginning.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The end of a text that is not whole.
    pub fn tail(&self) -> Option<&str> {
        self.tail.as_deref()
    }

    /// Bytes that were kept.
    pub fn kept_bytes(&self) -> usize {
        self.head.len() + self.tail.as_ref().map_or(0, String::len)
    }

    /// The text for people, with a mark where something is missing; the mark is no part of the text.
    pub fn marked(&self) -> Cow<'_, str> {
        match &self.tail {
            None => Cow::Borrowed(&self.head),
            Some(tail) => Cow::Owned(format!("{}\n[... bytes left out ...]\n{tail}", self.head)),
        }
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Excerpt")
            .field("kept_bytes", &self.kept_bytes())
            .field("is_whole", &self.tail.is_none())
            .finish_non_exhaustive()
    }
}
