//! The lines of a cast: the header, and one entry a line.
//!
//! Owns encoding and decoding. Invariant: an encoded entry is one line of valid UTF-8 JSON, whatever its text holds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of the format that is written and read; Debian's asciinema 2.2.0 plays no later one.
pub const VERSION: u32 = 2;

/// Width and height where no terminal tells them: the classic VT100.
pub const DEFAULT_SIZE: WindowSize = WindowSize {
    columns: 80,
    rows: 24,
};

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The first line of a cast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Characters in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
    /// Seconds since 1970 at which it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// What was run, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Variables that say how to show it: `TERM`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Header {
    /// The header as a line, with its line end.
    pub fn line(&self) -> serde_json::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Text that was shown.
    Output,
    /// A place that can be found again.
    Marker,
    /// A new size, as `COLUMNSxROWS`.
    Resize,
}

impl EntryKind {
    /// Its code in the file.
    pub fn code(self) -> &'static str {
        match self {
            Self::Output => "o",
            Self::Marker => "m",
            Self::Resize => "r",
        }
    }

    fn of(code: &str) -> Option<Self> {
        [Self::Output, Self::Marker, Self::Resize]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One entry of a cast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Time since the beginning.
    pub at: Duration,
    /// What it tells.
    pub kind: EntryKind,
    /// The text.
    pub text: String,
}

/// Appends one entry as a line to `out`.
pub fn write_entry(out: &mut Vec<u8>, at: Duration, kind: EntryKind, text: &str) {
    let time = format!("[{}.{:06}", at.as_secs(), at.subsec_micros());
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b", \"");
    out.extend_from_slice(kind.code().as_bytes());
    out.extend_from_slice(b"\", ");
    let before = out.len();
    if serde_json::to_writer(&mut *out, text).is_err() {
        // Text is always JSON, and a vector takes every byte; were it not so the line would still be whole.
        out.truncate(before);
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"]\n");
}

/// Reads one line; none for a line of another kind (input is one) or form.
pub fn parse_entry(line: &str) -> Option<Entry> {
    let (seconds, code, text): (f64, String, String) = serde_json::from_str(line).ok()?;
    Some(Entry {
        at: Duration::try_from_secs_f64(seconds).ok()?,
        kind: EntryKind::of(&code)?,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_one_line_and_comes_back_as_it_was() {
        let texts = [
            "",
            "plain",
            "a \"quoted\" \\ line\r\n",
            "\u{1b}[31mred\u{1b}[0m\u{7}\u{0}\u{7f}\u{9b}",
            "größer 漢字 🦀 \u{2028}\u{2029}",
        ];
        for (idx, text) in texts.into_iter().enumerate() {
            let at = Duration::from_micros(1_000_001 * idx as u64);
            let mut line = Vec::new();
            write_entry(&mut line, at, EntryKind::Output, text);
            let line = String::from_utf8(line).unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            let entry = parse_entry(line.trim_end()).unwrap();
            assert_eq!((entry.kind, entry.text.as_str()), (EntryKind::Output, text));
            assert_eq!(entry.at.as_micros(), at.as_micros());
        }
    }

    #[test]
    fn what_is_no_entry_of_ours_is_none() {
        for line in [
            "",
            "[",
            "[1.0, \"i\", \"typed\"]",
            "[1.0, \"o\"]",
            "[-1.0, \"o\", \"x\"]",
            "[1e400, \"o\", \"x\"]",
            "{\"version\": 2}",
        ] {
            assert_eq!(parse_entry(line), None, "{line}");
        }
    }
}
