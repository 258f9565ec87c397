//! The run model: ids, states and outcomes, as pure code.

pub mod id;
pub mod outcome;
pub mod state;

pub use id::RunId;
pub use outcome::{EndedBy, ErrorCode, Oom, Outcome, RunError, Sender, exit_status};
pub use state::{Phase, State, Status, Terminal, Transition};
