//! Regular expressions of playbooks: compiled once, bounded, matched in linear time.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

/// Longest pattern, in characters.
pub const MAX_PATTERN_CHARS: usize = 1_000;

/// Largest compiled pattern, in bytes: it bounds what repetitions of repetitions cost.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// A regular expression in the syntax of `regex-lite`, where `\w`, `\d` and `\s` are those of ASCII.
#[derive(Clone)]
pub struct Pattern {
    written: String,
    anywhere: Regex,
    whole: Regex,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long, or compiled it would be.
    #[error("is longer than {MAX_PATTERN_CHARS} characters or too large")]
    TooLarge,
    /// It violates the syntax.
    #[error("is no regular expression")]
    Syntax(String),
}

impl PatternError {
    /// Why, for an error that shows the pattern.
    pub(super) fn cause(self) -> String {
        match self {
            Self::TooLarge => "too long or too large".to_owned(),
            Self::Syntax(cause) => cause,
        }
    }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A text that is too long or violates the syntax.
    pub fn new(written: &str) -> Result<Self, PatternError> {
        if written.chars().count() > MAX_PATTERN_CHARS {
            return Err(PatternError::TooLarge);
        }
        // The pattern itself is compiled first: with what stands around the whole one, `a)|(b` would be one.
        let anywhere = compile(written)?;
        let whole = compile(&format!(r"\A(?:{written})\z"))
            // Its last line is a comment, which it can have with `(?x)` only: there a line end means nothing.
            .or_else(|_| compile(&format!("\\A(?:{written}\n)\\z")))?;
        Ok(Self {
            written: written.to_owned(),
            anywhere,
            whole,
        })
    }

    /// The pattern as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The pattern for an error or a plan: on one line.
    pub fn shown(&self) -> String {
        if self.written.contains(char::is_control) {
            format!("{:?}", self.written)
        } else {
            self.written.clone()
        }
    }

    /// Whether it matches somewhere in `text`. `$` also holds before line ends at the end, as grep(1) and people have it: the
    /// output of a command ends with one.
    pub fn is_in(&self, text: &str) -> bool {
        self.anywhere.is_match(text) || self.anywhere.is_match(without_last_line_end(text))
    }

    /// Whether it matches somewhere in the text that begins with `head` and goes on unseen: what reaches the cut is not
    /// counted, for there `$` and the like would hold of the part alone.
    pub(super) fn is_in_head(&self, head: &str) -> bool {
        self.anywhere
            .find_iter(head)
            .any(|found| found.end() < head.len())
    }

    /// Whether it matches somewhere in the text that ends with `tail` and began unseen; as for a beginning.
    pub(super) fn is_in_tail(&self, tail: &str) -> bool {
        [tail, without_last_line_end(tail)]
            .into_iter()
            .any(|tail| self.anywhere.find_iter(tail).any(|found| found.start() > 0))
    }

    /// Whether it matches the whole of `text`.
    pub fn is_whole(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// How many groups it has, the whole match (group 0) included.
    pub fn n_groups(&self) -> usize {
        self.anywhere.captures_len()
    }

    /// The text of a group of the first match in `text`.
    pub fn group<'t>(&self, text: &'t str, group: usize) -> Option<&'t str> {
        let captures = self
            .anywhere
            .captures(text)
            .or_else(|| self.anywhere.captures(without_last_line_end(text)))?;
        captures.get(group).map(|found| found.as_str())
    }
}

fn without_last_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

fn compile(written: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(written)
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| {
            let cause = error.to_string();
            if cause.contains("size limit") {
                PatternError::TooLarge
            } else {
                PatternError::Syntax(cause)
            }
        })
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_comment_at_the_end_belongs_to_the_pattern_alone() {
        let pattern = Pattern::new("(?x) a b # both").unwrap();
        assert!(pattern.is_whole("ab") && !pattern.is_whole("abc"));
        assert!(Pattern::new("a)|(b").is_err());
    }
}
