//! Terminals of the sandbox.
//!
//! Owns their making and their size. They are made by the in-sandbox init in the sandbox's own devpts, so that `tty` inside
//! names them, and no descriptor of a terminal of the host ever comes into the sandbox: what a program could push into its
//! terminal (TIOCSTI) or ask of it (TIOCLINUX) ends at this one.

use crate::sys::terminal as sys;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl TerminalSize {
    /// Asks a terminal.
    ///
    /// # Errors
    /// ENOTTY if it is none.
    pub fn of(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let (columns, rows) = sys::size(terminal)?;
        Ok(Self { columns, rows })
    }

    /// Gives a terminal this size; what runs in its foreground gets SIGWINCH if that is another one.
    ///
    /// # Errors
    /// ENOTTY if it is none.
    pub fn apply(self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_size(terminal, self.columns, self.rows)
    }
}

/// A terminal of a sandbox.
#[derive(Debug)]
pub struct Terminal {
    /// The side of whoever shows it and types into it. It ends (EIO) when nobody has the slave open any more.
    pub master: OwnedFd,
    /// The side of the program. As standard input of a launch it becomes the launch's controlling terminal; one terminal
    /// can be that of one launch.
    pub slave: OwnedFd,
}

/// Makes a terminal in the devpts of the calling process.
pub(crate) fn make(size: TerminalSize) -> io::Result<Terminal> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/ptmx", flags, Mode::empty())?;
    sys::unlock(master.as_fd())?;
    size.apply(master.as_fd())?;
    let slave = sys::open_slave(master.as_fd())?;
    Ok(Terminal { master, slave })
}
