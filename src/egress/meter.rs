//! How much a connection carried, and when it carried anything last.
//!
//! Owns three numbers. Never moves a byte.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The numbers of one connection. They are only counted, so no order between them is needed.
#[derive(Debug)]
pub(super) struct Meter {
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Milliseconds from the beginning.
    last_ms: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
        }
    }
}

impl Meter {
    /// Counts bytes from the workload to the origin.
    pub(super) fn add_sent(&self, n_bytes: usize) {
        self.add(&self.sent, n_bytes);
    }

    /// Counts bytes from the origin to the workload.
    pub(super) fn add_received(&self, n_bytes: usize) {
        self.add(&self.received, n_bytes);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends when nothing was counted for so long. Cancel safe.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let due = self.began + last + limit;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn add(&self, to: &AtomicU64, n_bytes: usize) {
        to.fetch_add(u64::try_from(n_bytes).unwrap_or(0), Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_after_its_last_byte() {
        let meter = Meter::default();
        let limit = Duration::from_secs(10);
        let began = Instant::now();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(7)).await;
            meter.add_sent(1);
        }
        meter.idle(limit).await;
        assert!(
            began.elapsed() >= Duration::from_secs(31),
            "{:?}",
            began.elapsed()
        );
        assert_eq!((meter.sent(), meter.received()), (3, 0));
    }
}
