//! When patience with the supervisor ends.
//!
//! Owns the two clocks of a run: the backstop behind the deadline and the backstop behind a stop.
//! Never does: kill, or read the time. Invariants: more stop requests never move the kill to a later instant, and what the
//! supervisor counts as one request is one here; a pause of the run moves the backstop behind the deadline by its length, and
//! no clock of a stop.
//!
//! ```text
//! running --stop--> stopping (grace + 1 s) --stop--> hurried (1 s + 1 s) --stop--> last (0 s + 0.5 s)
//!    |                  |                               |                             |
//!    +---- backstop ----+------------ time up ----------+-----------------------------+--> kill
//! ```

use std::time::{Duration, Instant};

use crate::message::{SAME_SIGNAL_INTERVAL, SignalNotice};

/// What the guardian waits at least beyond the grace: the supervisor keeps the grace itself, and has most of its last second
/// for what a busy disk takes longer.
const MARGIN: Duration = Duration::from_secs(1);

/// What it waits beyond the grace where the engine's patience leaves as much.
const WIDE_MARGIN: Duration = Duration::from_secs(2);

/// What of an engine's patience a stop may take before the supervisor is given up: Docker kills the container after 10 s, and
/// the sweep and `finalize` need a part of the last one.
const ENGINE_PATIENCE: Duration = Duration::from_secs(9);

/// What a second stop request leaves of the grace.
const HURRIED_GRACE: Duration = Duration::from_secs(1);

/// What the guardian waits beyond the hurried grace.
const HURRIED_MARGIN: Duration = Duration::from_secs(1);

/// What the guardian waits after a third request and any further one. The supervisor kills the workload at once, and this is
/// the time to record what was killed; a supervisor that is stuck costs no more than it.
const LAST_MARGIN: Duration = Duration::from_millis(500);

/// Why the supervisor is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// A stop took too long.
    Stop,
    /// The run outlived its backstop.
    Deadline,
    /// The supervisor did not answer; decided in `watchdog`.
    Watchdog,
}

/// What a stop signal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// A request of its own.
    Counted,
    /// The same request once more.
    Repeated,
}

/// The clocks of one run.
#[derive(Debug)]
pub(crate) struct Escalation {
    /// What the first stop request allows.
    grace: Duration,
    /// When the backstop of the deadline strikes; while the run is paused, when it would have.
    backstop_at: Option<Instant>,
    /// Since when the run is paused.
    paused_since: Option<Instant>,
    /// When the backstop of the stop strikes; set by the first stop.
    stop_ends_at: Option<Instant>,
    /// Stop signals so far that counted.
    stop_requests: u32,
    /// The last of them, and when it came.
    last_counted: Option<(SignalNotice, Instant)>,
}

impl Escalation {
    /// Sets the clocks; a backstop too far away to be expressed is none.
    pub(crate) fn new(started_at: Instant, backstop: Option<Duration>, grace: Duration) -> Self {
        let backstop_at = backstop.and_then(|backstop| started_at.checked_add(backstop));
        Self {
            grace,
            backstop_at,
            paused_since: None,
            stop_ends_at: None,
            stop_requests: 0,
            last_counted: None,
        }
    }

    /// A stop signal arrived.
    pub(crate) fn stop_requested(&mut self, signal: SignalNotice, now: Instant) -> StopSignal {
        let is_same = |(last, at): (SignalNotice, Instant)| {
            let request =
                |notice: SignalNotice| (notice.signal, notice.sender_pid, notice.sender_uid);
            request(last) == request(signal) && now.duration_since(at) < SAME_SIGNAL_INTERVAL
        };
        if self.last_counted.is_some_and(is_same) {
            return StopSignal::Repeated;
        }
        self.last_counted = Some((signal, now));
        self.stop_requests = self.stop_requests.saturating_add(1);
        let patience = match self.stop_requests {
            1 => patience_of(self.grace),
            2 => HURRIED_GRACE + HURRIED_MARGIN,
            _ => LAST_MARGIN,
        };
        self.end_stop_within(patience, now);
        StopSignal::Counted
    }

