//! The kill matrix: every process of a run, every way to be struck, at every moment of the run.
//!
//! The moment is observed, never hoped for: the run is held there by a library, or its files say where it is. A round whose
//! victim was not struck at its moment fails. Cells are counted; `STOCKADE_SOAK_ROUNDS` sets the rounds (a multiple of 210
//! strikes each cell as often), `STOCKADE_SOAK_SEED` repeats them, and a failure prints the seed of its round.

mod claims;
mod scene;
mod strike;

use std::collections::BTreeMap;

use crate::crash_follower::{Random, rounds, say};
use crate::held::Holds;
use scene::Place;

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Guardian,
    Supervisor,
    Helper,
    Agent,
    Grandchild,
    All,
}

/// With what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    Kill,
    Fault,
    Term,
    StopContinue,
    StopKill,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the agent, or right at its birth where it is the victim.
    Starting,
    /// In the middle of its action.
    Action,
    /// While the log is being synced.
    Flush,
    /// The workload stands still, and is let go on behind the strike where anybody is left to ask.
    Paused,
    /// The terminal event is in the log, `status.json` is not yet renamed.
    Rename,
    /// A stop was asked for, and the agent does not listen.
    Stopping,
    /// `status.json` has its end, the status API lingers.
    Finished,
}

pub const VICTIMS: [Victim; 6] = [
    Victim::Guardian,
    Victim::Supervisor,
    Victim::Helper,
    Victim::Agent,
    Victim::Grandchild,
    Victim::All,
];

pub const MEANS: [Means; 5] = [
    Means::Kill,
    Means::Fault,
    Means::Term,
    Means::StopContinue,
    Means::StopKill,
];

pub const MOMENTS: [Moment; 7] = [
    Moment::Starting,
    Moment::Action,
    Moment::Flush,
    Moment::Paused,
    Moment::Rename,
    Moment::Stopping,
    Moment::Finished,
];

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub moment: Moment,
    pub victim: Victim,
    pub means: Means,
}

impl Cell {
    /// The cell of a round: 42 rounds have each pair of victim and moment, 210 have each cell. `turn` is where the means begin.
    fn of_round(round: usize, turn: usize) -> Self {
        let pair = round % (VICTIMS.len() * MOMENTS.len());
        let lap = round / (VICTIMS.len() * MOMENTS.len());
        Self {
            moment: MOMENTS[pair / VICTIMS.len()],
            victim: VICTIMS[pair % VICTIMS.len()],
            means: MEANS[(pair + lap + turn) % MEANS.len()],
        }
    }

    /// Whether the number of those that were struck is one that the moment allows. The sandbox is taken down before the terminal
    /// event, so agent and grandchild are dead behind it, which the round asserts in their place; the helper goes about then.
    fn allows(self, n_struck: usize) -> bool {
        let is_behind_the_sandbox = matches!(self.moment, Moment::Rename | Moment::Finished);
        match self.victim {
            Victim::Agent | Victim::Grandchild if is_behind_the_sandbox => n_struck == 0,
            Victim::Helper if is_behind_the_sandbox => n_struck <= 1,
            // Who dies first may take the others along before they are struck.
            Victim::All => n_struck >= 1,
            Victim::Guardian
            | Victim::Supervisor
            | Victim::Helper
            | Victim::Agent
            | Victim::Grandchild => n_struck == 1,
        }
    }
}

#[test]
fn whoever_is_struck_with_whatever_at_whatever_moment_the_record_is_true_and_nothing_is_left() {
    let Some(holds) = Holds::new() else { return };
    let mut random = Random::seeded();
    let first_seed = random.0;
    let n_rounds = usize::try_from(rounds(42)).unwrap();
    let turn = usize::try_from(random.below(5)).unwrap();
    let mut struck: BTreeMap<Cell, u64> = BTreeMap::new();
    let (mut n_absent, mut n_with_reader) = (0, 0);
    let mut places = [0_u64; 4];
    for round in 0..n_rounds {
        let cell = Cell::of_round(round, turn);
        let seed = random.0;
        let outcome = std::panic::catch_unwind(|| scene::one_round(cell, &holds, seed));
        // The next round is not to depend on how much chance this one needed.
        random.next();
        match outcome {
            Ok(seen) => {
                *struck.entry(cell).or_default() += u64::from(seen.n_struck > 0);
                n_absent += u64::from(seen.n_struck == 0);
                places[seen.place as usize] += 1;
                n_with_reader += u64::from(seen.n_events > 0);
            }
            Err(panic) => {
                say(&format!(
                    "FAILED ROUND {round} (first seed {first_seed}): {cell:?} seed {seed}"
                ));
                std::panic::resume_unwind(panic);
            }
        }
    }
    let n_cells = struck.values().filter(|times| **times > 0).count();
    let times = struck.values().filter(|times| **times > 0);
    say(&format!(
        "kill matrix: {n_rounds} rounds from seed {first_seed}: {n_cells} cells struck, {} to {} times each; in {n_absent} rounds \
         the victim was dead by then; {} as pid 1, {} in the tier container, {} in the tier none; a reader in {n_with_reader}",
        times.clone().min().unwrap_or(&0),
        times.max().unwrap_or(&0),
        places[Place::FirstProcess as usize],
        places[Place::Container as usize],
        places[Place::Unconfined as usize],
    ));
    assert!(
        n_with_reader * 2 > n_rounds as u64,
        "{n_with_reader} readers"
    );
}
