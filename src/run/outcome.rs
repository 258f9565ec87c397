//! Why a run ended: error codes, the status and exit code that each one means, and the outcome record.
//!
//! One table maps code to status and exit code; nothing else in the program decides either of them.

use serde::{Deserialize, Serialize};

use super::state::Terminal;

/// Stable reason of a run that did not complete; `error.code` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The command ended with a code other than 0, or by a signal that nobody here sent.
    CommandFailed,
    /// The workload took more memory than its limit, and the agent or command was killed for it.
    OomKilled,
    /// The agent behind an adapter ended with a code other than 0.
    AgentFailed,
    /// A limit of the run description (steps, output) was reached.
    BudgetExceeded,
    /// Too many actions of the agent failed in a row.
    GuardrailBlocked,
    /// The agent did the same again and again.
    Stuck,
    /// The result that was asked for is missing or of another form.
    OutputInvalid,
    /// The sandbox, the description or the workspace could not be set up.
    SetupFailed,
    /// The recordings directory cannot be written, or the log failed with the policy `stop`.
    RecordingsUnusable,
    /// A required isolation layer is missing on this host.
    IsolationUnavailable,
    /// The run id already has a record; nothing was written.
    RunExists,
    /// The run id is in use by a live run; nothing was written.
    RunLocked,
    /// The status API could not bind its address or socket.
    ListenFailed,
    /// The command exists and cannot be executed.
    CommandNotExecutable,
    /// The command was not found in the sandbox.
    CommandNotFound,
    /// The supervisor died before it could end the run; written by `finalize`.
    SupervisorCrashed,
    /// The run's remains were found without a terminal event and without a witness of its death.
    Lost,
    /// The deadline or the idle limit passed.
    Timeout,
    /// A signal, an API caller or the engine asked for the end.
    RunTerminated,
}

/// Exit status of the process for a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitRule {
    /// Always this number.
    Fixed(u8),
    /// The command's own code, or 128 + n when it died of signal n.
    OfCommand,
    /// 128 + n of the signal that asked for the stop; 143 through the API.
    OfStopSignal,
}

impl ErrorCode {
    /// Every code, in the order of the table in `docs/operations.md`.
    pub const ALL: [Self; 19] = [
        Self::CommandFailed,
        Self::OomKilled,
        Self::AgentFailed,
        Self::BudgetExceeded,
        Self::GuardrailBlocked,
        Self::Stuck,
        Self::OutputInvalid,
        Self::SetupFailed,
        Self::RecordingsUnusable,
        Self::IsolationUnavailable,
        Self::RunExists,
        Self::RunLocked,
        Self::ListenFailed,
        Self::CommandNotExecutable,
        Self::CommandNotFound,
        Self::SupervisorCrashed,
        Self::Lost,
        Self::Timeout,
        Self::RunTerminated,
    ];

    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The code of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The terminal status that the code means.
    pub fn status(self) -> Terminal {
        self.row().1
    }

    /// The exit status that the code means.
    pub fn exit_rule(self) -> ExitRule {
        self.row().2
    }

    fn row(self) -> (&'static str, Terminal, ExitRule) {
        use ExitRule::{Fixed, OfCommand, OfStopSignal};
        use Terminal::{Failed, Terminated, Timeout};
        match self {
            Self::CommandFailed => ("COMMAND_FAILED", Failed, OfCommand),
            Self::OomKilled => ("OOM_KILLED", Failed, Fixed(137)),
            Self::AgentFailed => ("AGENT_FAILED", Failed, Fixed(1)),
            Self::BudgetExceeded => ("BUDGET_EXCEEDED", Failed, Fixed(1)),
            Self::GuardrailBlocked => ("GUARDRAIL_BLOCKED", Failed, Fixed(1)),
            Self::Stuck => ("STUCK", Failed, Fixed(1)),
            Self::OutputInvalid => ("OUTPUT_INVALID", Failed, Fixed(1)),
            Self::SetupFailed => ("SETUP_FAILED", Failed, Fixed(125)),
            Self::RecordingsUnusable => ("RECORDINGS_UNUSABLE", Failed, Fixed(125)),
            Self::IsolationUnavailable => ("ISOLATION_UNAVAILABLE", Failed, Fixed(125)),
            Self::RunExists => ("RUN_EXISTS", Failed, Fixed(125)),
            Self::RunLocked => ("RUN_LOCKED", Failed, Fixed(125)),
            Self::ListenFailed => ("LISTEN_FAILED", Failed, Fixed(125)),
            Self::CommandNotExecutable => ("COMMAND_NOT_EXECUTABLE", Failed, Fixed(126)),
            Self::CommandNotFound => ("COMMAND_NOT_FOUND", Failed, Fixed(127)),
            Self::SupervisorCrashed => ("SUPERVISOR_CRASHED", Failed, Fixed(125)),
            Self::Lost => ("LOST", Failed, Fixed(125)),
            Self::Timeout => ("TIMEOUT", Timeout, Fixed(124)),
            Self::RunTerminated => ("RUN_TERMINATED", Terminated, OfStopSignal),
        }
    }
}

