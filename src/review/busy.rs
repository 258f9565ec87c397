//! How much of a run's time its actions took.
//!
//! Owns the sum of the spans in which at least one action was under way; what two do side by side counts once.

use crate::log::Millis;

/// The spans so far.
#[derive(Debug, Default)]
pub(super) struct Busy {
    total_ms: u64,
    /// When the span that goes on began, in milliseconds since 1970.
    since: Option<i64>,
}

impl Busy {
    /// From this time on, `is_open` says whether an action is under way.
    pub(super) fn at(&mut self, ts: &str, is_open: bool) {
        let Some(Millis(now)) = Millis::parse(ts) else {
            return;
        };
        match (self.since, is_open) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.total_ms = self.total_ms.saturating_add(span(since, now));
                self.since = None;
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Milliseconds until this time.
    pub(super) fn until(&self, ts: &str) -> u64 {
        let open = self.since.zip(Millis::parse(ts));
        let open_ms = open.map_or(0, |(since, Millis(now))| span(since, now));
        self.total_ms.saturating_add(open_ms)
    }
}

/// A clock that was set back makes no span.
fn span(since: i64, until: i64) -> u64 {
    u64::try_from(until.saturating_sub(since)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_side_by_side_counts_once_and_a_gap_not_at_all() {
        let mut busy = Busy::default();
        let ts = |second: u32| format!("2026-11-23T10:00:{second:02}.000Z");
        for (second, is_open) in [(1, true), (2, true), (4, false), (10, true), (9, false)] {
            busy.at(&ts(second), is_open);
        }
        assert_eq!(busy.until(&ts(20)), 3_000);
        busy.at(&ts(30), true);
        assert_eq!(busy.until(&ts(31)), 4_000);
        busy.at("no time", false);
        assert_eq!(busy.until("no time"), 3_000);
    }
}
