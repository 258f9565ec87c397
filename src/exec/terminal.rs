//! The terminal of a command with `--tty`, and the one in which exec was started.
//!
//! Owns the way of bytes between the two, and the settings of the outer one: raw while the command has it, so that every key
//! reaches the command as a byte. Invariant: an outer terminal whose foreground is somebody else's is neither read nor
//! changed, and its settings are back when this is dropped.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, isatty, read, tcgetpgrp, write};
use stockade_sandbox::{Sandbox, TerminalSize};

use crate::cast::entry::DEFAULT_SIZE;
use crate::session::console::outer_size;
use crate::session::tap::set_nonblocking;

/// Most bytes that wait in one direction. A pipe that is ready takes so many without blocking (PIPE_BUF, pipe(7)), so that
/// standard output, whose flags are the caller's, never holds this process up.
const CHUNK_BYTES: usize = 4_096;

/// What a terminal takes as the end of the input at the beginning of a line (VEOF, termios(3)); elsewhere it takes two.
const END_OF_INPUT: [u8; 2] = [4, 4];

/// Pause before the next look at an outer terminal whose foreground is somebody else's.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The two terminals.
#[derive(Debug)]
pub(super) struct Console {
    /// Our side of the command's terminal; none once nobody is left to show it to. It is kept when every process has closed
    /// its own side: without it the command would be told that its terminal hung up (SIGHUP), and may still open it again.
    master: Option<OwnedFd>,
    /// Every process had closed its side when it was last looked at.
    is_closed: bool,
    /// Read and not taken by the command yet.
    typed: Vec<u8>,
    has_input: bool,
    /// Shown by the command and not taken by standard output yet.
    shown: Vec<u8>,
    /// The settings of the outer terminal while it is raw.
    saved: Option<Termios>,
}

/// What a console waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Typed,
    ToCommand,
    FromCommand,
    Shown,
}

impl Console {
    /// Makes a terminal of the size of the outer one, and takes the outer one. Gives the standard streams of the command.
    ///
    /// # Errors
    /// When the sandbox makes none.
    pub(super) fn open(sandbox: &Sandbox) -> std::io::Result<(Self, [OwnedFd; 3])> {
        let terminal = sandbox.open_terminal(size())?;
        let copy = || terminal.slave.try_clone();
        let streams = [copy()?, copy()?, copy()?];
        set_nonblocking(&terminal.master)?;
        let mut console = Self {
            master: Some(terminal.master),
            is_closed: false,
            typed: Vec::new(),
            has_input: true,
            shown: Vec::new(),
            saved: None,
        };
        console.take();
        Ok((console, streams))
    }

    /// Gives the command's terminal the size of the outer one.
    pub(super) fn resize(&self) {
        if let Some(master) = &self.master {
            // Whoever runs there hears of it from the kernel.
            let _ = size().apply(master.as_fd());
        }
    }

    /// Makes the outer terminal raw, if it is one and ours.
    pub(super) fn take(&mut self) {
        if self.saved.is_some() || !has_foreground() {
            return;
        }
        let Ok(before) = tcgetattr(stdin()) else {
            return;
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).is_ok() {
            self.saved = Some(before);
        }
    }

    /// Gives the outer terminal its settings back.
    pub(super) fn give_back(&mut self) {
        if let Some(saved) = self.saved.take()
            && has_foreground()
        {
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &saved);
        }
    }

    /// Whether one of the terminals has to be looked at again, because nobody tells when it can be used.
    pub(super) fn is_looked_at(&self) -> bool {
        self.is_closed || self.has_input && !has_foreground()
    }

    /// Waits, together with `others`, until something can be moved, and moves it.
    pub(super) fn wait(
        &mut self,
        others: &[BorrowedFd<'_>],
        timeout: PollTimeout,
    ) -> nix::Result<()> {
        let (input, output) = (stdin(), stdout());
        let ready = {
            let mut ways = Vec::new();
            let mut waited: Vec<PollFd<'_>> = others
                .iter()
                .map(|other| PollFd::new(*other, PollFlags::POLLIN))
                .collect();
            let mut wait = |way, descriptor, flags| {
                ways.push(way);
                waited.push(PollFd::new(descriptor, flags));
            };
            if let Some(master) = &self.master {
                if self.has_input && self.typed.is_empty() && has_foreground() {
                    wait(Way::Typed, input.as_fd(), PollFlags::POLLIN);
                }
                if !self.typed.is_empty() {
                    wait(Way::ToCommand, master.as_fd(), PollFlags::POLLOUT);
                }
                if self.shown.is_empty() && !self.is_closed {
                    wait(Way::FromCommand, master.as_fd(), PollFlags::POLLIN);
                }
            }
            if !self.shown.is_empty() {
                wait(Way::Shown, output.as_fd(), PollFlags::POLLOUT);
            }
            poll(&mut waited, timeout)?;
            let own = waited.iter().skip(others.len()).zip(ways);
            let ready = own.filter(|(one, _)| one.any().unwrap_or(true));
            ready.map(|(_, way)| way).collect::<Vec<_>>()
        };
        if self.is_closed && self.shown.is_empty() {
            self.read_shown();
        }
        for way in ready {
            match way {
                Way::Typed => self.read_typed(),
                Way::ToCommand => self.write_typed(),
                Way::FromCommand => self.read_shown(),
                Way::Shown => self.write_shown(),
            }
        }
        Ok(())
    }

    /// Whether something of the command is still on its way to standard output. True until the command's side of the
    /// terminal is closed and all of it was taken, so it is asked when nothing of the command lives any more.
    pub(super) fn has_more(&self) -> bool {
        self.master.is_some() && !self.is_closed || !self.shown.is_empty()
    }

    fn read_typed(&mut self) {
        let mut chunk = [0; CHUNK_BYTES];
        match read(stdin(), &mut chunk) {
            Ok(0) => {
                self.has_input = false;
                self.typed.extend(END_OF_INPUT);
            }
            Ok(length) => self.typed.extend(chunk.iter().take(length)),
            // The terminal is somebody else's for now.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(Errno::EIO) if !has_foreground() => {}
            Err(_) => self.has_input = false,
        }
    }

    fn write_typed(&mut self) {
        let Some(master) = &self.master else {
            return;
        };
        match write(master, &self.typed) {
            Ok(length) => {
                self.typed.drain(..length);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody reads there any more.
            Err(_) => {
                self.typed.clear();
                self.has_input = false;
            }
        }
    }

    fn read_shown(&mut self) {
        let Some(master) = &self.master else {
            return;
        };
        let mut chunk = [0; CHUNK_BYTES];
        match read(master, &mut chunk) {
            Ok(length @ 1..) => {
                self.is_closed = false;
                self.shown.extend(chunk.iter().take(length));
            }
            // It is open.
            Err(Errno::EAGAIN) => self.is_closed = false,
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => self.is_closed = true,
        }
    }

    fn write_shown(&mut self) {
        match write(stdout(), &self.shown) {
            Ok(length) => {
                self.shown.drain(..length);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody looks any more: for the command its terminal hangs up.
            Err(_) => {
                self.shown.clear();
                self.master = None;
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The size of the outer terminal, or a usual one.
fn size() -> TerminalSize {
    let size = outer_size().unwrap_or(DEFAULT_SIZE);
    TerminalSize {
        columns: size.columns,
        rows: size.rows,
    }
}

/// Whether standard input may be read without a stop: it is no terminal, or one whose foreground is ours.
fn has_foreground() -> bool {
    !isatty(stdin()).unwrap_or(false) || tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}
