//! Whether and when a service that ended is started again: a pure decision.
//!
//! Owns the pauses: each is twice the one before, within bounds, and the first one counts again behind a long good time.
//! It reads no clock. Invariant: no service is started more often than its `max_restarts` says, and never without a pause.

use std::time::Duration;

use crate::description::service::{Restart, Service};

/// Pause before the first start again: short for a program that lost a race, long enough that one that dies at once
/// takes little of the processors.
pub const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A service that was ready for so long begins with the first pause again.
pub const STEADY: Duration = Duration::from_secs(60);

/// What is known of a service that ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Its program exited with 0, and not because it was slow.
    pub(super) is_success: bool,
    /// How long it was ready.
    pub(super) ready_for: Duration,
    /// How often it was started again before.
    pub(super) n_restarts: u32,
    /// The pause before its last start again.
    pub(super) last_pause: Option<Duration>,
}

/// The pause before the next start; none when there is no next one.
pub(super) fn next_pause(service: &Service, ended: Ended) -> Option<Duration> {
    let wants = match service.restart {
        Restart::Never => false,
        Restart::OnFailure => !ended.is_success,
        Restart::Always => true,
    };
    if !wants || ended.n_restarts >= service.max_restarts {
        return None;
    }
    Some(match ended.last_pause {
        Some(last) if ended.ready_for < STEADY => (last * 2).min(LONGEST_PAUSE),
        Some(_) | None => FIRST_PAUSE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::service::StopSignal;

    fn service(restart: Restart, max_restarts: u32) -> Service {
        Service {
            name: "s".to_owned(),
            command: vec!["true".to_owned()],
            env: std::collections::BTreeMap::new(),
            ready: None,
            restart,
            max_restarts,
            stop_signal: StopSignal::Term,
            stop_grace: Duration::from_secs(2),
            required: true,
        }
    }

    const FAILED: Ended = Ended {
        is_success: false,
        ready_for: Duration::ZERO,
        n_restarts: 0,
        last_pause: None,
    };

    #[test]
    fn each_policy_starts_again_what_it_says_and_nothing_else() {
        let succeeded = Ended {
            is_success: true,
            ..FAILED
        };
        for (restart, after_failure, after_success) in [
            (Restart::Never, None, None),
            (Restart::OnFailure, Some(FIRST_PAUSE), None),
            (Restart::Always, Some(FIRST_PAUSE), Some(FIRST_PAUSE)),
        ] {
            let service = service(restart, 5);
            assert_eq!(next_pause(&service, FAILED), after_failure, "{restart:?}");
            assert_eq!(
                next_pause(&service, succeeded),
                after_success,
                "{restart:?}"
            );
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_behind_a_good_time() {
        let service = service(Restart::Always, 1_000);
        let mut ended = FAILED;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            ended.last_pause = next_pause(&service, ended);
            ended.n_restarts += 1;
            pauses.push(ended.last_pause.unwrap().as_millis());
        }
        assert_eq!(
            pauses,
            [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]
        );
        ended.ready_for = STEADY;
        assert_eq!(next_pause(&service, ended), Some(FIRST_PAUSE));
    }

    #[test]
    fn there_are_no_more_restarts_than_were_asked_for() {
        for max_restarts in [0, 1, 5] {
            let service = service(Restart::Always, max_restarts);
            let mut ended = FAILED;
            while let Some(pause) = next_pause(&service, ended) {
                ended.last_pause = Some(pause);
                ended.n_restarts += 1;
                assert!(ended.n_restarts <= max_restarts);
            }
            assert_eq!(ended.n_restarts, max_restarts);
        }
    }
}
