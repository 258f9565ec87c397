//! Hooks: commands of the description that run at one moment of a run.

use serde::{Deserialize, Serialize};

use super::action::Truncated;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookName {
    /// When a stop begins, before the agent is asked to end.
    PreStop,
    /// After the agent has ended, while services run.
    PostRun,
}

impl HookName {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreStop => "pre_stop",
            Self::PostRun => "post_run",
        }
    }
}

/// A hook has ended, or could not be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Which one.
    pub hook: HookName,
    /// Whether it exited with 0, in time.
    pub success: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Its exit code, when it exited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Signal, when it died of one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// What it printed, on both streams; the beginning and the end of what is longer than 8 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result_text: Option<String>,
    /// How much of that was left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub truncated: Option<Truncated>,
}
