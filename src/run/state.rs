//! Where a run is, and the only ways in which that may change.
//!
//! Owns the wire words of `phase` and `status` and the transition function. It does no input or output, so every
//! legal and illegal transition is a unit test. Invariant: a terminal status never changes.
//!
//! ```text
//! Starting ──agent started──▶ Running ──stop began──▶ Stopping ──finish──▶ Finished
//!    │  └──────stop began──────────────────────────▶    ▲                    ▲
//!    └──────────────────────────finish───────────────────┼────────────────────┘
//!                               Running ──finish (by finalize)────────────────┘
//! ```

use serde::{Deserialize, Serialize};

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The supervisor prepares: recordings, listener, sandbox.
    Starting,
    /// The agent has been started.
    Running,
    /// The end has begun, whatever caused it; the workload is being taken down.
    Stopping,
    /// The terminal event is in the log.
    Finished,
}

/// The six words that `status` has on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing of the agent runs yet.
    Starting,
    /// The agent was started and has no outcome yet.
    Running,
    /// The agent reached its end by itself and said that it succeeded.
    Completed,
    /// The run ended badly; `error.code` says how.
    Failed,
    /// The deadline or the idle limit ended the run.
    Timeout,
    /// Somebody asked for the end; never a failure.
    Terminated,
}

impl Status {
    /// True for the four words after which nothing changes.
    pub fn is_terminal(self) -> bool {
        Terminal::try_from(self).is_ok()
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Terminated => "terminated",
        }
    }
}

impl Phase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
        }
    }
}

/// The four terminal words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Terminal {
    /// See [`Status::Completed`].
    Completed,
    /// See [`Status::Failed`].
    Failed,
    /// See [`Status::Timeout`].
    Timeout,
    /// See [`Status::Terminated`].
    Terminated,
}

impl From<Terminal> for Status {
    fn from(terminal: Terminal) -> Self {
        match terminal {
            Terminal::Completed => Self::Completed,
            Terminal::Failed => Self::Failed,
            Terminal::Timeout => Self::Timeout,
            Terminal::Terminated => Self::Terminated,
        }
    }
}

impl TryFrom<Status> for Terminal {
    type Error = Status;

    /// Gives the status back when it is not terminal.
    fn try_from(status: Status) -> Result<Self, Status> {
        match status {
            Status::Completed => Ok(Self::Completed),
            Status::Failed => Ok(Self::Failed),
            Status::Timeout => Ok(Self::Timeout),
            Status::Terminated => Ok(Self::Terminated),
            Status::Starting | Status::Running => Err(status),
        }
    }
}

/// State of a run; `phase` and `status` are views of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Before the agent.
    Starting,
    /// With the agent.
    Running,
    /// On the way out, after the agent was started.
    Stopping,
    /// On the way out, before the agent was started.
    StoppingEarly,
    /// Over.
    Finished(Terminal),
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The agent's first process runs.
    AgentStarted,
    /// The end has begun.
    StopBegan,
    /// The terminal event is written.
    Finish(Terminal),
}

/// The transition is not allowed from that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("illegal transition {transition:?} from {from:?}")]
pub struct IllegalTransition {
    /// The state that the run was in, and stays in.
    pub from: State,
    /// What was asked for.
    pub transition: Transition,
}

impl State {
    /// The phase of this state.
    pub fn phase(self) -> Phase {
        match self {
            Self::Starting => Phase::Starting,
            Self::Running => Phase::Running,
            Self::Stopping | Self::StoppingEarly => Phase::Stopping,
            Self::Finished(_) => Phase::Finished,
        }
    }

    /// The wire status of this state: stopping is not an outcome, so the status before it stands.
    pub fn status(self) -> Status {
        match self {
            Self::Starting | Self::StoppingEarly => Status::Starting,
            Self::Running | Self::Stopping => Status::Running,
            Self::Finished(terminal) => terminal.into(),
        }
    }

    /// Applies a transition.
    ///
    /// # Errors
    /// Every pair that the diagram of this module does not show.
    pub fn apply(self, transition: Transition) -> Result<Self, IllegalTransition> {
        match (self, transition) {
            (Self::Starting, Transition::AgentStarted) => Ok(Self::Running),
            (Self::Starting, Transition::StopBegan) => Ok(Self::StoppingEarly),
            (Self::Running, Transition::StopBegan) => Ok(Self::Stopping),
            (
                Self::Starting | Self::Running | Self::Stopping | Self::StoppingEarly,
                Transition::Finish(terminal),
            ) => Ok(Self::Finished(terminal)),
            (
                Self::Running | Self::Stopping | Self::StoppingEarly | Self::Finished(_),
                Transition::AgentStarted,
            )
            | (Self::Stopping | Self::StoppingEarly | Self::Finished(_), Transition::StopBegan)
            | (Self::Finished(_), Transition::Finish(_)) => Err(IllegalTransition {
                from: self,
                transition,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINALS: [Terminal; 4] = [
        Terminal::Completed,
        Terminal::Failed,
        Terminal::Timeout,
        Terminal::Terminated,
    ];

    fn states() -> Vec<State> {
        let mut states = vec![
            State::Starting,
            State::Running,
            State::Stopping,
            State::StoppingEarly,
        ];
        states.extend(TERMINALS.map(State::Finished));
        states
    }

    fn transitions() -> Vec<Transition> {
        let mut transitions = vec![Transition::AgentStarted, Transition::StopBegan];
        transitions.extend(TERMINALS.map(Transition::Finish));
        transitions
    }

    #[test]
    fn exactly_the_drawn_transitions_are_legal() {
        let mut legal = Vec::new();
        for from in states() {
            for transition in transitions() {
                match from.apply(transition) {
                    Ok(to) => legal.push((from, transition, to)),
                    Err(error) => assert_eq!(error, IllegalTransition { from, transition }),
                }
            }
        }
        let mut expected = vec![
            (State::Starting, Transition::AgentStarted, State::Running),
            (State::Starting, Transition::StopBegan, State::StoppingEarly),
        ];
        for terminal in TERMINALS {
            expected.push((
                State::Starting,
                Transition::Finish(terminal),
                State::Finished(terminal),
            ));
        }
        expected.push((State::Running, Transition::StopBegan, State::Stopping));
        for from in [State::Running, State::Stopping, State::StoppingEarly] {
            for terminal in TERMINALS {
                expected.push((
                    from,
                    Transition::Finish(terminal),
                    State::Finished(terminal),
                ));
            }
        }
        assert_eq!(legal, expected);
    }

    #[test]
    fn a_terminal_status_never_changes() {
        for terminal in TERMINALS {
            for transition in transitions() {
                assert!(State::Finished(terminal).apply(transition).is_err());
            }
        }
    }

    #[test]
    fn phase_and_status_follow_the_state() {
        let views: Vec<_> = states()
            .into_iter()
            .map(|s| {
                (
                    s.phase().as_str(),
                    s.status().as_str(),
                    s.status().is_terminal(),
                )
            })
            .collect();
        assert_eq!(
            views,
            [
                ("starting", "starting", false),
                ("running", "running", false),
                ("stopping", "running", false),
                ("stopping", "starting", false),
                ("finished", "completed", true),
                ("finished", "failed", true),
                ("finished", "timeout", true),
                ("finished", "terminated", true),
            ]
        );
    }
}
