//! Text of bounded size from output of any size.
//!
//! Owns cutting: at character boundaries, into pieces, and in the middle, and the words for sizes and durations. It never
//! looks at what the text says.
//! Invariant: whatever bytes come in, what goes out is valid UTF-8, bounded, and counted in bytes that came in.

mod clip;
mod excerpt;
pub mod measure;
mod utf8_chunker;

pub use clip::{Clip, Clipped};
pub use excerpt::Excerpt;
pub use utf8_chunker::{MAX_PIECE_BYTES, Piece, Utf8Chunker};

/// The longest beginning of `text` that has at most `max_bytes` bytes and ends at a character boundary.
pub fn cut_at_char(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes))
        .unwrap_or(text)
}

/// The longest end of `text` that has at most `max_bytes` bytes and begins at a character boundary.
fn end_at_char(text: &str, max_bytes: usize) -> &str {
    let start = text.len().saturating_sub(max_bytes);
    text.get(text.ceil_char_boundary(start)..).unwrap_or(text)
}

#[cfg(test)]
mod tests;
