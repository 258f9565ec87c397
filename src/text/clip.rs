//! The beginning and the end of a text, in bounded memory.
//!
//! Owns the two parts that are kept. It never keeps more than the limit of the beginning and three times that of the
//! end. Invariant: the result depends on the whole text only, not on how it was split.

use std::fmt;

use super::{Excerpt, cut_at_char, end_at_char};

/// Keeps the first and the last bytes of a text that is pushed in parts.
#[derive(Clone)]
pub struct Clip {
    max_head_bytes: usize,
    max_tail_bytes: usize,
    head: String,
    /// Set with the first character that does not fit: no later one may follow the head.
    head_full: bool,
    /// The end of what follows the head; shortened when it is twice its limit, so that a push costs what it brings.
    tail: String,
    total_bytes: u64,
}

/// What was kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Clipped {
    /// The whole text; or its beginning, a line `[... N bytes left out ...]`, and its end.
    pub text: String,
    /// Bytes of the whole text.
    pub total_bytes: u64,
    /// Bytes of it that are in `text`; the mark is not counted.
    pub kept_bytes: u64,
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clip")
            .field("total_bytes", &self.total_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Clipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clipped")
            .field("total_bytes", &self.total_bytes)
            .field("kept_bytes", &self.kept_bytes)
            .finish_non_exhaustive()
    }
}

impl Clip {
    /// Keeps at most `max_head_bytes` of the beginning and `max_tail_bytes` of the end.
    pub fn new(max_head_bytes: usize, max_tail_bytes: usize) -> Self {
        Self {
            max_head_bytes,
            max_tail_bytes,
            head: String::new(),
            head_full: false,
            tail: String::new(),
            total_bytes: 0,
        }
    }

    /// Takes the next part of the text.
    pub fn push(&mut self, part: &str) {
        self.total_bytes = self.total_bytes.saturating_add(count(part.len()));
        let mut rest = part;
        if !self.head_full {
            let fits = cut_at_char(rest, self.max_head_bytes.saturating_sub(self.head.len()));
            self.head.push_str(fits);
            rest = rest.get(fits.len()..).unwrap_or("");
            self.head_full = !rest.is_empty();
        }
        let end = end_at_char(rest, self.max_tail_bytes);
        if end.len() < rest.len() {
            self.tail.clear();
        }
        self.tail.push_str(end);
        if self.tail.len() > self.max_tail_bytes.saturating_mul(2) {
            self.shorten_tail();
        }
    }

    /// Bytes of the text so far.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The text with its middle left out, if it is longer than both limits together.
    pub fn finish(mut self) -> Clipped {
        self.shorten_tail();
        let kept_bytes = count(self.head.len()).saturating_add(count(self.tail.len()));
        let left_out = self.total_bytes.saturating_sub(kept_bytes);
        let mut text = self.head;
        if left_out > 0 {
            text.push_str(&format!("\n[... {left_out} bytes left out ...]\n"));
        }
        text.push_str(&self.tail);
        Clipped {
            text,
            total_bytes: self.total_bytes,
            kept_bytes,
        }
    }

    /// The same in two parts, without a mark.
    pub fn into_excerpt(mut self) -> Excerpt {
        self.shorten_tail();
        let kept_bytes = count(self.head.len()).saturating_add(count(self.tail.len()));
        if kept_bytes < self.total_bytes {
            return Excerpt::cut(self.head, self.tail);
        }
        self.head.push_str(&self.tail);
        Excerpt::whole(self.head)
    }

    fn shorten_tail(&mut self) {
        let kept = end_at_char(&self.tail, self.max_tail_bytes).len();
        self.tail.drain(..self.tail.len().saturating_sub(kept));
    }
}

fn count(n_bytes: usize) -> u64 {
    u64::try_from(n_bytes).unwrap_or(u64::MAX)
}
