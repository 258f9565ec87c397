//! The one place that waits for children.
//!
//! Owns every exit status of the guardian's children: its own two, and all orphans that the kernel hands to it.
//! Never does: block. Invariant: after `reap` there is no zombie among the children that existed before it.

use std::process::ExitStatus;

use crate::sys;

/// What `reap` left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Children {
    /// At least one child is alive.
    Left,
    /// There is no child at all, and so nothing that descends from this process.
    None,
}

/// Waits for children, and remembers the status of one of them.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    /// The child whose status matters.
    watched: Option<i32>,
    /// Its status, once it is reaped.
    status: Option<ExitStatus>,
    /// Children reaped so far, the watched one included.
    reaped: u32,
}

impl Reaper {
    /// Remembers from now on the status of this child instead of any other.
    pub(crate) fn watch(&mut self, pid: i32) {
        self.watched = Some(pid);
        self.status = None;
    }

    /// The status of the watched child, once it is reaped.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// How many children were reaped so far.
    pub(crate) fn reaped(&self) -> u32 {
        self.reaped
    }

    /// Reaps all children that have ended. One SIGCHLD may stand for any number of them.
    pub(crate) fn reap(&mut self) -> Children {
        loop {
            match sys::reap_any() {
                Ok(Some((pid, status))) => {
                    self.reaped = self.reaped.saturating_add(1);
                    if self.watched == Some(pid) {
                        self.watched = None;
                        self.status = Some(status);
                    }
                }
                Ok(None) => return Children::Left,
                // ECHILD; nothing else can happen to a call that does not block.
                Err(_) => return Children::None,
            }
        }
    }
}
