//! One stream of bytes as text for a screen.
//!
//! Owns the bytes of an unfinished character, at most three. Invariants: every piece is whole UTF-8 however the stream was
//! split, and no byte is dropped: what is not UTF-8 becomes U+FFFD.

use super::recorder::Cast;

/// What becomes of a line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// A carriage return is put before it, as a terminal does for a program: the stream came through a pipe.
    Translated,
    /// It stays: the stream came through a terminal, which has done so.
    AsTheyAre,
}

/// Turns one stream into output of the cast.
#[derive(Debug)]
pub struct ScreenStream {
    cast: Cast,
    line_ends: LineEnds,
    /// The beginning of a character whose end has not come.
    held: Vec<u8>,
    follows_return: bool,
}

impl ScreenStream {
    /// A stream that has shown nothing yet.
    pub fn new(cast: Cast, line_ends: LineEnds) -> Self {
        Self {
            cast,
            line_ends,
            held: Vec::new(),
            follows_return: false,
        }
    }

    /// Takes a piece of the stream. Waits, within limits, when the disk is slow; see [`Cast::output`].
    pub async fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || !self.cast.takes_more() {
            return;
        }
        let mut text = String::with_capacity(bytes.len() + bytes.len() / 16);
        self.decode(bytes, &mut text);
        self.cast.output(&text).await;
    }

    /// Ends the stream: an unfinished character is shown as U+FFFD.
    pub async fn finish(&mut self) {
        if !self.held.is_empty() {
            self.held.clear();
            self.cast.output("\u{fffd}").await;
        }
    }

    fn decode(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.held).as_slice(), bytes].concat();
            joined.as_slice()
        };
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.show(text, out);
                    return;
                }
                Err(error) => {
                    let (valid, broken) = rest.split_at(error.valid_up_to());
                    self.show(std::str::from_utf8(valid).unwrap_or_default(), out);
                    let Some(n_invalid) = error.error_len() else {
                        self.held.extend_from_slice(broken);
                        return;
                    };
                    self.show("\u{fffd}", out);
                    rest = broken.get(n_invalid..).unwrap_or_default();
                }
            }
        }
    }

    fn show(&mut self, text: &str, out: &mut String) {
        if self.line_ends == LineEnds::AsTheyAre {
            out.push_str(text);
            return;
        }
        let mut lines = text.split('\n');
        let first = lines.next().unwrap_or_default();
        self.show_piece(first, out);
        for line in lines {
            if !self.follows_return {
                out.push('\r');
            }
            out.push('\n');
            self.follows_return = false;
            self.show_piece(line, out);
        }
    }

    fn show_piece(&mut self, piece: &str, out: &mut String) {
        if let Some(last) = piece.as_bytes().last() {
            out.push_str(piece);
            self.follows_return = *last == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cast::EntryKind;
    use crate::cast::entry::{parse_entry, write_entry};

    fn shown(line_ends: LineEnds, bytes: &[u8], piece: usize) -> String {
        let mut stream = ScreenStream::new(Cast::off(), line_ends);
        let mut out = String::new();
        for bytes in bytes.chunks(piece) {
            stream.decode(bytes, &mut out);
        }
        if !stream.held.is_empty() {
            out.push('\u{fffd}');
        }
        out
    }

    #[test]
    fn what_is_shown_does_not_depend_on_how_the_stream_was_split() {
        let bytes = "größer 漢字 🦀\r\nline\n\n\r\r\nend\r".as_bytes();
        let bytes = [bytes, b"\xff\xc3", b"\n\xf0\x9f\xa6"].concat();
        let expected = "größer 漢字 🦀\r\nline\r\n\r\n\r\r\nend\r\u{fffd}\u{fffd}\r\n\u{fffd}";
        for piece in 1..=bytes.len() {
            assert_eq!(
                shown(LineEnds::Translated, &bytes, piece),
                expected,
                "in pieces of {piece}"
            );
        }
        for piece in 1..=bytes.len() {
            assert_eq!(shown(LineEnds::AsTheyAre, b"a\nb\r\nc", piece), "a\nb\r\nc");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_whole_lines_with_nothing_lost(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<u8>(),
                    proptest::sample::select(b"\r\n\x1b[m\xc3\xb6\xf0\x9f\xa6\x80".to_vec()),
                ],
                0..200,
            ),
            cuts in proptest::collection::vec(0_usize..200, 0..10),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = ScreenStream::new(Cast::off(), LineEnds::Translated);
            let mut lines = Vec::new();
            for pair in cuts.windows(2) {
                let mut text = String::new();
                stream.decode(&bytes[pair[0]..pair[1]], &mut text);
                write_entry(&mut lines, Duration::ZERO, EntryKind::Output, &text);
            }
            if !stream.held.is_empty() {
                write_entry(&mut lines, Duration::ZERO, EntryKind::Output, "\u{fffd}");
            }
            let lines = String::from_utf8(lines).unwrap();
            let shown: String = lines.lines().map(|line| parse_entry(line).unwrap().text).collect();
            let expected = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\n', "\r\n");
            proptest::prop_assert_eq!(shown, expected);
        }
    }
}
