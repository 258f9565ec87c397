//! Actions: one thing that the agent did, as recorded.

use serde::{Deserialize, Serialize};

/// What sort of tool an action used; the words are those of the Agent Client Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// Reads a file or data.
    Read,
    /// Changes a file.
    Edit,
    /// Removes a file.
    Delete,
    /// Moves or renames a file.
    Move,
    /// Searches.
    Search,
    /// Runs a command.
    Execute,
    /// Thinks.
    Think,
    /// Fetches from the network.
    Fetch,
    /// Anything else.
    #[default]
    Other,
}

/// An action began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionStarted {
    /// Number of the action in this run, from 1.
    pub step: u64,
    /// Joins the events of one action.
    pub call_id: String,
    /// The action that this one is part of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_call_id: Option<String>,
    /// Name of the tool.
    pub tool: String,
    /// What the tool was asked to do.
    pub action: String,
    /// What sort of tool it is.
    #[serde(default)]
    pub kind: ToolKind,
    /// One line for people.
    #[serde(default)]
    pub input_summary: String,
    /// Number of the attempt, from 1, where the same thing may be attempted again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u32>,
    /// Attempts that there may be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u32>,
}

/// An action ended.
///
/// The first ten fields are those of the seed system and are always present, with nulls; the others are ours and are
/// left out when they are empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Action {
    /// Number of the action in this run, from 1.
    pub step: u64,
    /// When the action ended, RFC 3339.
    pub timestamp: String,
    /// Name of the tool.
    pub tool: String,
    /// What the tool was asked to do.
    pub action: String,
    /// One line for people.
    #[serde(default)]
    pub input_summary: String,
    /// Wall-clock time in milliseconds.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Whether it succeeded; null when that is not known.
    #[serde(default)]
    pub success: Option<bool>,
    /// What it gave back, cut at a limit; see `truncated` and `artifact`.
    #[serde(default)]
    pub result_text: Option<String>,
    /// Kept for readers of the seed system.
    #[serde(default)]
    pub has_screenshot: bool,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// Joins the events of one action.
    pub call_id: String,
    /// The action that this one is part of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_call_id: Option<String>,
    /// What sort of tool it is.
    #[serde(default)]
    pub kind: ToolKind,
    /// Exit code of the process behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Signal that the process died of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// How much of the text was cut.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub truncated: Option<Truncated>,
    /// Path of the artifact that holds the whole text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact: Option<String>,
    /// Tokens used, as the agent said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<u64>,
    /// Cost in US dollars, as the agent said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_usd: Option<f64>,
    /// The agent's own number for the action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent_step: Option<i64>,
    /// Number of the attempt, from 1, where the same thing may be attempted again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u32>,
    /// Attempts that there may be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u32>,
    /// True when the end of the run cut the action short.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cancelled: bool,
    /// Resources that the process behind it used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<ProcessUsage>,
}

/// An attempt failed and another one follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Number of the action that failed.
    pub step: u64,
    /// What was attempted, as the action's own `action` has it.
    pub action: String,
    /// Number of the attempt that failed, from 1.
    pub attempt: u32,
    /// Attempts that there may be.
    pub of: u32,
    /// Time until the next one, milliseconds.
    pub delay_ms: u64,
    /// Why it failed, one sentence.
    pub reason: String,
}

/// How much of a text was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncated {
    /// Bytes that the whole text had.
    pub total_bytes: u64,
    /// Bytes that are kept here.
    pub kept_bytes: u64,
}

/// Resources of one process and its waited-for children (getrusage(2)), and of the whole workload while it ran, where a
/// control group counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// CPU time in user mode, milliseconds.
    pub user_cpu_ms: u64,
    /// CPU time in the kernel, milliseconds.
    pub system_cpu_ms: u64,
    /// Largest resident set, bytes.
    pub max_rss_bytes: u64,
    /// The wait status as the kernel gave it, wait(2).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wait_status: Option<i32>,
    /// Most memory of the whole workload, bytes; since the beginning of the run where the kernel cannot begin a new peak.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_memory_bytes: Option<u64>,
    /// Processes that the kernel killed for memory, whichever they were.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub oom_kills: u64,
    /// Time for which the workload had to wait for its share of the processors, milliseconds.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub throttled_ms: u64,
}

pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}
