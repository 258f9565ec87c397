//! Lines for the person at the terminal, outside any run.
//!
//! Invariant: nothing that goes to stderr here can do more to a terminal than show text, wherever its words come from.

use std::io::Write;

use crate::progress::clean;

/// Writes one line about something that failed to stderr.
pub fn error(message: &str) {
    line(&format!("stockade: {message}"));
}

/// Writes one line to stderr; a closed stderr is nobody's loss.
pub fn line(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(message));
}

/// Each line of a message as text alone: names of files and answers of servers are in it.
fn harmless(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(clean::plain).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_lines_and_loses_what_moves_the_cursor() {
        assert_eq!(harmless("a\n  b"), "a\n  b");
        assert_eq!(
            harmless("refuses: \u{1b}]0;title\u{7}\u{1b}[2Jgone\u{9b}2J"),
            "refuses: gone\u{fffd}2J"
        );
    }
}
