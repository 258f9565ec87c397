//! The pause by signals: SIGSTOP to every process of the sandbox, where no control group freezes it.
//!
//! Owns the list of those that were stopped for it. Never continues a process that somebody else has stopped. Invariant: while
//! there is a [`Standstill`], no process of the sandbox runs, and the launches go on where they stood when it ends.

use super::Init;
use crate::sweep;
use crate::wire::{self, Deadline};
use nix::libc;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// Time until everything has stopped; milliseconds for a thousand processes, unless they fork all the while.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Pause between two looks at what still runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// What was stopped for a pause.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    /// Pids and start times.
    stopped: HashSet<(i32, u64)>,
    /// Somebody asked meanwhile that everything be continued.
    continues_all: bool,
}

impl Init {
    /// Stops every process that runs, and what they fork meanwhile.
    ///
    /// # Errors
    /// EOPNOTSUPP without a /proc, `TimedOut` when something still runs; then everything goes on.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        if self.standstill.is_some() {
            return Ok(());
        }
        if !self.has_proc {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let deadline = Deadline::after(PAUSE_LIMIT);
        let mut stopped = HashSet::new();
        loop {
            let mut stands = true;
            for entry in self.live()? {
                // Stopped, by whomever.
                if matches!(entry.state, b'T' | b't') {
                    continue;
                }
                // One that waits in the kernel stops before it comes back from there.
                stands &= entry.state == b'D' && stopped.contains(&(entry.pid, entry.started));
                if sweep::signal_exactly(&entry, libc::SIGSTOP).is_ok() {
                    stopped.insert((entry.pid, entry.started));
                }
            }
            if stands || deadline.left().is_zero() {
                self.standstill = Some(Standstill {
                    stopped,
                    continues_all: false,
                });
                if stands {
                    return Ok(());
                }
                self.resume()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            wire::pause(LOOK_INTERVAL);
        }
    }

    /// Continues what the pause has stopped.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let Some(standstill) = self.standstill.take() else {
            return Ok(());
        };
        for entry in self.live()? {
            let is_ours = standstill.stopped.contains(&(entry.pid, entry.started));
            if is_ours || standstill.continues_all {
                // One that was killed meanwhile has ended.
                let _ = sweep::signal_exactly(&entry, libc::SIGCONT);
            }
        }
        Ok(())
    }

    /// Whether a signal to everybody is kept for the end of a pause: what a terminal suspends stays suspended behind it, and
    /// what it continues goes on then.
    pub(super) fn is_for_later(&mut self, signo: i32) -> bool {
        let Some(standstill) = &mut self.standstill else {
            return false;
        };
        match signo {
            libc::SIGSTOP => {
                standstill.stopped.clear();
                standstill.continues_all = false;
            }
            libc::SIGCONT => standstill.continues_all = true,
            _ => return false,
        }
        true
    }
}
