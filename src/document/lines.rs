//! Byte offsets of a text as lines and columns, at a cost that does not grow with the length of a line.

use super::Place;

/// Distance of the offsets whose character number is known, in bytes: a lookup counts at most so many.
const CHECKPOINT_BYTES: usize = 512;

/// The positions of a text.
pub(super) struct Lines<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    /// How many characters begin before each multiple of [`CHECKPOINT_BYTES`].
    checkpoints: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let after_newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|idx| idx + 1);
        let mut n_chars = 0;
        let checkpoints = text
            .as_bytes()
            .chunks(CHECKPOINT_BYTES)
            .map(|chunk| {
                let before = n_chars;
                n_chars += count_chars(chunk);
                before
            })
            .collect();
        Self {
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            checkpoints,
        }
    }

    /// The place of the character that begins at `offset`, or of the text's end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let line_start = line
            .checked_sub(1)
            .and_then(|idx| self.line_starts.get(idx))
            .copied()
            .unwrap_or(0);
        Place {
            line,
            column: self.chars_before(offset) - self.chars_before(line_start) + 1,
        }
    }

    fn chars_before(&self, offset: usize) -> usize {
        let bytes = self.text.as_bytes();
        let offset = offset.min(bytes.len());
        let checkpoint = (offset / CHECKPOINT_BYTES).min(self.checkpoints.len().saturating_sub(1));
        let before = self.checkpoints.get(checkpoint).copied().unwrap_or(0);
        let rest = bytes.get(checkpoint * CHECKPOINT_BYTES..offset);
        before + rest.map_or(0, count_chars)
    }
}

/// How many characters begin in these bytes of UTF-8.
fn count_chars(bytes: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    bytes.iter().filter(|byte| !is_continuation(**byte)).count()
}
