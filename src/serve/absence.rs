//! Runs that an engine did not have a moment ago.
//!
//! Owns short memory of negative answers, so that who asks again and again for a run that there is not costs the engine one
//! question in [`MEMORY`]. It is believed only where nothing is on record of the run: whoever creates one records it first,
//! so a run is found in the moment it is asked for, whatever is remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::run::RunId;

/// How long a negative answer is believed.
pub const MEMORY: Duration = Duration::from_secs(2);

/// Most runs that are remembered; beyond them the engine is asked.
pub const MAX_REMEMBERED: usize = 1_024;

/// What is remembered.
#[derive(Debug, Default)]
pub struct Absences(Mutex<HashMap<RunId, Instant>>);

impl Absences {
    /// Whether the engine did not have the run less than [`MEMORY`] before `now`.
    pub fn has(&self, id: &RunId, now: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(id).is_some_and(|at| is_fresh(*at, now))
    }

    /// The engine does not have the run.
    pub fn remember(&self, id: &RunId, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_REMEMBERED {
            seen.retain(|_, at| is_fresh(*at, now));
        }
        if seen.len() < MAX_REMEMBERED {
            seen.insert(id.clone(), now);
        }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_believed_for_a_moment_and_memory_is_bounded() {
        let absences = Absences::default();
        let now = Instant::now();
        let id = |n: usize| -> RunId { format!("run-{n}").parse().unwrap() };
        for n in 0..MAX_REMEMBERED + 10 {
            absences.remember(&id(n), now);
        }
        assert!(absences.has(&id(0), now) && !absences.has(&id(MAX_REMEMBERED), now));
        let later = now + MEMORY;
        assert!(!absences.has(&id(0), later));
        absences.remember(&id(MAX_REMEMBERED), later);
        assert!(absences.has(&id(MAX_REMEMBERED), later));
        assert_eq!(absences.0.lock().unwrap().len(), 1);
    }
}
