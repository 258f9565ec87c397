//! Lines for the person at the terminal, outside any run.

use std::io::Write;

/// Writes one line about something that failed to stderr.
pub fn error(message: &str) {
    line(&format!("stockade: {message}"));
}

/// Writes one line to stderr; a closed stderr is nobody's loss.
pub fn line(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Writes one line of a result to stdout; false when it is closed.
pub fn result(message: &str) -> bool {
    writeln!(std::io::stdout(), "{message}").is_ok()
}
