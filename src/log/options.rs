//! Settings of a log, and what it says of its own health.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When readers may see an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// As soon as it is written to the file; a crash of the process takes nothing back, a power cut may take back up to
    /// [`SYNC_INTERVAL`].
    #[default]
    Written,
    /// Once it is synced to the disk.
    Durable,
}

/// What a log does when the file system has no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// Producers wait, and the write is tried again every [`FULL_RETRY_INTERVAL`].
    #[default]
    Pause,
    /// The log is given up, but for its end.
    Fail,
}

/// Longest time that a written event stays unsynced.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// Most bytes that stay unsynced.
pub const SYNC_BYTES: u64 = 1024 * 1024;

/// Pause between two attempts to write to a full file system.
pub const FULL_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of encoded events that may wait for the writer; producers wait beyond it. The writer holds as much again, twice:
/// the batch and its lines. More of it makes nothing faster, for one write(2) of this size costs nothing a byte beyond the
/// copy.
pub const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// Settings of a log.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// When readers may see an event.
    pub durability: Durability,
    /// What happens when the file system is full.
    pub on_full: OnFull,
    /// Size at which the active segment is sealed.
    pub segment_bytes: u64,
    /// Bytes of the newest events that stay in memory; older ones are read from the files.
    pub tail_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Written,
            on_full: OnFull::Pause,
            segment_bytes: 256 * 1024 * 1024,
            tail_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Whether the log reaches its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogHealth {
    /// It does.
    #[default]
    Healthy,
    /// The file system is full; producers wait.
    Paused {
        /// What the kernel said.
        error: String,
    },
    /// The file system was full for too long: what is appended stays in memory, as far as the tail reaches. Only the end is
    /// tried once more, when it is there.
    GivenUp {
        /// Why, and behind the end what is missing.
        error: String,
    },
    /// It does not, and never will again: what is appended stays in memory, as far as the tail reaches.
    Failed {
        /// The operation and what the kernel said.
        error: String,
    },
}

/// What readers may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Number of the last event that readers may see; 0 when there is none.
    pub published_seq: u64,
    /// Number of the terminal event, once readers may see it.
    pub terminal_seq: Option<u64>,
}

impl Bounds {
    /// True when nothing will ever follow event `after`.
    pub fn ends_at(&self, after: u64) -> bool {
        self.terminal_seq.is_some_and(|terminal| after >= terminal)
    }
}
