//! The last line of standard output that is a JSON object or array: where a program has no other way to give its result.
//!
//! Owns the looking for it while the output passes by. Lines of other text cost nothing but the looking. Invariant: memory
//! is bounded by two lines of [`MAX_LINE_BYTES`], whatever is printed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::agent::{MAX_LINE_BYTES, Report};

/// The line that was found, shared by all launches of a run.
#[derive(Debug, Clone, Default)]
pub struct ResultLine(Arc<Mutex<Option<Found>>>);

/// The last line that begins as JSON does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A JSON object or array.
    Json(Vec<u8>),
    /// Longer than [`MAX_LINE_BYTES`]; it was not kept.
    TooLong,
    /// It begins as an object, and is none, or goes on in the next line: what was printed before it is not taken for the
    /// result in its place.
    Torn,
}

impl ResultLine {
    /// Takes what was found.
    pub fn take(&self) -> Option<Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes over what another one found, if it did.
    pub fn take_over(&self, other: &Self) {
        if let Some(found) = other.take() {
            self.set(found);
        }
    }

    fn set(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Whether lines that are reports of an agent are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// They are: they have become events.
    PassedOver,
    /// There are none.
    Absent,
}

/// Looks at one stream.
#[derive(Debug)]
pub struct ResultLines {
    found: ResultLine,
    reports: Reports,
    line: Line,
}

/// What is known of the line that is not whole yet.
#[derive(Debug)]
enum Line {
    Blank,
    Candidate(Vec<u8>),
    TooLong,
    Other,
}

impl ResultLines {
    /// Looks for the result in a stream from its beginning.
    pub fn new(found: ResultLine, reports: Reports) -> Self {
        Self {
            found,
            reports,
            line: Line::Blank,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (rest_of_line, rest) = bytes.split_at(end);
            self.extend(rest_of_line);
            self.end_line();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes);
    }

    /// Takes the end of the stream, which also ends its last line.
    pub fn finish(&mut self) {
        self.end_line();
    }

    /// Looks at a line that has no end yet as if it had one: its writer has ended, and only others hold the stream open.
    pub fn settle(&mut self) {
        if let Line::Candidate(line) = &self.line {
            let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
            let whole = Line::Candidate(line.clone());
            let begun = std::mem::replace(&mut self.line, whole);
            self.end_line();
            // What others write behind it takes nothing away from it.
            self.line = if is_whole { Line::Other } else { begun };
        }
    }

    fn extend(&mut self, mut bytes: &[u8]) {
        if let Line::Blank = self.line {
            bytes = bytes.trim_ascii_start();
            self.line = match bytes.first() {
                None => Line::Blank,
                Some(b'{' | b'[') => Line::Candidate(Vec::new()),
                Some(_) => Line::Other,
            };
        }
        if let Line::Candidate(line) = &mut self.line {
            if line.len() + bytes.len() > MAX_LINE_BYTES {
                self.line = Line::TooLong;
            } else {
                line.extend_from_slice(bytes);
            }
        }
    }

    fn end_line(&mut self) {
        match std::mem::replace(&mut self.line, Line::Blank) {
            Line::Blank | Line::Other => {}
            Line::TooLong => self.found.set(Found::TooLong),
            Line::Candidate(line) => match serde_json::from_slice::<serde::de::IgnoredAny>(&line) {
                Ok(_) if !self.is_report(&line) => self.found.set(Found::Json(line)),
                Err(_) if begins_as_object(&line) => self.found.set(Found::Torn),
                Ok(_) | Err(_) => {}
            },
        }
    }

