//! How a run ended, and the exit code that follows from it.
//!
//! Owns the pure decision. Never does: IO. Invariant: the code agrees with the record wherever there is one, so 0 means a
//! terminal event that says `completed`, whoever lived to tell.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::cause::Cause;
use crate::escalation::KillReason;

/// Exit code of a run whose supervisor crashed, or that the guardian could not guard.
pub(crate) const CRASHED: u8 = 125;

/// How the supervisor went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited.
    Exited(u8),
    /// A signal killed it.
    Signaled(i32),
    /// It never became the program.
    StartFailed(i32),
}

impl End {
    /// Reads a status of a process that has ended.
    pub(crate) fn of(status: ExitStatus) -> Self {
        match (status.code().map(u8::try_from), status.signal()) {
            (Some(Ok(code)), _) => Self::Exited(code),
            (_, Some(signal)) => Self::Signaled(signal),
            // A status that is neither cannot come from a wait that does not ask for stopped children.
            (_, None) => Self::Exited(CRASHED),
        }
    }
}

/// What the supervisor said about the terminal state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing.
    Nothing,
    /// That it is on disk, perhaps with the run's exit code.
    Finished(Option<u8>),
}

/// What became of `finalize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finalized {
    /// It was not needed.
    NotNeeded,
    /// It exited, and so a terminal status is on disk; its code is the run's.
    Exited(u8),
    /// It could not start, was killed, or took too long.
    Failed,
}

/// Everything that the guardian knows when the supervisor is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// How the supervisor went.
    pub(crate) end: End,
    /// Why the guardian killed it, if it did.
    pub(crate) killed: Option<KillReason>,
    /// What it said before.
    pub(crate) said: Said,
    /// Whether a stop signal arrived.
    pub(crate) stop_requested: bool,
    /// Rows of its live view that stand on the terminal.
    pub(crate) shown_rows: u16,
}

impl Ending {
    /// The end of a supervisor that could not be started.
    pub(crate) fn never_started(errno: i32) -> Self {
        Self {
            end: End::StartFailed(errno),
            killed: None,
            said: Said::Nothing,
            stop_requested: false,
            shown_rows: 0,
        }
    }

    /// Why the supervisor is gone; a kill that came too late explains nothing.
    pub(crate) fn cause(&self) -> Cause {
        match (self.end, self.killed) {
            (End::StartFailed(errno), _) => Cause::StartFailed(errno),
            (End::Exited(code), _) => Cause::Exited(code),
            (End::Signaled(_), Some(KillReason::Stop)) => Cause::Backstop,
            (End::Signaled(_), Some(KillReason::Deadline)) => Cause::Deadline,
            (End::Signaled(_), Some(KillReason::Watchdog)) => Cause::Watchdog,
            (End::Signaled(signal), None) => Cause::Signaled(signal),
        }
    }

    /// The guardian's exit code.
    pub(crate) fn exit_code(&self, finalized: Finalized) -> u8 {
        match (finalized, self.end, self.said) {
            // The terminal state on disk agrees with the announced code; a panic or a kill after it changes nothing.
            (Finalized::NotNeeded, _, Said::Finished(Some(code))) => code,
            (Finalized::NotNeeded, End::Exited(code), Said::Finished(None) | Said::Nothing) => code,
            (
                Finalized::NotNeeded,
                End::Signaled(_) | End::StartFailed(_),
                Said::Finished(None) | Said::Nothing,
            ) => CRASHED,
            // `finalize` never appends a `completed`: its 0 means that the supervisor did, before it went.
            (Finalized::Exited(code), _, _) => code,
            (Finalized::Failed, _, _) => CRASHED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_from_what_was_seen() {
        let never = End::StartFailed(2);
        for (end, said, finalized, expected) in [
            (
                End::Exited(0),
                Said::Finished(None),
                Finalized::NotNeeded,
                0,
            ),
            (
                End::Exited(7),
                Said::Finished(Some(7)),
                Finalized::NotNeeded,
                7,
            ),
            (
                End::Exited(101),
                Said::Finished(Some(0)),
                Finalized::NotNeeded,
                0,
            ),
            (
                End::Signaled(9),
                Said::Finished(Some(143)),
                Finalized::NotNeeded,
                143,
            ),
            (
                End::Signaled(9),
                Said::Finished(None),
                Finalized::NotNeeded,
                CRASHED,
            ),
            (End::Exited(0), Said::Nothing, Finalized::Exited(0), 0),
            (End::Exited(101), Said::Nothing, Finalized::Exited(125), 125),
            (End::Exited(0), Said::Nothing, Finalized::Exited(125), 125),
            (End::Exited(0), Said::Nothing, Finalized::Failed, CRASHED),
            (End::Exited(101), Said::Nothing, Finalized::Exited(0), 0),
            (End::Signaled(11), Said::Nothing, Finalized::Exited(0), 0),
            (End::Signaled(9), Said::Nothing, Finalized::Exited(137), 137),
            (never, Said::Nothing, Finalized::Failed, CRASHED),
        ] {
            let ending = Ending {
                end,
                killed: None,
                said,
                stop_requested: false,
                shown_rows: 0,
            };
            assert_eq!(
                ending.exit_code(finalized),
                expected,
                "{ending:?} {finalized:?}"
            );
        }
    }

    #[test]
    fn a_kill_that_came_too_late_is_not_the_cause() {
        let ending = |end, killed| {
            Ending {
                end,
                killed,
                said: Said::Nothing,
                stop_requested: true,
                shown_rows: 0,
            }
            .cause()
        };
        assert_eq!(
            ending(End::Signaled(9), Some(KillReason::Stop)),
            Cause::Backstop
        );
        assert_eq!(
            ending(End::Signaled(9), Some(KillReason::Deadline)),
            Cause::Deadline
        );
        assert_eq!(
            ending(End::Signaled(9), Some(KillReason::Watchdog)),
            Cause::Watchdog
        );
        assert_eq!(
            ending(End::Exited(1), Some(KillReason::Stop)),
            Cause::Exited(1)
        );
        assert_eq!(ending(End::Signaled(64), None), Cause::Signaled(64));
        assert_eq!(End::of(ExitStatus::from_raw(64)), End::Signaled(64));
        assert_eq!(End::of(ExitStatus::from_raw(0x8b)), End::Signaled(11));
        assert_eq!(End::of(ExitStatus::from_raw(0xff00)), End::Exited(255));
    }
}
