//! Waiting on a condition, with a deadline.

use std::time::{Duration, Instant};

/// Longest wait of a test for something that takes milliseconds on a machine that has nothing else to do.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition that nobody signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `look` finds something; panics with `what` when it does not in time.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(DEADLINE, what, look)
}

/// The same with a deadline of its own.
pub fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain until {what}"
        );
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}