    fn is_report(&self, line: &[u8]) -> bool {
        match self.reports {
            Reports::Absent => false,
            Reports::PassedOver => match Report::parse(line) {
                Report::Plain(_) | Report::Raw { .. } => false,
                Report::Started(_)
                | Report::Action(_)
                | Report::Message { .. }
                | Report::Thought { .. }
                | Report::Log { .. }
                | Report::Checked(_)
                | Report::Limit(_)
                | Report::Retry { .. }
                | Report::Result { .. } => true,
            },
        }
    }
}

/// Whether a line begins as an object does: a brace and a name in quotes, or the brace alone, as a printer has it that puts
/// each name on a line of its own. Other text in braces or brackets is text, as `[INFO] done` is.
fn begins_as_object(line: &[u8]) -> bool {
    let inside = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| matches!(inside.first(), None | Some(b'"')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &[u8], chunk: usize, reports: Reports) -> Option<Found> {
        let found = ResultLine::default();
        let mut lines = ResultLines::new(found.clone(), reports);
        for chunk in text.chunks(chunk.max(1)) {
            lines.push(chunk);
        }
        lines.finish();
        found.take()
    }

    fn json(text: &str) -> Option<Found> {
        Some(Found::Json(text.as_bytes().to_vec()))
    }

    #[test]
    fn the_last_line_that_is_json_is_found() {
        let find = |text: &str| found(text.as_bytes(), 3, Reports::Absent);
        assert_eq!(find(""), None);
        assert_eq!(find("no\n1\n\"text\"\nnull\n{torn\n[1,\n"), None);
        assert_eq!(find("{\"a\":1}\n"), json("{\"a\":1}"));
        assert_eq!(find("{\"a\":1}\n[2]"), json("[2]"));
        assert_eq!(
            find("  {\"a\":1} \r\nDone.\n\n{torn\n"),
            json("{\"a\":1} \r")
        );
    }

    #[test]
    fn an_object_that_is_cut_off_is_not_replaced_by_a_line_before_it() {
        let find = |text: &str| found(text.as_bytes(), 2, Reports::Absent);
        assert_eq!(find("{\"a\":1}\n{\"a\":"), Some(Found::Torn));
        assert_eq!(find("{\"a\":1}\n{\"a\":\nDone.\n"), Some(Found::Torn));
        for broken in [
            "{\"a\":NaN}",
            "{\"a\":2,}",
            "{\"a\":2} done",
            "{ \"a\": 2,",
            "{\n  \"a\": 2\n}",
        ] {
            let text = format!("{{\"a\":1}}\n{broken}\n");
            assert_eq!(find(&text), Some(Found::Torn), "{broken}");
        }
        // A later one that is whole counts, and text in braces is text.
        assert_eq!(find("{\"a\":\n{\"a\":2}\n"), json("{\"a\":2}"));
        assert_eq!(find("{\"a\":1}\n{broken\n[INFO] done\n"), json("{\"a\":1}"));
    }

    #[test]
    fn a_line_without_its_end_counts_when_its_writer_has_ended() {
        let found = ResultLine::default();
        let mut lines = ResultLines::new(found.clone(), Reports::Absent);
        lines.push(b"{\"a\":1}");
        lines.settle();
        assert_eq!(found.take(), json("{\"a\":1}"));
        lines.push(b" x\n");
        assert_eq!(found.take(), None, "it was no line of its own");
    }

    #[test]
    fn reports_of_an_agent_are_no_result() {
        let text = b"{\"n\":1}\n{\"tool\":\"t\"}\n{\"type\":\"message\",\"text\":\"x\"}\n{\"type\":\"result\"}\n";
        assert_eq!(found(text, 9, Reports::PassedOver), json("{\"n\":1}"));
        assert_eq!(
            found(text, 9, Reports::Absent),
            json("{\"type\":\"result\"}")
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_told_and_not_kept() {
        let mut text = b"{\"a\":1}\n[\"".to_vec();
        text.resize(text.len() + MAX_LINE_BYTES, b'x');
        text.extend(b"\"]\n");
        assert_eq!(found(&text, 4096, Reports::Absent), Some(Found::TooLong));
        text.extend(b"{}\n");
        assert_eq!(found(&text, 4096, Reports::Absent), json("{}"));
        // Text that is no JSON is not even looked at.
        let text = vec![b'x'; 3 * MAX_LINE_BYTES];
        assert_eq!(found(&text, 4096, Reports::Absent), None);
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            lines in prop::collection::vec("( |x)?[{\\[]?[\\]}]?(\"a\":1)?", 0..20),
            chunk in 1..10_usize,
        ) {
            let text = lines.join("\n");
            let whole = found(text.as_bytes(), usize::MAX, Reports::Absent);
            prop_assert_eq!(found(text.as_bytes(), chunk, Reports::Absent), whole);
        }
    }
}
