//! The pause by signals: SIGSTOP to every process of the sandbox, where no control group freezes it.
//!
//! Owns the list of those that had stopped before, which stay stopped behind it. Invariant: while there is a [`Standstill`], no
//! process of the sandbox runs, and all that ran goes on where it stood when it ends.

use super::{Init, send_to_all};
use crate::process_table::Entry;
use crate::sweep;
use crate::sys::signal;
use crate::wire::{self, Deadline};
use nix::libc;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// Time until everything has stopped; milliseconds for a thousand processes, unless they fork all the while.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Pause between two looks at what still runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A pause.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    /// Pids and start times of what somebody else had stopped.
    stopped_before: HashSet<(i32, u64)>,
    /// What had a terminal's SIGSTOP meanwhile, or its SIGCONT: so it is when the pause ends.
    is_suspended: Option<bool>,
}

impl Init {
    /// Stops every process, in one step that no fork outruns where a signal to everybody reaches nobody else, and else one by
    /// one, again for what they fork meanwhile.
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
        let stopped = self.live()?.into_iter().filter(has_stopped);
        self.standstill = Some(Standstill {
            stopped_before: stopped.map(|entry| (entry.pid, entry.started)).collect(),
            is_suspended: None,
        });
        let reaches_all = self.reaches_its_own_only();
        let mut told = HashSet::new();
        loop {
            if reaches_all {
                send_to_all(libc::SIGSTOP)?;
            }
            let mut stands = true;
            for entry in self.live()? {
                if has_stopped(&entry) {
                    continue;
                }
                // One that waits in the kernel stops before it comes back from there.
                stands &= entry.state == b'D' && told.contains(&(entry.pid, entry.started));
                if reaches_all || sweep::signal_exactly(&entry, libc::SIGSTOP).is_ok() {
                    told.insert((entry.pid, entry.started));
                }
            }
            if stands {
                return Ok(());
            }
            if deadline.left().is_zero() {
                self.resume()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            wire::pause(LOOK_INTERVAL);
        }
    }

    /// Continues everything but what had stopped before.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let Some(standstill) = self.standstill.take() else {
            return Ok(());
        };
        for keeper in self.keepers.keys() {
            // A signal to everybody stops it as well.
            let _ = signal::send(*keeper, libc::SIGCONT);
        }
        for entry in self.live()? {
            let goes_on = match standstill.is_suspended {
                Some(is_suspended) => !is_suspended,
                None => {
                    let before = &standstill.stopped_before;
                    !before.contains(&(entry.pid, entry.started))
                }
            };
            if goes_on {
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
            libc::SIGSTOP => standstill.is_suspended = Some(true),
            libc::SIGCONT => standstill.is_suspended = Some(false),
            _ => return false,
        }
        true
    }
}

/// Whether it has stopped, by whomever.
fn has_stopped(entry: &Entry) -> bool {
    matches!(entry.state, b'T' | b't')
}
