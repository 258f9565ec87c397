//! Output of the workload, from pieces to lines.
//!
//! Pure. Owns the beginning of a line whose end has not come, one for each stream. Memory is bounded: a line without an end
//! is given in parts.

use super::clean;
use super::paint::Colours;
use crate::event::Stream;

/// Longest line that is held back, in bytes; a longer one is given in parts.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// The open lines of a run.
#[derive(Debug, Default)]
pub struct OpenLines {
    stdout: String,
    stderr: String,
}

impl OpenLines {
    /// Takes a piece and gives each line that it ends, harmless for a terminal.
    pub fn push(
        &mut self,
        stream: Stream,
        text: &str,
        colours: Colours,
        give: &mut impl FnMut(String),
    ) {
        let open = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut rest = text;
        while let Some((line, behind)) = rest.split_once('\n') {
            if open.is_empty() {
                give(clean::line(line, colours));
            } else {
                open.push_str(line);
                give(clean::line(open, colours));
                open.clear();
            }
            rest = behind;
        }
        open.push_str(rest);
        if open.len() > MAX_LINE_BYTES {
            // A carriage return began the line anew: what stood before is not shown anyway.
            if let Some((_, last)) = open.trim_end_matches('\r').rsplit_once('\r') {
                *open = last.to_owned();
            }
            if open.len() > MAX_LINE_BYTES {
                give(clean::line(open, colours));
                open.clear();
            }
        }
    }

    /// What stands in an open line, for a look; empty when there is none.
    pub fn open(&self) -> String {
        let open = if self.stdout.is_empty() {
            &self.stderr
        } else {
            &self.stdout
        };
        clean::plain(open)
    }

    /// Gives what is open: nothing follows.
    pub fn finish(&mut self, colours: Colours, give: &mut impl FnMut(String)) {
        for open in [&mut self.stdout, &mut self.stderr] {
            if !open.is_empty() {
                give(clean::line(open, colours));
                open.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[(Stream, &str)]) -> Vec<String> {
        let mut open = OpenLines::default();
        let mut lines = Vec::new();
        for (stream, text) in pieces {
            open.push(*stream, text, Colours::None, &mut |line| lines.push(line));
        }
        open.finish(Colours::None, &mut |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        use Stream::{Stderr, Stdout};
        let pieces = [
            (Stdout, "a"),
            (Stderr, "x\ny"),
            (Stdout, "b\n\nc"),
            (Stderr, "z\n"),
        ];
        assert_eq!(lines(&pieces), ["x", "ab", "", "yz", "c"]);
    }

    #[test]
    fn a_line_without_an_end_is_given_in_parts_and_a_progress_bar_is_one_line() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        assert_eq!(lines(&[(Stream::Stdout, &long)]), [long]);
        let bar = "....50%\r".repeat(10_000);
        assert_eq!(lines(&[(Stream::Stdout, &bar)]), ["....50%"]);
    }
}
