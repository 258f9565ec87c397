//! What a command prints as its result, on stdout.
//!
//! Invariant: a result that could not be written whole is never told as success. A reader that has gone away is no error: it
//! has seen what it wanted, as behind `stockade tail | head`.

use std::io::{self, ErrorKind, IsTerminal as _, Stdout, Write};
use std::process::ExitCode;

use super::{FAILURE, notice};
use crate::review::screen::Size;

/// Narrowest terminal that is laid out for.
const MIN_COLUMNS: usize = 40;

/// A result that is being written. What cannot be written is kept until the end.
#[derive(Debug)]
#[must_use = "the end says whether all of it was written"]
pub struct Results<W: Write = Stdout> {
    out: W,
    failed: Option<io::Error>,
}

impl Results {
    /// A result on stdout.
    pub fn stdout() -> Self {
        Self::on(io::stdout())
    }
}

impl<W: Write> Results<W> {
    /// A result on another stream.
    pub fn on(out: W) -> Self {
        Self { out, failed: None }
    }

    /// Writes a line; false when nobody takes it, nor any other.
    pub fn line(&mut self, line: impl AsRef<[u8]>) -> bool {
        self.bytes(line) && self.bytes("\n")
    }

    /// Writes bytes as they are; false when nobody takes them, nor any others.
    pub fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        if self.failed.is_none() {
            self.failed = self.out.write_all(bytes.as_ref()).err();
        }
        self.failed.is_none()
    }

    /// Gives on what was written so far; false when nobody takes it.
    pub fn flush(&mut self) -> bool {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
        self.failed.is_none()
    }

    /// The exit status of the command: the one that is given, unless something could not be written, which is told.
    pub fn end(mut self, code: ExitCode) -> ExitCode {
        self.flush();
        match self.failed {
            Some(error) => unwritten(&error, code),
            None => code,
        }
    }
}

/// The exit status of a command whose whole result somebody else has printed.
pub fn printed(printed: io::Result<()>) -> ExitCode {
    match printed.and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => unwritten(&error, ExitCode::SUCCESS),
    }
}

/// The exit status of a command that could not write its result: 125, unless the reader has gone away.
pub fn unwritten(error: &io::Error, code: ExitCode) -> ExitCode {
    if error.kind() == ErrorKind::BrokenPipe {
        return code;
    }
    notice::error(&format!("the result was not written whole: {error}"));
    ExitCode::from(FAILURE)
}

/// The size of the terminal; what is assumed where standard output is none.
pub(super) fn size() -> Size {
    let is_terminal = io::stdout().is_terminal();
    match terminal_size::terminal_size().filter(|_| is_terminal) {
        Some((columns, rows)) => Size {
            columns: usize::from(columns.0),
            // The shell's next prompt takes a row.
            rows: usize::from(rows.0).saturating_sub(1),
        },
        None => Size::default(),
    }
}

/// The width of the terminal; none where the result goes elsewhere.
pub(super) fn columns() -> Option<usize> {
    let is_terminal = io::stdout().is_terminal();
    is_terminal.then(|| size().columns.max(MIN_COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes some bytes and then fails.
    struct Full {
        room: usize,
        kind: ErrorKind,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n_taken = bytes.len().min(self.room);
            self.room -= n_taken;
            if n_taken == 0 {
                return Err(self.kind.into());
            }
            Ok(n_taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_result_that_was_not_written_whole_is_no_success() {
        let text = |code: ExitCode| format!("{code:?}");
        for (room, kind, expected) in [
            (100, ErrorKind::StorageFull, ExitCode::SUCCESS),
            (7, ErrorKind::StorageFull, ExitCode::from(FAILURE)),
            (0, ErrorKind::StorageFull, ExitCode::from(FAILURE)),
            (0, ErrorKind::BrokenPipe, ExitCode::SUCCESS),
        ] {
            let mut results = Results::on(Full { room, kind });
            let is_taken = results.line("one") && results.line("two");
            assert_eq!(is_taken, room == 100, "{kind}");
            assert!(room == 100 || !results.line("three"));
            let code = results.end(ExitCode::SUCCESS);
            assert_eq!(text(code), text(expected), "{room} {kind}");
        }
    }
}
