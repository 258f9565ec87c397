//! Fork and exec of the main child.
//!
//! Owns what happens between fork and exec. Never does: allocate or lock there, because the child runs in the memory of the
//! init. Invariant: when the init goes on, the child is the program, in the group or session that is its own, or has ended.

use std::io;
use std::os::fd::BorrowedFd;

use nix::libc;
use nix::unistd::{Pid, fchdir, getpgrp, setpgid, setsid, tcsetpgrp};

use super::settings::{Foreground, Place, Settings, SignalState, Unexecutable};
use super::signal_set::{has, set_of};
use super::speech::{Happening, Speech};
use crate::sys::{self, ArgumentVector, ListenPid};

/// The signals whose dispositions dumb-init replaces, so that an exec makes them the default.
const RESET: std::ops::RangeInclusive<i32> = 1..=31;

/// Signal state in which the init was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Original {
    mask: u64,
    /// Those of the looked-at signals that were ignored.
    ignored: u64,
    looked_at: &'static [i32],
}

impl Original {
    /// Looks at these signals; the mask was replaced before.
    pub(super) fn found(mask: u64, signals: &'static [i32]) -> Self {
        let mut ignored = 0;
        for signal in signals {
            let is_ignored = match *signal {
                libc::SIGPIPE => sys::broken_pipe_was_ignored(),
                other => sys::is_ignored(other).unwrap_or(false),
            };
            if is_ignored {
                ignored |= set_of(&[*signal]);
            }
        }
        Self {
            mask,
            ignored,
            looked_at: signals,
        }
    }
}

/// Everything that the main child needs, laid out before the fork.
#[derive(Debug)]
pub(super) struct Birth<'a> {
    pub(super) settings: &'a Settings,
    pub(super) speech: Speech,
    pub(super) original: Original,
    /// The directory to go back to, if the init has left it.
    pub(super) directory: Option<BorrowedFd<'a>>,
    /// Whether the child puts its group into the foreground of the terminal.
    pub(super) takes_foreground: bool,
    /// Descriptors of a service manager that were for the init are for the child.
    pub(super) listen_pid: Option<ListenPid>,
}

/// A step of the child that failed.
struct Failed(&'static str, io::Error);

impl Birth<'_> {
    /// Starts the child and gives its pid. All signals of the init must be blocked.
    pub(super) fn start(&self) -> io::Result<i32> {
        let arguments = ArgumentVector::new(self.settings.command.clone());
        // The init waits for the exec: before it there is nobody to pass a signal on to, and nothing to reap.
        let name = self.name();
        let pid = sys::spawn(&arguments, &|| {
            self.become_program(&arguments, &name).into()
        })?;
        self.speech.tell(Happening::Started { name: &name, pid });
        Ok(pid)
    }

    /// The program as it is told of.
    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.settings
            .command
            .first()
            .map(|program| program.to_string_lossy())
            .unwrap_or_default()
    }

    /// Runs in the child; gives the exit code of a child that could not become the program.
    fn become_program(&self, arguments: &ArgumentVector, name: &str) -> u8 {
        if let Err(Failed(step, error)) = self.prepare() {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            self.speech.tell(Happening::Failed { step, errno });
            return self.settings.failure;
        }
        let Some(program) = self.settings.command.first() else {
            return self.settings.failure;
        };
        if let Some(listen_pid) = &self.listen_pid {
            listen_pid.name_this_process();
        }
        let error = sys::execute_by_name(program, arguments);
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.speech.tell(Happening::Unexecutable { name, errno });
        match (self.settings.unexecutable, errno) {
            (Unexecutable::Always(code), _) => code,
            (Unexecutable::ByShell | Unexecutable::ByTini, libc::ENOENT) => 127,
            (Unexecutable::ByShell, _) | (Unexecutable::ByTini, libc::EACCES) => 126,
            (Unexecutable::ByTini, _) => 1,
        }
    }

    /// Brings the child into the state in which the program finds itself. The order matters where a step says so.
    fn prepare(&self) -> Result<(), Failed> {
        let step = |step| move |error: nix::Error| Failed(step, error.into());
        // 1. Session or group.
        match self.settings.place {
            Place::Shared => {}
            Place::OwnGroup => {
                let own = Pid::from_raw(0);
                setpgid(own, own).map_err(step("make a process group"))?;
            }
            Place::OwnSession => {
                setsid().map_err(step("make a session"))?;
                if let Err(error) = sys::take_terminal() {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    self.speech.tell(Happening::NoTerminalToTake { errno });
                }
                self.speech.tell(Happening::SessionMade);
            }
        }
        // 2. The terminal, while SIGTTOU is blocked or ignored.
        if self.takes_foreground {
            match tcsetpgrp(sys::standard_input(), getpgrp()) {
                // tini ends with 1 for anything but a missing terminal; ours goes on without the foreground.
                Err(error)
                    if self.settings.foreground == Foreground::Taken
                        && ![nix::Error::ENOTTY, nix::Error::ENXIO].contains(&error) =>
                {
                    return Err(step("take the terminal's foreground")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        // 3. The directory before the program, whose path may be relative.
        if let Some(directory) = self.directory {
            fchdir(directory).map_err(step("go back to the directory"))?;
        }
        // 4. Dispositions before the mask, so that what is pending already meets what it would have met.
        let signals = |error| Failed("restore signals", error);
        let mask = match self.settings.signal_state {
            SignalState::Kept => {
                for signal in self.original.looked_at {
                    if has(self.original.ignored, *signal) {
                        sys::ignore(*signal).map_err(signals)?;
                    } else {
                        sys::reset_disposition(*signal).map_err(signals)?;
                    }
                }
                self.original.mask
            }
            SignalState::Reset => {
                for signal in RESET {
                    // The kernel refuses SIGKILL and SIGSTOP, which always have it.
                    let _ = sys::reset_disposition(signal);
                }
                0
            }
        };
        // 5. The mask last: up to here nothing could interrupt.
        sys::set_signal_mask(mask).map_err(signals)
    }
}
