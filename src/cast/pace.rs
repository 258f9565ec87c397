//! How fast a recording is played.
//!
//! Owns the arithmetic between recorded times and waits. It never waits itself.

use std::time::Duration;

/// Speed and longest wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    speed: f64,
    max_wait: Duration,
    /// The recorded time up to which everything was shown; none before the first.
    shown_until: Option<Duration>,
}

impl Pace {
    /// Plays `speed` times as fast as recorded, which is positive, and never waits longer than `max_wait`.
    pub fn new(speed: f64, max_wait: Duration) -> Self {
        Self {
            speed,
            max_wait,
            shown_until: None,
        }
    }

    /// How long to wait before what was recorded at `at` is shown. Time that goes back is no wait, nor is what comes first.
    pub fn wait_before(&mut self, at: Duration) -> Duration {
        let since = self
            .shown_until
            .replace(at)
            .map_or(Duration::ZERO, |until| at.saturating_sub(until));
        let wait = since.as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(wait)
            .unwrap_or(self.max_wait)
            .min(self.max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_recording_divided_by_the_speed_and_cut() {
        let mut pace = Pace::new(2.0, Duration::from_secs(3));
        let waits = [5_000, 6_000, 5_500, 7_500, 100_000, 100_000]
            .map(|at| pace.wait_before(Duration::from_millis(at)).as_millis());
        assert_eq!(waits, [0, 500, 0, 1_000, 3_000, 0]);
        let mut none = Pace::new(0.001, Duration::ZERO);
        none.wait_before(Duration::ZERO);
        assert_eq!(none.wait_before(Duration::from_secs(1)), Duration::ZERO);
    }
}
