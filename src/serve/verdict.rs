//! What is said of a run: one pure decision over what the engine, the run itself and its recording say.
//!
//! Owns the table. It waits for nothing and asks nobody. Invariant: only a record that is terminal, or an engine that knows
//! the sandbox to be over, ends a run; an engine that does not answer ends none.

use std::time::Duration;

use crate::engine::{Capabilities, EngineState};

/// What the recording says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The run has its end.
    Terminal,
    /// A supervisor claimed the run, and it has no end.
    Begun,
    /// It was asked for so long ago, and nobody claimed it.
    Asked(Duration),
    /// Nothing.
    Nothing,
}

/// Whether the run's own status API answered, as that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// It did.
    Alive,
    /// It did not, or was not asked.
    Silent,
}

/// Why a run is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its sandbox has ended, and its record has no end.
    Exited,
    /// Its sandbox is not there any more.
    Vanished,
    /// Its sandbox has ended before its supervisor began.
    NeverBegan,
    /// No sandbox appeared in time.
    NotCreated,
    /// It was made, and never listened.
    NotStarted,
}

impl Loss {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "its sandbox has ended without an end on record",
            Self::Vanished => "its sandbox is not there any more",
            Self::NeverBegan => "its sandbox has ended before its supervisor began",
            Self::NotCreated => "no sandbox appeared for it in time",
            Self::NotStarted => "its sandbox was made and did not listen in time",
        }
    }
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The record, which is terminal.
    Stored,
    /// What the run itself says.
    Live,
    /// It is being started.
    Starting,
    /// The last that is known, with its age; 503 where nothing is known.
    Stale,
    /// It has to be given an end on record first.
    Lose(Loss),
    /// The engine has a sandbox of ours that no recording knows.
    Orphan,
    /// There is no such run.
    Absent,
    /// Nothing is known, and the engine does not answer.
    Unavailable,
}

/// Decides. `contact` counts for a sandbox that runs, or of which the engine does not say.
pub fn decide(
    engine: &EngineState,
    contact: Contact,
    recorded: Recorded,
    limits: &Capabilities,
) -> Verdict {
    match (recorded, engine, contact) {
        // Whatever the engine says: a terminal status never changes, not even for a moment while the run still answers.
        (Recorded::Terminal, _, _) => Verdict::Stored,
        // A run that answers lives, whether or not its engine answers, too.
        (_, EngineState::Running | EngineState::Unknown, Contact::Alive) => Verdict::Live,

        (Recorded::Begun, EngineState::Running, Contact::Silent) => Verdict::Stale,
        (Recorded::Begun, EngineState::Pending(_), _) => Verdict::Starting,
        (Recorded::Begun, EngineState::Exited { .. }, _) => Verdict::Lose(Loss::Exited),
        (Recorded::Begun, EngineState::Gone, _) => Verdict::Lose(Loss::Vanished),
        (Recorded::Begun, EngineState::Unknown, _) => Verdict::Stale,

        (Recorded::Asked(age), EngineState::Running, Contact::Silent) => {
            if age < limits.start_limit {
                Verdict::Starting
            } else {
                Verdict::Lose(Loss::NotStarted)
            }
        }
        (Recorded::Asked(age), EngineState::Pending(_), _) => {
            // Whoever made it may have died before it could start it.
            if age < limits.start_limit {
                Verdict::Starting
            } else {
                Verdict::Lose(Loss::NotStarted)
            }
        }
        (Recorded::Asked(_), EngineState::Exited { .. }, _) => Verdict::Lose(Loss::NeverBegan),
        (Recorded::Asked(age), EngineState::Gone, _) => {
            if age < limits.create_limit {
                Verdict::Starting
            } else {
                Verdict::Lose(Loss::NotCreated)
            }
        }
        (Recorded::Asked(_), EngineState::Unknown, _) => Verdict::Stale,

        (
            Recorded::Nothing,
            EngineState::Running | EngineState::Pending(_) | EngineState::Exited { .. },
            _,
        ) => Verdict::Orphan,
        (Recorded::Nothing, EngineState::Gone, _) => Verdict::Absent,
        (Recorded::Nothing, EngineState::Unknown, _) => Verdict::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PendingReason;

    const LIMITS: Capabilities = Capabilities {
        name: "scripted",
        remembers_exits: true,
        create_limit: Duration::from_secs(30),
        start_limit: Duration::from_secs(60),
    };
    const YOUNG: Recorded = Recorded::Asked(Duration::from_secs(1));
    const OLD: Recorded = Recorded::Asked(Duration::from_secs(61));

    #[test]
    fn every_cell_of_the_table_is_as_it_is_documented() {
        let pending = EngineState::Pending(PendingReason::Created);
        // Exit 0 as well: an exit code is never believed alone.
        let exited = EngineState::Exited {
            code: Some(0),
            oom: false,
        };
        let alive = (EngineState::Running, Contact::Alive);
        let silent = (EngineState::Running, Contact::Silent);
        let rows = [
            (
                alive,
                [
                    Verdict::Stored,
                    Verdict::Live,
                    Verdict::Live,
                    Verdict::Live,
                    Verdict::Live,
                ],
            ),
            (
                silent,
                [
                    Verdict::Stored,
                    Verdict::Stale,
                    Verdict::Starting,
                    Verdict::Lose(Loss::NotStarted),
                    Verdict::Orphan,
                ],
            ),
            (
                (pending, Contact::Silent),
                [
                    Verdict::Stored,
                    Verdict::Starting,
                    Verdict::Starting,
                    Verdict::Lose(Loss::NotStarted),
                    Verdict::Orphan,
                ],
            ),
            (
                (exited, Contact::Silent),
                [
                    Verdict::Stored,
                    Verdict::Lose(Loss::Exited),
                    Verdict::Lose(Loss::NeverBegan),
                    Verdict::Lose(Loss::NeverBegan),
                    Verdict::Orphan,
                ],
            ),
            (
                (EngineState::Gone, Contact::Silent),
                [
                    Verdict::Stored,
                    Verdict::Lose(Loss::Vanished),
                    Verdict::Starting,
                    Verdict::Lose(Loss::NotCreated),
                    Verdict::Absent,
                ],
            ),
            (
                (EngineState::Unknown, Contact::Alive),
                [
                    Verdict::Stored,
                    Verdict::Live,
                    Verdict::Live,
                    Verdict::Live,
                    Verdict::Live,
                ],
            ),
            (
                (EngineState::Unknown, Contact::Silent),
                [
                    Verdict::Stored,
                    Verdict::Stale,
                    Verdict::Stale,
                    Verdict::Stale,
                    Verdict::Unavailable,
                ],
            ),
        ];
        let columns = [
            Recorded::Terminal,
            Recorded::Begun,
            YOUNG,
            OLD,
            Recorded::Nothing,
        ];
        for ((engine, contact), expected) in rows {
            for (recorded, expected) in columns.into_iter().zip(expected) {
                assert_eq!(
                    decide(&engine, contact, recorded, &LIMITS),
                    expected,
                    "{engine:?} {contact:?} {recorded:?}"
                );
            }
        }
    }

    #[test]
    fn an_engine_that_does_not_answer_ends_no_run_and_hides_none() {
        for recorded in [
            Recorded::Terminal,
            Recorded::Begun,
            YOUNG,
            OLD,
            Recorded::Nothing,
        ] {
            let verdict = decide(&EngineState::Unknown, Contact::Silent, recorded, &LIMITS);
            assert!(
                !matches!(verdict, Verdict::Lose(_) | Verdict::Absent),
                "{recorded:?}"
            );
        }
    }
}
