//! The clocks of services, past a pause of the run.
//!
//! Owns which of their times move. Never pauses anything. Invariant: a pause costs a service nothing of the time that it has
//! for getting ready, and does not count as a good time behind which restarts begin anew.

use std::time::Duration;

use super::{Services, State};

impl Services {
    /// Their times are later by what the run has stood still.
    pub(in crate::session) fn stood(&mut self, time: Duration) {
        for held in &mut self.held {
            held.started_at += time;
            if let Some(at) = &mut held.ready_at {
                *at += time;
            }
            match &mut held.state {
                State::Starting(looks) => looks.stood(time),
                State::Pausing(until) => *until += time,
                State::Waiting
                | State::Ready
                | State::Ending
                | State::Stopping
                | State::Ended(_)
                | State::Gone => {}
            }
        }
    }
}