    /// The supervisor says that it is stopping on its own account.
    pub(crate) fn stop_begun(&mut self, grace: Duration, now: Instant) {
        self.end_stop_within(patience_of(grace), now);
    }

    /// The run is paused: the deadline stands still.
    pub(crate) fn pause_begun(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    /// The run goes on, and its deadline is later by as much.
    pub(crate) fn pause_ended(&mut self, now: Instant) {
        if let Some(since) = self.paused_since.take() {
            let stood = now.saturating_duration_since(since);
            self.backstop_at = self.backstop_at.and_then(|at| at.checked_add(stood));
        }
    }

    /// When the backstop of the deadline strikes, while it moves.
    fn moving_backstop(&self) -> Option<Instant> {
        self.backstop_at.filter(|_| self.paused_since.is_none())
    }

    /// Whether a stop signal arrived.
    pub(crate) fn stop_was_requested(&self) -> bool {
        self.stop_requests > 0
    }

    /// The next instant at which `due` may say something new.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        [self.moving_backstop(), self.stop_ends_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the supervisor is to be killed now, and why; a stop explains more than the deadline behind it.
    pub(crate) fn due(&self, now: Instant) -> Option<KillReason> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.stop_ends_at) {
            Some(KillReason::Stop)
        } else if passed(self.moving_backstop()) {
            Some(KillReason::Deadline)
        } else {
            None
        }
    }

    /// Moves the end of the stop forward, never back.
    fn end_stop_within(&mut self, patience: Duration, now: Instant) {
        let proposed = now.checked_add(patience);
        self.stop_ends_at = [self.stop_ends_at, proposed].into_iter().flatten().min();
    }
}