/// Who or what ended the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// The agent or command reached its own end.
    Agent,
    /// The wall-clock deadline.
    Deadline,
    /// The idle limit.
    Idle,
    /// A limit of the run description.
    Limit,
    /// A signal to the guardian or the supervisor.
    Signal,
    /// A caller of the status API.
    Api,
    /// The supervisor, because it could not go on.
    Supervisor,
    /// `stockade finalize`, for a run that could not end itself.
    Finalize,
}

/// Sender of a signal, as the kernel reported it (`siginfo_t`, sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Process id of the sender; 0 when it is in another pid namespace or the kernel itself.
    pub pid: u32,
    /// Real user id of the sender.
    pub uid: u32,
}

/// Why the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Exit code of the command or agent, when it exited by itself.
    pub exit_code: Option<i32>,
    /// Signal that the command or agent died of.
    pub signal: Option<i32>,
    /// What ended the run.
    pub by: EndedBy,
    /// One sentence for people.
    pub reason: String,
    /// Signal that asked for the stop, when one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_signal: Option<i32>,
    /// Who sent that signal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<Sender>,
    /// The kill for memory that decided the end, when one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oom: Option<Oom>,
}

/// A kill for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oom {
    /// The limit that held, in bytes.
    pub limit_bytes: u64,
    /// The most memory that was in use, in bytes; null where nobody counted it.
    pub peak_bytes: Option<u64>,
    /// Processes that were killed for it during the launch.
    pub kills: u64,
}

/// `error` on the wire: present exactly when the status is terminal and not `completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunError {
    /// Stable code.
    pub code: ErrorCode,
    /// One sentence that says what happened and, where there is one, the remedy.
    pub message: String,
    /// Facts for machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<serde_json::Value>,
}

/// Exit status of the process for a finished run: 0 only without an error.
///
/// `stop_exit_code` replaces the number of a requested stop (`--stop-exit-code`).
pub fn exit_status(error: Option<ErrorCode>, outcome: &Outcome, stop_exit_code: Option<u8>) -> u8 {
    let of_signal = |signal: i32| 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127));
    let Some(code) = error else { return 0 };
    match code.exit_rule() {
        ExitRule::Fixed(number) => number,
        ExitRule::OfCommand => match (outcome.exit_code, outcome.signal) {
            (_, Some(signal)) => of_signal(signal),
            (Some(own), None) => u8::try_from(own).ok().filter(|own| *own != 0).unwrap_or(1),
            (None, None) => 1,
        },
        ExitRule::OfStopSignal => {
            stop_exit_code.unwrap_or_else(|| of_signal(outcome.stop_signal.unwrap_or(15)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(exit_code: Option<i32>, signal: Option<i32>, stop_signal: Option<i32>) -> Outcome {
        Outcome {
            exit_code,
            signal,
            by: EndedBy::Agent,
            reason: String::new(),
            stop_signal,
            sender: None,
            oom: None,
        }
    }

    #[test]
    fn the_wire_word_of_each_code_is_its_serde_form() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn nothing_but_success_gives_zero() {
        let clean = outcome(Some(0), None, None);
        assert_eq!(exit_status(None, &clean, None), 0);
        for code in ErrorCode::ALL {
            assert_ne!(exit_status(Some(code), &clean, None), 0, "{code:?}");
        }
    }

    #[test]
    fn a_command_gives_its_own_code_or_128_plus_its_signal() {
        for own in 1..=255_u8 {
            let failed = outcome(Some(i32::from(own)), None, None);
            assert_eq!(
                exit_status(Some(ErrorCode::CommandFailed), &failed, None),
                own
            );
        }
        for signal in 1..=64_u8 {
            let killed = outcome(None, Some(i32::from(signal)), None);
            assert_eq!(
                exit_status(Some(ErrorCode::CommandFailed), &killed, None),
                128 + signal
            );
        }
    }

    #[test]
    fn a_stop_gives_128_plus_its_signal_143_through_the_api_or_the_chosen_number() {
        let by_int = outcome(None, None, Some(2));
        let by_api = outcome(None, None, None);
        assert_eq!(
            exit_status(Some(ErrorCode::RunTerminated), &by_int, None),
            130
        );
        assert_eq!(
            exit_status(Some(ErrorCode::RunTerminated), &by_api, None),
            143
        );
        assert_eq!(
            exit_status(Some(ErrorCode::RunTerminated), &by_api, Some(0)),
            0
        );
    }

    #[test]
    fn a_chosen_stop_code_changes_only_a_requested_stop() {
        let clean = outcome(Some(0), None, None);
        for code in ErrorCode::ALL
            .into_iter()
            .filter(|c| *c != ErrorCode::RunTerminated)
        {
            assert_eq!(
                exit_status(Some(code), &clean, Some(77)),
                exit_status(Some(code), &clean, None)
            );
        }
    }
}
