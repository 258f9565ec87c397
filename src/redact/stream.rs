//! Redaction of a stream that arrives in pieces.
//!
//! Owns the bytes that may still become a match. It never holds more than [`MAX_HOLD`] of them. Invariant: what comes
//! out is what [`Redactor::redact_bytes`] gives for the whole stream, however it was split.

use std::fmt;

use super::rule::Edge;
use super::{LOOK_BEHIND_BYTES, Redactor};

/// Replaces secrets in one stream. One of these per stream: two streams may each carry half of a line.
///
/// Bytes are held back only while they are the beginning of a possible match, at most [`super::MAX_HOLD`] of them; a
/// shape that is longer is replaced up to that limit. So a prompt without a line end which happens to be the beginning
/// of a secret ("pass" of "password-1234") is held until more comes or the stream ends.
#[derive(Clone)]
pub struct StreamRedactor {
    redactor: Redactor,
    /// Up to [`LOOK_BEHIND_BYTES`] of what was decided, then what is held back.
    window: Vec<u8>,
    /// Where in `window` the undecided bytes begin.
    undecided: usize,
    /// Up to where in `window` replacements were written; beyond `undecided` while a match may be extended.
    written: usize,
}

impl fmt::Debug for StreamRedactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRedactor")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl StreamRedactor {
    /// Begins a stream.
    pub fn new(redactor: &Redactor) -> Self {
        Self {
            redactor: redactor.clone(),
            window: Vec::new(),
            undecided: 0,
            written: 0,
        }
    }

    /// Takes a piece of the stream and appends what is decided to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.window.extend_from_slice(chunk);
        self.advance(Edge::Open, out);
    }

    /// Ends the stream: appends what was held back, redacted. A push after it begins a new stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.advance(Edge::Final, out);
        self.window.clear();
        self.undecided = 0;
        self.written = 0;
    }

    /// Bytes that are held back, at most [`super::MAX_HOLD`].
    pub fn held(&self) -> usize {
        self.window.len().saturating_sub(self.undecided)
    }

    fn advance(&mut self, edge: Edge, out: &mut Vec<u8>) {
        let tables = &self.redactor.tables;
        let stopped = tables.text.replace(
            &self.window,
            self.undecided,
            self.written,
            edge,
            &tables.replacements,
            out,
        );
        let n_forgotten = stopped.undecided.saturating_sub(LOOK_BEHIND_BYTES);
        self.window.drain(..n_forgotten);
        self.undecided = stopped.undecided.saturating_sub(n_forgotten);
        self.written = stopped.written.saturating_sub(n_forgotten);
    }
}
