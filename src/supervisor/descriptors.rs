//! Descriptors of the supervisor: how many it may open, and how many connections that allows.
//!
//! Owns the soft limit of this process. It is raised only after the launch helper was started, which is the one process
//! that this one starts: so the workload keeps the caller's soft limit, and programs that use select(2) are not harmed.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::api::limits::{MAX_CONNECTIONS, MAX_REFUSALS};

/// Descriptors that connections leave alone: the log's files, launches, file reads of 16 blocking threads, refusals.
pub const RESERVE: usize = 64 + MAX_REFUSALS;

/// What this process may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    soft: u64,
    hard: u64,
    n_listeners: usize,
    n_egress: usize,
}

impl Descriptors {
    /// The limits of this process, for so many listeners and so many descriptors of the egress proxy. A system that does not tell them allows what POSIX guarantees.
    pub fn of_this_process(n_listeners: usize, n_egress: usize) -> Self {
        const POSIX_OPEN_MAX: u64 = 20;
        let (soft, hard) =
            getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((POSIX_OPEN_MAX, POSIX_OPEN_MAX));
        Self {
            soft,
            hard,
            n_listeners: n_listeners.max(1),
            n_egress,
        }
    }

    /// Connections that each listener may have: its share of what the hard limit allows, at least one.
    pub fn connections_of_a_listener(self) -> usize {
        let hard = usize::try_from(self.hard).unwrap_or(usize::MAX);
        let share = hard.saturating_sub(RESERVE + self.n_egress) / self.n_listeners;
        share.clamp(1, MAX_CONNECTIONS)
    }

    /// Raises the soft limit to what the connections need. A refusal is told and no failure: accepting then pauses where the
    /// descriptors end.
    pub fn raise(self) {
        let connections = self.connections_of_a_listener() * self.n_listeners;
        let needed = u64::try_from(connections + RESERVE + self.n_egress).unwrap_or(u64::MAX);
        let wanted = needed.min(self.hard);
        if wanted <= self.soft {
            return;
        }
        match setrlimit(Resource::RLIMIT_NOFILE, wanted, self.hard) {
            Ok(()) => tracing::debug!(from = self.soft, to = wanted, "descriptor limit raised"),
            Err(error) => {
                tracing::warn!(limit = self.soft, %error, "descriptor limit stays, connections may have to wait");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_what_the_hard_limit_leaves() {
        for (hard, n_listeners, n_egress, expected) in [
            (u64::MAX, 2, 0, MAX_CONNECTIONS),
            (20_000, 2, 0, MAX_CONNECTIONS),
            (4_096, 2, 0, 1_984),
            (4_096, 2, 576, 1_696),
            (4_096, 1, 0, 3_968),
            (1_024, 2, 0, 448),
            (64, 2, 0, 1),
            (64, 2, 576, 1),
        ] {
            let descriptors = Descriptors {
                soft: 64,
                hard,
                n_listeners,
                n_egress,
            };
            assert_eq!(descriptors.connections_of_a_listener(), expected, "{hard}");
        }
    }
}
