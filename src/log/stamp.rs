//! Time stamps of events: UTC, milliseconds, RFC 3339.
//!
//! Owns the one text form of time in the log. Invariant: within a log stamps never go back, even when the wall clock
//! does.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Length of a stamp: `2026-11-22T11:02:57.123Z`.
pub const STAMP_BYTES: usize = 24;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// The wall clock.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment as text; a moment that RFC 3339 cannot express becomes its epoch.
    pub fn to_rfc3339(self) -> String {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{timestamp:.3}")
    }

    /// Reads such a text.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>()
            .ok()
            .map(|t| Self(t.as_millisecond()))
    }

    /// Milliseconds from `earlier` to this moment; 0 when it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Hands out stamps that never go back, and formats each millisecond once.
#[derive(Debug, Default)]
pub struct Stamper {
    last: Millis,
    text: String,
}

impl Stamper {
    /// The stamp for an event at `now`.
    pub fn stamp(&mut self, now: Millis) -> (Millis, &str) {
        if now > self.last || self.text.is_empty() {
            self.last = now.max(self.last);
            self.text = self.last.to_rfc3339();
        }
        (self.last, &self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_24_bytes_of_rfc_3339_and_can_be_read_back() {
        for ms in [0, 1, 999, 1_000, 1_795_345_377_123, 253_402_200_000_999] {
            let text = Millis(ms).to_rfc3339();
            assert_eq!(text.len(), STAMP_BYTES, "{text}");
            assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text}");
            assert_eq!(Millis::parse(&text), Some(Millis(ms)));
        }
    }

    #[test]
    fn stamps_never_go_back() {
        let mut stamper = Stamper::default();
        assert_eq!(stamper.stamp(Millis(5_000)).0, Millis(5_000));
        assert_eq!(stamper.stamp(Millis(4_000)).0, Millis(5_000));
        assert_eq!(stamper.stamp(Millis(6_000)).1, "1970-01-01T00:00:06.000Z");
    }
}
