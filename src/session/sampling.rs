//! Limits that nothing in the kernel holds: looks from time to time, and the end of a workload that passed one.
//!
//! Owns the looks and the kill behind them; that the run is over, the session decides in between. Which limits they are, the
//! sandbox says. Invariant: a look takes a tenth of the
//! time at most, however many processes or files there are; and nobody is ended for memory that is counted twice.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::growth::{Growth, MAX_ENTRIES};
use super::pausing::{RunClock, while_standing};
use super::workload::Signaller;
use crate::event::lifecycle::Isolation;
use crate::event::{Limit, LimitDecision, LimitRule};
use crate::run::{ErrorCode, Oom};

/// Shortest time between two looks at processes: a program fills some hundred megabytes meanwhile.
pub const PROCESS_INTERVAL: Duration = Duration::from_millis(100);

/// Shortest time between two looks at files.
pub const FILE_INTERVAL: Duration = Duration::from_secs(2);

/// How much longer than a look the pause behind it is at least.
pub const PAUSE_FACTOR: u32 = 10;

/// Where a limit is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Memory.
    Memory(Oom),
    /// Processes and threads.
    Pids {
        /// The limit.
        limit: u64,
    },
    /// What the workload wrote to its workspace and mounts.
    Disk {
        /// The limit, in bytes.
        limit: u64,
    },
}

impl Exceeded {
    /// The event, the code and the message of a run that ends with it.
    pub(super) fn words(self) -> (Limit, ErrorCode, String) {
        let (rule, limit, code, message) = match self {
            Self::Memory(oom) => (
                LimitRule::Memory,
                oom.limit_bytes,
                ErrorCode::OomKilled,
                format!(
                    "the workload took more than limits.memory = {} bytes",
                    oom.limit_bytes
                ),
            ),
            Self::Pids { limit } => (
                LimitRule::Pids,
                limit,
                ErrorCode::BudgetExceeded,
                format!("the workload had more than limits.pids = {limit} processes and threads"),
            ),
            Self::Disk { limit } => (
                LimitRule::Disk,
                limit,
                ErrorCode::BudgetExceeded,
                format!("the workload wrote more than limits.disk = {limit} bytes"),
            ),
        };
        let event = Limit {
            rule,
            decision: LimitDecision::Kill,
            limit,
            detail: "the workload was killed".to_owned(),
        };
        (event, code, message)
    }

    pub(super) fn oom(self) -> Option<Oom> {
        match self {
            Self::Memory(oom) => Some(oom),
            Self::Pids { .. } | Self::Disk { .. } => None,
        }
    }
}

/// Kills a workload that passed a limit, at once and not by the ladder: it would go on taking more for as long as the ladder
/// lets it. Not before the end of the run is decided: the death of the command would decide another one.
pub(super) async fn kill(workload: &Signaller) {
    if let Err(error) = workload.signal_all(nix::libc::SIGKILL).await {
        tracing::warn!(%error, "the workload was not killed at once");
    }
}

/// The limits to look at.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    memory: Option<u64>,
    pids: Option<u64>,
    disk: Option<u64>,
    places: Vec<PathBuf>,
    without: Option<PathBuf>,
    scratch: Option<(u64, PathBuf)>,
}

impl Sampled {
    /// Those that the sandbox says are held by nothing else. Files are looked at in `places`, but not below `without`, where
    /// the recordings are.
    pub fn new(isolation: &Isolation, places: Vec<PathBuf>, without: PathBuf) -> Self {
        let value = |name: &str| {
            let mut held = isolation.limits.iter();
            let held = held.find(|held| held.limit == name && held.by == "sampled")?;
            Some(held.value)
        };
        Self {
            memory: value("memory"),
            pids: value("pids"),
            disk: value("disk"),
            places,
            without: Some(without),
            scratch: None,
        }
    }

    /// The same with the directories of a run in a container, and how much they may take.
    #[must_use]
    pub fn with_scratch(self, scratch: Option<(u64, PathBuf)>) -> Self {
        Self { scratch, ..self }
    }

    /// Looks until a limit is passed; for ever if none is. Safe to cancel.
    pub(super) async fn exceeded(
        self,
        workload: Signaller,
        clock: watch::Receiver<RunClock>,
    ) -> Exceeded {
        tokio::select! {
            exceeded = self.clone().processes(&workload, clock) => exceeded,
            exceeded = self.clone().files() => exceeded,
            exceeded = self.of_run().files() => exceeded,
        }
    }

    /// The look at the directories of the run alone.
    fn of_run(self) -> Self {
        let (limit, place) = self.scratch.unzip();
        Self {
            disk: limit,
            places: place.into_iter().collect(),
            ..Self::default()
        }
    }

    async fn processes(
        self,
        workload: &Signaller,
        mut clock: watch::Receiver<RunClock>,
    ) -> Exceeded {
        if self.memory.is_none() && self.pids.is_none() {
            return std::future::pending().await;
        }
        let mut highest = 0;
        let mut pause = PROCESS_INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            // What stands still takes no more than before, and its init may stand still with it.
            while_standing(&mut clock).await;
            let begun = Instant::now();
            let bound = self.memory.unwrap_or(u64::MAX);
            match workload.taken(bound).await {
                Ok(taken) => {
                    highest = highest.max(taken.memory_bytes);
                    if let Some(limit_bytes) =
                        self.memory.filter(|limit| taken.memory_bytes > *limit)
                    {
                        return Exceeded::Memory(Oom {
                            limit_bytes,
                            peak_bytes: Some(highest),
                            kills: taken.pids,
                        });
                    }
                    if let Some(limit) = self.pids.filter(|limit| taken.pids > *limit) {
                        return Exceeded::Pids { limit };
                    }
                }
                // The sandbox is busy, or ending: whoever waits for it will know.
                Err(error) => tracing::debug!(%error, "the workload could not be looked at"),
            }
            pause = PROCESS_INTERVAL.max(begun.elapsed() * PAUSE_FACTOR);
        }
    }

    async fn files(self) -> Exceeded {
        let Some(limit) = self.disk else {
            return std::future::pending().await;
        };
        let mut growth = Growth::new(self.places, self.without);
        let mut is_told = false;
        loop {
            let begun = Instant::now();
            let looked = tokio::task::spawn_blocking(move || {
                let grown = growth.look();
                (growth, grown)
            });
            let Ok((back, grown)) = looked.await else {
                return std::future::pending().await;
            };
            growth = back;
            if grown.bytes > limit {
                return Exceeded::Disk { limit };
            }
            if !grown.is_whole && !is_told {
                is_told = true;
                tracing::warn!(
                    MAX_ENTRIES,
                    "there are more files than are looked at for limits.disk"
                );
            }
            tokio::time::sleep(FILE_INTERVAL.max(begun.elapsed() * PAUSE_FACTOR)).await;
        }
    }
}
