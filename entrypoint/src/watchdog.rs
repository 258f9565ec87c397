//! When a supervisor that says nothing is given up.
//!
//! Owns the questions to the supervisor and the count of those without an answer: a pure decision. Never does: send, kill,
//! or read the time. Invariant: only time in which the guardian itself ran counts against the supervisor, and one answer
//! makes good for all questions before it.
//!
//! ```text
//! asked --interval--> 1 unanswered --interval--> 2 --interval--> 3: given up
//!   ^                     |                      |
//!   +---- an answer, or a guardian that was not running itself (stopped, frozen, suspended)
//! ```

use std::time::{Duration, Instant};

/// Questions without an answer after which the supervisor is given up: more than one, so that one that is lost or late does not
/// count alone.
const UNANSWERED_LIMIT: u32 = 3;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing.
    Wait,
    /// The supervisor is to be asked.
    Ask,
    /// The supervisor has not answered for the whole limit.
    GiveUp,
}

/// The watch over one supervisor.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Time between two questions.
    interval: Duration,
    /// When the next one is due; `None` once time cannot express it, and without a watchdog.
    next_at: Option<Instant>,
    /// Questions since the last answer.
    unanswered: u32,
}

impl Watchdog {
    /// A supervisor that says nothing for `limit` is given up; it is asked three times in that. `None` never asks.
    pub(crate) fn new(started_at: Instant, limit: Option<Duration>) -> Self {
        let interval = limit.unwrap_or_default() / UNANSWERED_LIMIT;
        Self {
            interval,
            next_at: limit.and_then(|_| started_at.checked_add(interval)),
            unanswered: 0,
        }
    }

    /// When `look` is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// The supervisor has answered.
    pub(crate) fn answered(&mut self) {
        self.unanswered = 0;
    }

    /// Whether it is time to ask, or to ask no more. What the supervisor said by now must be heard before.
    pub(crate) fn look(&mut self, now: Instant) -> Watch {
        let Some(late) = self.next_at.and_then(|at| now.checked_duration_since(at)) else {
            return Watch::Wait;
        };
        if late >= self.interval {
            // The guardian did not run when it meant to: then the supervisor may not have run either, and is asked anew.
            self.unanswered = 0;
        }
        if self.unanswered == UNANSWERED_LIMIT {
            self.next_at = None;
            return Watch::GiveUp;
        }
        self.unanswered += 1;
        self.next_at = now.checked_add(self.interval);
        Watch::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const INTERVAL: Duration = Duration::from_secs(10);

    /// Looks at each instant, given in intervals since the start.
    fn looks(watchdog: &mut Watchdog, started_at: Instant, at: &[u32]) -> Vec<Watch> {
        at.iter()
            .map(|intervals| watchdog.look(started_at + INTERVAL * *intervals))
            .collect()
    }

    #[test]
    fn three_questions_without_an_answer_are_the_limit_and_one_answer_makes_good_for_all() {
        use Watch::{Ask, GiveUp, Wait};
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, Some(LIMIT));
        assert_eq!(watchdog.next_at(), Some(start + INTERVAL));
        assert_eq!(
            looks(&mut watchdog, start, &[0, 1, 1, 2, 3]),
            [Wait, Ask, Wait, Ask, Ask]
        );
        watchdog.answered();
        assert_eq!(looks(&mut watchdog, start, &[4, 5, 6]), [Ask, Ask, Ask]);
        let just_before = start + INTERVAL * 7 - Duration::from_nanos(1);
        assert_eq!(watchdog.look(just_before), Wait);
        // Asked at 4, and silent for the whole limit.
        assert_eq!(looks(&mut watchdog, start, &[7]), [GiveUp]);
        assert_eq!(watchdog.next_at(), None);
    }

    #[test]
    fn time_in_which_the_guardian_did_not_run_counts_for_nothing() {
        use Watch::{Ask, GiveUp};
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, Some(LIMIT));
        assert_eq!(looks(&mut watchdog, start, &[1, 2, 3]), [Ask, Ask, Ask]);
        // It was to look at 4, and runs again at 500.
        assert_eq!(
            looks(&mut watchdog, start, &[500, 501, 502]),
            [Ask, Ask, Ask]
        );
        assert_eq!(looks(&mut watchdog, start, &[503]), [GiveUp]);
    }

    #[test]
    fn without_a_limit_and_with_one_that_time_cannot_express_nobody_is_asked() {
        let start = Instant::now();
        for limit in [None, Some(Duration::MAX)] {
            let mut watchdog = Watchdog::new(start, limit);
            assert_eq!(watchdog.look(start + LIMIT * 100), Watch::Wait, "{limit:?}");
        }
    }
}