/// How long a supervisor may take that has been given that grace.
fn patience_of(grace: Duration) -> Duration {
    let wide = grace.saturating_add(WIDE_MARGIN).min(ENGINE_PATIENCE);
    wide.max(grace.saturating_add(MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(8);

    /// A SIGTERM of this process.
    fn sent_by(sender_pid: u32) -> SignalNotice {
        SignalNotice {
            signal: 15,
            sender_pid,
            sender_uid: 0,
            code: 0,
        }
    }

    #[test]
    fn each_stop_request_leaves_less_time() {
        let now = Instant::now();
        let mut escalation = Escalation::new(now, None, GRACE);
        assert_eq!(
            (escalation.next_at(), escalation.stop_was_requested()),
            (None, false)
        );
        for (sender, ms) in [(1, 9_000), (2, 2_000), (3, 500), (4, 500)] {
            escalation.stop_requested(sent_by(sender), now);
            assert_eq!(escalation.next_at(), Some(now + Duration::from_millis(ms)));
        }
        assert_eq!(escalation.due(now), None);
        assert_eq!(escalation.due(now + LAST_MARGIN), Some(KillReason::Stop));
    }

    #[test]
    fn the_same_signal_of_the_same_sender_is_one_request_within_the_interval() {
        use StopSignal::{Counted, Repeated};
        let began_at = Instant::now();
        let mut escalation = Escalation::new(began_at, None, GRACE);
        let just_after = SAME_SIGNAL_INTERVAL - Duration::from_nanos(1);
        let by_queue = SignalNotice {
            code: -1,
            ..sent_by(7)
        };
        // The interval runs from the signal that counted, so a stream of repetitions does not hold back a second request.
        for (signal, after, expected, ends_after) in [
            (sent_by(7), Duration::ZERO, Counted, GRACE + MARGIN),
            (
                sent_by(7),
                Duration::from_millis(10),
                Repeated,
                GRACE + MARGIN,
            ),
            (by_queue, just_after, Repeated, GRACE + MARGIN),
            (
                sent_by(7),
                SAME_SIGNAL_INTERVAL,
                Counted,
                SAME_SIGNAL_INTERVAL + HURRIED_GRACE + HURRIED_MARGIN,
            ),
            (
                sent_by(8),
                SAME_SIGNAL_INTERVAL,
                Counted,
                SAME_SIGNAL_INTERVAL + LAST_MARGIN,
            ),
        ] {
            let seen = escalation.stop_requested(signal, began_at + after);
            assert_eq!(
                (seen, escalation.next_at()),
                (expected, Some(began_at + ends_after))
            );
        }
    }

    #[test]
    fn the_guardian_is_done_within_the_patience_of_an_engine_where_the_supervisor_may_be() {
        let ms = Duration::from_millis;
        for (grace, patience) in [
            (0, 2_000),
            (500, 2_500),
            (7_000, 9_000),
            (7_500, 9_000),
            (8_000, 9_000),
            (9_000, 10_000),
            (30_000, 31_000),
        ] {
            assert_eq!(patience_of(ms(grace)), ms(patience), "{grace} ms");
        }
    }

    #[test]
    fn a_late_second_request_does_not_prolong_the_stop() {
        let now = Instant::now();
        let mut escalation = Escalation::new(now, None, GRACE);
        escalation.stop_requested(sent_by(7), now);
        escalation.stop_requested(sent_by(7), now + Duration::from_secs(8));
        assert_eq!(escalation.next_at(), Some(now + Duration::from_secs(9)));
    }

    #[test]
    fn the_backstop_strikes_without_any_request() {
        let now = Instant::now();
        let escalation = Escalation::new(now, Some(Duration::from_secs(5)), GRACE);
        assert_eq!(escalation.due(now + Duration::from_secs(4)), None);
        assert_eq!(
            escalation.due(now + Duration::from_secs(5)),
            Some(KillReason::Deadline)
        );
        assert!(!escalation.stop_was_requested());
    }

    #[test]
    fn a_pause_moves_the_backstop_of_the_deadline_and_of_nothing_else() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut escalation = Escalation::new(now, Some(Duration::from_secs(5)), GRACE);
        escalation.pause_begun(after(2));
        // Said twice, it began once.
        escalation.pause_begun(after(3));
        assert_eq!(escalation.next_at(), None);
        assert_eq!(escalation.due(after(1000)), None);
        escalation.pause_ended(after(12));
        escalation.pause_ended(after(13));
        assert_eq!(escalation.next_at(), Some(after(15)));
        assert_eq!(escalation.due(after(14)), None);
        assert_eq!(escalation.due(after(15)), Some(KillReason::Deadline));
        let mut stopped = Escalation::new(now, Some(Duration::from_secs(5)), GRACE);
        stopped.pause_begun(after(1));
        stopped.stop_requested(sent_by(7), after(1));
        assert_eq!(stopped.next_at(), Some(after(1) + GRACE + MARGIN));
        assert_eq!(stopped.due(after(11)), Some(KillReason::Stop));
    }

    #[test]
    fn an_announced_stop_is_guarded_but_is_no_request() {
        let now = Instant::now();
        let mut escalation = Escalation::new(now, None, GRACE);
        escalation.stop_begun(Duration::from_secs(3), now);
        assert_eq!(escalation.next_at(), Some(now + Duration::from_secs(5)));
        assert!(!escalation.stop_was_requested());
        let mut endless = Escalation::new(now, Some(Duration::MAX), Duration::MAX);
        endless.stop_requested(sent_by(7), now);
        assert_eq!(endless.next_at(), None);
    }

    #[test]
    fn the_picture_of_a_stop_has_the_time_of_the_guardian() {
        let page = include_str!("../../docs/operations.md");
        let at = patience_of(GRACE).as_secs();
        let line = format!("\n{at:>3} s ┴ guardian     kills a supervisor that has not ended");
        assert!(page.contains(&line), "{line}");
    }
}
