//! The foreground of the terminal on standard input, lent to the main child's group.
//!
//! Owns when it changes hands. Never does: take it from anybody else, such as a shell that runs us in the background.
//! SIGTTOU must be blocked, so that changing it from the background does not stop us (tcsetpgrp(3)).

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::sys;

/// Whether the foreground belongs to our group, and there is a terminal at all.
pub(super) fn is_ours() -> bool {
    tcgetpgrp(sys::standard_input()) == Ok(getpgrp())
}

/// The foreground, once it was lent to a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lent {
    group: Pid,
}

impl Lent {
    /// It was lent to the group of this process.
    pub(super) fn to(child: i32) -> Self {
        Self {
            group: Pid::from_raw(child),
        }
    }

    /// Lends it again, if it is ours.
    pub(super) fn give(self) {
        if is_ours() {
            // The group may be gone, and then nobody reads.
            let _ = tcsetpgrp(sys::standard_input(), self.group);
        }
    }

    /// Takes it back from the group, or from one that is gone.
    pub(super) fn take_back(self) {
        let is_due = tcgetpgrp(sys::standard_input()).is_ok_and(|owner| {
            owner == self.group || kill(Pid::from_raw(-owner.as_raw()), None) == Err(Errno::ESRCH)
        });
        if is_due {
            // A terminal that was hung up has no foreground.
            let _ = tcsetpgrp(sys::standard_input(), getpgrp());
        }
    }
}
