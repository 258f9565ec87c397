//! The clock of a stop: how long the workload may take to end by itself.
//!
//! Owns the rule that requests only shorten what is left. Pure but for the clock.

use std::time::Duration;

use tokio::time::Instant;

use super::ending::{KILL_LIMIT, PERSIST_RESERVE, SECOND_REQUEST_GRACE};
use crate::control::{StopCause, StopRequest};

/// Longest time that processes get which the command left behind, once the command itself has ended.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// How long the workload may take to end by itself.
#[derive(Debug)]
pub(super) struct Ladder {
    begun: Instant,
    kill_at: Instant,
    n_requests: u32,
}

impl Ladder {
    pub(super) fn new(begun: Instant, grace: Duration) -> Self {
        // A short grace is shared between asking and killing.
        let asking = grace
            .saturating_sub(PERSIST_RESERVE + KILL_LIMIT)
            .max(grace / 2);
        Self {
            begun,
            kill_at: begun + asking,
            n_requests: 0,
        }
    }

    /// Takes a request; time only becomes shorter.
    pub(super) fn note(&mut self, request: &StopRequest) {
        self.n_requests += 1;
        let shortened = match self.n_requests {
            // A request through the API that is repeated is the same request; a signal that is repeated is impatience.
            1 => request.grace,
            2 if request.cause != StopCause::Api => Some(SECOND_REQUEST_GRACE),
            _ if request.cause != StopCause::Api => Some(Duration::ZERO),
            _ => request.grace,
        };
        if let Some(grace) = shortened {
            self.kill_at = self.kill_at.min(Instant::now() + grace);
        }
    }

    /// As [`Ladder::left`], of a time that keeps `reserve` for what comes later, at most half of the whole.
    pub(super) fn left_before(
        &self,
        reserve: Duration,
        main_ended_at: Option<Instant>,
    ) -> Option<Duration> {
        let kill_at = self.kill_at.max(self.begun);
        let reserve = reserve.min((kill_at - self.begun) / 2);
        let earlier = Self {
            kill_at: kill_at - reserve,
            ..*self
        };
        earlier.left(main_ended_at)
    }

    /// What is left of the grace; none when it is over. Processes that outlive the command get less.
    pub(super) fn left(&self, main_ended_at: Option<Instant>) -> Option<Duration> {
        let leftovers = main_ended_at.map(|ended| ended + LEFTOVER_GRACE);
        let until = leftovers.map_or(self.kill_at, |leftovers| leftovers.min(self.kill_at));
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cause: StopCause, grace: Option<Duration>) -> StopRequest {
        StopRequest {
            cause,
            reason: None,
            grace,
        }
    }

    const SIGNAL: StopCause = StopCause::Signal {
        signo: 15,
        sender: None,
    };

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_leaves_a_second_and_a_third_nothing() {
        let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(6)));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), Some(SECOND_REQUEST_GRACE));
        ladder.note(&request(SIGNAL, None));
        assert_eq!(ladder.left(None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_may_only_shorten_the_grace() {
        let mut ladder = Ladder::new(Instant::now(), Duration::from_secs(8));
        ladder.note(&request(StopCause::Api, Some(Duration::from_secs(3))));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(3)));
        ladder.note(&request(StopCause::Api, Some(Duration::from_secs(60))));
        ladder.note(&request(StopCause::Api, None));
        assert_eq!(ladder.left(None), Some(Duration::from_secs(3)));
        ladder.note(&request(StopCause::Api, Some(Duration::ZERO)));
        assert_eq!(ladder.left(None), None);
    }
}
