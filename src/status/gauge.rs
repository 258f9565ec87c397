//! What the workload takes at this moment, for whoever shows it.
//!
//! Owns the way to ask, and nothing else: no value is kept. Invariant: nobody who shows a status is held up by it.

use std::sync::{Arc, OnceLock};

/// What a workload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

type Read = dyn Fn() -> Option<Level> + Send + Sync;

/// Reads a level; none when there is nothing to read any more.
#[derive(Clone)]
pub struct Gauge(Arc<Read>);

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gauge").finish()
    }
}

impl Gauge {
    /// A gauge over a function that returns at once.
    pub fn new(read: impl Fn() -> Option<Level> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads it.
    pub fn read(&self) -> Option<Level> {
        (self.0)()
    }
}

/// The place of a gauge that comes once the workload is there.
#[derive(Debug, Clone, Default)]
pub struct GaugePlace(Arc<OnceLock<Gauge>>);

impl GaugePlace {
    /// Puts it there; the first one stays.
    pub fn set(&self, gauge: Gauge) {
        let _ = self.0.set(gauge);
    }

    /// Reads it, if it is there.
    pub fn read(&self) -> Option<Level> {
        self.0.get()?.read()
    }
}
