//! How much of everything: the full run, and the quick one that continuous integration can afford.

use std::time::Duration;

/// Amounts of one run.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) is_full: bool,
    pub(crate) n_rounds: usize,
    /// Events of one append round.
    pub(crate) n_appends: u64,
    /// Events of the log whose memory is measured.
    pub(crate) n_long: u64,
    /// Acknowledged events of one round.
    pub(crate) n_acks: u64,
    pub(crate) n_status_writes: usize,
    /// Crowds of readers, and the deliveries of one burst.
    pub(crate) crowds: &'static [(usize, u64)],
    /// The same for servers that are far slower.
    pub(crate) slow_share: u64,
    pub(crate) paced: Duration,
    /// Events of the replayed log.
    pub(crate) n_replayed: u64,
    /// Readers of the replays.
    pub(crate) replays: &'static [usize],
    /// Time of one load of a status server.
    pub(crate) load: Duration,
    /// Actions of the long run.
    pub(crate) n_actions: u64,
    pub(crate) n_starts: usize,
    pub(crate) n_launches: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        is_full: true,
        n_rounds: 3,
        n_appends: 500_000,
        n_long: 10_000_000,
        n_acks: 2_000,
        n_status_writes: 300,
        crowds: &[(100, 2_000_000), (1_000, 2_000_000), (5_000, 5_000_000)],
        slow_share: 20,
        paced: Duration::from_secs(5),
        n_replayed: 1_000_000,
        replays: &[1, 100],
        load: Duration::from_millis(800),
        n_actions: 1_000_000,
        n_starts: 40,
        n_launches: 200,
    };

    pub(crate) const QUICK: Self = Self {
        is_full: false,
        n_rounds: 2,
        n_appends: 200_000,
        n_long: 2_000_000,
        n_acks: 500,
        n_status_writes: 50,
        crowds: &[(100, 1_000_000), (1_000, 1_000_000)],
        slow_share: 5,
        paced: Duration::from_secs(2),
        n_replayed: 200_000,
        replays: &[1, 20],
        load: Duration::from_millis(250),
        n_actions: 100_000,
        n_starts: 8,
        n_launches: 30,
    };
}
