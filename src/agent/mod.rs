//! The agent: what decides the next step of a run.
//!
//! Owns the seam between deciding and doing. An agent is given observations and yields steps; it starts nothing, writes
//! nothing and knows neither log nor sandbox, so that every agent is recorded, limited and stopped in the same way. One
//! trait drives every run.

pub mod command;
pub mod exact;
pub mod exit;
pub mod jsonl;
pub mod playbook;
pub mod report;

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

pub use command::CommandAgent;
pub use exit::Exit;
pub use jsonl::JsonlAgent;
pub use playbook::PlaybookAgent;
pub use report::{Report, ReportedAction};

use crate::event::LimitRule;
use crate::run::ErrorCode;
use crate::text::Excerpt;

/// What an agent wants to happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Start a process in the sandbox.
    Launch(Launch),
    /// Put this into the log.
    Record(Report),
    /// End the action of the attempt that was launched last.
    Conclude(Conclusion),
    /// Look at the sandbox from inside.
    Probe(Probe),
    /// Let time pass.
    Wait(Duration),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The process is one action; its output belongs to that action.
    Action,
    /// The process is one action, whose end the agent tells by [`Step::Conclude`]; other launches follow it, and what it
    /// leaves in the background lives on beside them.
    Attempt(Box<Attempt>),
    /// The process is the agent itself; lines of its standard output are observations.
    Agent,
}

/// One attempt at a step of a playbook.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The step's id.
    pub id: String,
    /// One line for people.
    pub summary: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Attempts that there may be.
    pub of: u32,
    /// Variables beside those of every launch; they may be secrets.
    pub env: Vec<(String, String)>,
    /// Directory below the workspace; empty for the workspace itself.
    pub directory: PathBuf,
    /// Time that the launch may take; then it is killed with all that descends from it, and nothing else.
    pub timeout: Duration,
    /// Whether a JSON line of its standard output may be the result of the run.
    pub gives_result: bool,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// How an attempt ended, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Why it failed; none when it succeeded.
    pub failure: Option<String>,
}

/// A question about the sandbox, as the workload sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Directory below the workspace at which relative paths begin.
    pub directory: PathBuf,
    /// What is asked.
    pub question: stockade_sandbox::Probe,
}

/// What a probe saw; texts are redacted, and bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing is at the path.
    Nothing,
    /// A regular file.
    File {
        /// It, or its beginning.
        text: Excerpt,
    },
    /// Something at the path that is no regular file.
    Other {
        /// What it is, in one word.
        kind: String,
    },
    /// An HTTP answer.
    Answer {
        /// Its status code.
        status: u16,
        /// Its body, or the beginning.
        body: Excerpt,
    },
    /// There was no look.
    Failed {
        /// Why, in one clause.
        why: String,
    },
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
    /// The launched attempt ended; its action waits for its [`Conclusion`].
    Attempted(Attempted),
    /// The time has passed.
    Waited,
    /// What the probe saw.
    Probed(Seen),
    /// The launch that the agent asked for last was not begun, for the run is to end; [`Self::Interrupted`] follows.
    NotBegun,
    /// Something else than the agent ends the run; told once, last. What it decides now is only its result.
    Interrupted(Option<Exit>),
    /// The launched process could not be started.
    NotStarted(NotStarted),
}

/// Longest output of a stream of an attempt that the agent is given, in bytes: the first quarter and the last three.
pub const MAX_CAPTURED_BYTES: usize = 256 * 1024;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// How the process ended.
    pub exit: Exit,
    /// True when it took longer than it may, and was killed for it.
    pub timed_out: bool,
    /// Standard output, redacted, at most [`MAX_CAPTURED_BYTES`] of it.
    pub stdout: Excerpt,
    /// Standard error, likewise.
    pub stderr: Excerpt,
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
    /// Whether another launch makes sense.
    pub sandbox: SandboxState,
}

/// What a launch that did not start says of its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// It refused this launch and takes others.
    Works,
    /// It did not answer: whether the process runs is not known, and the run is over.
    Lost,
}

/// How a run ends, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Why it did not complete; none when it did.
    pub error: Option<(ErrorCode, String)>,
    /// The limit that decided it, with its value.
    pub limit: Option<(LimitRule, u64)>,
    /// Exit of the process that decided it.
    pub exit: Option<Box<Exit>>,
    /// Summary of the result.
    pub result: Option<String>,
    /// Structured result.
    pub data: Option<Value>,
    /// A number of the structured result that could not be kept as the agent wrote it.
    pub inexact: Option<Box<exact::Inexact>>,
    /// What remains of the structured result on record when it is too large, as an object.
    pub summary: Option<Box<Value>>,
    /// The name under which a result that is asked for stands in the structured result; without one it takes its place.
    pub beside: Option<&'static str>,
    /// Why the run ended, one sentence; the exit of the process says it where this is none.
    pub reason: Option<String>,
    /// Files for the artifacts of the run.
    pub files: Vec<ResultFile>,
}

/// A file that the agent leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// Path below `artifacts/`.
    pub path: &'static str,
    /// Media type.
    pub media_type: &'static str,
    /// Content.
    pub text: String,
}

/// The future of an agent's next steps.
pub type NextSteps<'a> = Pin<Box<dyn Future<Output = Vec<Step>> + Send + 'a>>;

/// Decides the steps of a run.
pub trait Agent: Send {
    /// Tells the agent what happened and takes the steps that follow, in order; none to wait for the next observation.
    ///
    /// The session drops the future when the run has to end, so it must be cancel safe.
    fn next(&mut self, observation: Observation) -> NextSteps<'_>;

    /// Tells the agent that the run stood still for a time, which counts for no limit of its own.
    fn stood(&mut self, _time: Duration) {}
}
