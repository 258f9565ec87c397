//! Log lines of this process while the live view has the terminal: they are shown by the view, in its frames.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Log lines that wait for the view at most; of more, the oldest are dropped and counted. They are in nobody's way: with the
/// view only warnings are written.
pub const MAX_HELD_LINES: usize = 100;

/// Where log lines go.
#[derive(Debug, Clone, Default)]
pub struct HeldLines(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// None while lines go to stderr directly.
    lines: Option<VecDeque<String>>,
    n_dropped: u64,
}

impl HeldLines {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lines wait for the view.
    pub fn hold(&self) {
        self.held().lines.get_or_insert_default();
    }

    /// Takes a line; false when nobody holds lines, and the caller has to write it.
    pub fn take_in(&self, line: &str) -> bool {
        let mut held = self.held();
        let Held { lines, n_dropped } = &mut *held;
        let Some(lines) = lines else { return false };
        if lines.len() == MAX_HELD_LINES {
            lines.pop_front();
            *n_dropped += 1;
        }
        lines.push_back(line.trim_end().to_owned());
        true
    }

    /// Gives what waits.
    pub fn drain(&self) -> Vec<String> {
        let mut held = self.held();
        let mut drained = Vec::new();
        if held.n_dropped > 0 {
            drained.push(format!("{} log lines were dropped", held.n_dropped));
            held.n_dropped = 0;
        }
        drained.extend(held.lines.iter_mut().flat_map(|lines| lines.drain(..)));
        drained
    }

    /// Gives what waits; from now on lines go to stderr directly.
    pub fn release(&self) -> Vec<String> {
        let drained = self.drain();
        self.held().lines = None;
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_only_while_somebody_holds_them_and_what_is_dropped_is_counted() {
        let lines = HeldLines::default();
        assert!(!lines.take_in("before"));
        lines.hold();
        for number in 0..MAX_HELD_LINES + 2 {
            assert!(lines.take_in(&format!("{number}\n")));
        }
        let drained = lines.release();
        assert_eq!(drained.len(), MAX_HELD_LINES + 1);
        assert_eq!(drained[0], "2 log lines were dropped");
        assert_eq!(drained[1], "2");
        assert!(!lines.take_in("after"));
    }
}
