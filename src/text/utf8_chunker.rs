//! A stream of bytes as pieces of valid UTF-8.
//!
//! Owns what is not emitted yet: an unfinished line of at most [`MAX_PIECE_BYTES`] and an unfinished character. It
//! never drops a byte: control characters and escapes stay, and what is not UTF-8 becomes U+FFFD. Invariant: the
//! `bytes` of all pieces add up to the bytes that were pushed, and whether bytes count as invalid does not depend on
//! how the stream was split.

use std::borrow::Cow;
use std::fmt;

use super::cut_at_char;

/// Longest text of a piece, in bytes: some hundred lines, so that an event fits into one network write.
pub const MAX_PIECE_BYTES: usize = 8 << 10;

const REPLACEMENT: &str = "\u{FFFD}";

/// A part of a stream. Its `Debug` does not show the text, which may not be redacted yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text, at most [`MAX_PIECE_BYTES`] bytes, never empty.
    pub text: String,
    /// Bytes of the stream that it stands for.
    pub bytes: u64,
    /// True if some of them were not UTF-8.
    pub lossy: bool,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("text_bytes", &self.text.len())
            .field("bytes", &self.bytes)
            .field("lossy", &self.lossy)
            .finish_non_exhaustive()
    }
}

/// Turns one stream into pieces that end at line ends where lines are not too long.
#[derive(Clone, Default)]
pub struct Utf8Chunker {
    /// Text that is not emitted, at most [`MAX_PIECE_BYTES`]: `lines`, then a part of a line.
    text: String,
    /// The whole lines in `text`.
    lines: Extent,
    /// The part of a line after them.
    partial: Extent,
    /// The beginning of a character, at most three bytes.
    split: Vec<u8>,
}

/// What a part of the text stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    text_bytes: usize,
    bytes: u64,
    lossy: bool,
}

impl Extent {
    fn add(&mut self, text_bytes: usize, bytes: usize) {
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn absorb(&mut self, after: &mut Self) {
        let after = std::mem::take(after);
        self.text_bytes = self.text_bytes.saturating_add(after.text_bytes);
        self.bytes = self.bytes.saturating_add(after.bytes);
        self.lossy |= after.lossy;
    }
}

impl fmt::Debug for Utf8Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Utf8Chunker")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl Utf8Chunker {
    /// Begins a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, and emits all whole lines, several in one piece. A line longer than [`MAX_PIECE_BYTES`] is
    /// emitted in parts that end at character boundaries.
    pub fn push(&mut self, bytes: &[u8], emit: &mut impl FnMut(Piece)) {
        let joined = match self.split.is_empty() {
            true => Cow::Borrowed(bytes),
            false => {
                self.split.extend_from_slice(bytes);
                Cow::Owned(std::mem::take(&mut self.split))
            }
        };
        let mut rest: &[u8] = &joined;
        while !rest.is_empty() {
            let (valid, invalid, after) = next_part(rest);
            self.push_valid(valid, emit);
            match invalid {
                Some(n_bytes) => self.push_invalid(n_bytes, emit),
                None => self.split = after.to_vec(),
            }
            rest = match invalid {
                Some(_) => after,
                None => &[],
            };
        }
        self.emit_lines(emit);
    }

    /// Emits the part of a line that is held, for prompts that have no line end. An unfinished character stays held.
    pub fn flush_partial(&mut self, emit: &mut impl FnMut(Piece)) {
        self.lines.absorb(&mut self.partial);
        self.emit_lines(emit);
    }

    /// Ends the stream: emits all that is held; an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, emit: &mut impl FnMut(Piece)) {
        let split = std::mem::take(&mut self.split);
        if !split.is_empty() {
            self.push_invalid(split.len(), emit);
        }
        self.flush_partial(emit);
    }

    /// Bytes of the stream that are held: an unfinished line and an unfinished character.
    pub fn held(&self) -> usize {
        let bytes = usize::try_from(self.partial.bytes).unwrap_or(usize::MAX);
        bytes.saturating_add(self.split.len())
    }

    fn push_valid(&mut self, valid: &str, emit: &mut impl FnMut(Piece)) {
        let mut rest = valid;
        while !rest.is_empty() {
            let part = cut_at_char(rest, MAX_PIECE_BYTES.saturating_sub(self.text.len()));
            self.text.push_str(part);
            let line_end = memchr::memrchr(b'\n', part.as_bytes()).map(|at| at.saturating_add(1));
            if let Some(line_end) = line_end {
                self.partial.add(line_end, line_end);
                self.lines.absorb(&mut self.partial);
            }
            let after = part.len().saturating_sub(line_end.unwrap_or(0));
            self.partial.add(after, after);
            rest = rest.get(part.len()..).unwrap_or("");
            if !rest.is_empty() {
                self.make_room(emit);
            }
        }
    }

    fn push_invalid(&mut self, n_bytes: usize, emit: &mut impl FnMut(Piece)) {
        if self.text.len().saturating_add(REPLACEMENT.len()) > MAX_PIECE_BYTES {
            self.make_room(emit);
        }
        self.text.push_str(REPLACEMENT);
        self.partial.add(REPLACEMENT.len(), n_bytes);
        self.partial.lossy = true;
    }

    /// Emits the whole lines, or the part of a line if there is no whole one.
    fn make_room(&mut self, emit: &mut impl FnMut(Piece)) {
        match self.lines.text_bytes {
            0 => self.flush_partial(emit),
            _ => self.emit_lines(emit),
        }
    }

    fn emit_lines(&mut self, emit: &mut impl FnMut(Piece)) {
        let lines = std::mem::take(&mut self.lines);
        if lines.text_bytes == 0 {
            return;
        }
        let partial = self.text.split_off(lines.text_bytes);
        emit(Piece {
            text: std::mem::replace(&mut self.text, partial),
            bytes: lines.bytes,
            lossy: lines.lossy,
        });
    }
}

/// Splits into valid text, the number of invalid bytes after it, and the rest; without invalid bytes the rest is the
/// beginning of a character.
fn next_part(bytes: &[u8]) -> (&str, Option<usize>, &[u8]) {
    let Some(chunk) = bytes.utf8_chunks().next() else {
        return ("", None, &[]);
    };
    let after_valid = bytes.get(chunk.valid().len()..).unwrap_or(&[]);
    let unfinished = std::str::from_utf8(after_valid).is_err_and(|e| e.error_len().is_none());
    match unfinished || after_valid.is_empty() {
        true => (chunk.valid(), None, after_valid),
        false => {
            let n_invalid = chunk.invalid().len();
            let after = after_valid.get(n_invalid..).unwrap_or(&[]);
            (chunk.valid(), Some(n_invalid), after)
        }
    }
}
