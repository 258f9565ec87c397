//! The agent: what decides the next step of a run.
//!
//! Owns the seam between deciding and doing. An agent is given observations and yields steps; it starts nothing, writes
//! nothing and knows neither log nor sandbox, so that every agent is recorded, limited and stopped in the same way. One
//! trait drives every run.

pub mod command;
pub mod exit;
pub mod jsonl;
pub mod report;

use std::pin::Pin;

use serde_json::Value;

pub use command::CommandAgent;
pub use exit::Exit;
pub use jsonl::JsonlAgent;
pub use report::{Report, ReportedAction};

use crate::run::ErrorCode;

/// What an agent wants to happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Start a process in the sandbox.
    Launch(Launch),
    /// Put this into the log.
    Record(Report),
    /// End the run.
    Finish(Verdict),
}

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; the program is looked up in the sandbox's PATH.
    pub argv: Vec<String>,
    /// What the process is to the run.
    pub role: Role,
}

/// What a process is to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The process is one action; its output belongs to that action.
    Action,
    /// The process is the agent itself; lines of its standard output are observations.
    Agent,
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The run begins; told once, first.
    Begun,
    /// A whole line of the agent's standard output or of its actions descriptor, without the newline.
    Line(LineOf, Vec<u8>),
    /// A line was longer than [`MAX_LINE_BYTES`] and was not kept.
    LineTooLong(LineOf),
    /// The launched process ended.
    Exited(Exit),
    /// The launched process could not be started.
    NotStarted(NotStarted),
}

/// Longest line that an adapter is given, in bytes: one event's payload limit.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineOf {
    /// Standard output.
    Stdout,
    /// The descriptor named in `STOCKADE_ACTIONS_FD`.
    Actions,
}

/// Why a process could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// The code of the run that follows from it.
    pub code: ErrorCode,
    /// One sentence.
    pub message: String,
}

/// How a run ends, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Why it did not complete; none when it did.
    pub error: Option<(ErrorCode, String)>,
    /// Exit of the process that decided it.
    pub exit: Option<Exit>,
    /// Summary of the result.
    pub result: Option<String>,
    /// Structured result.
    pub data: Option<Value>,
}

/// The future of an agent's next steps.
pub type NextSteps<'a> = Pin<Box<dyn Future<Output = Vec<Step>> + Send + 'a>>;

/// Decides the steps of a run.
pub trait Agent: Send {
    /// Tells the agent what happened and takes the steps that follow, in order; none to wait for the next observation.
    ///
    /// The session drops the future when the run has to end, so it must be cancel safe.
    fn next(&mut self, observation: Observation) -> NextSteps<'_>;
}
