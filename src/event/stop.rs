//! Steps of a stop: what was done to bring the run to its end, and how long that may take.

use serde::{Deserialize, Serialize};

use super::hook::HookName;

/// A rung of the stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// A hook begins.
    Hook,
    /// The agent is told on its own channel.
    Channel,
    /// Every process of the agent is asked to end by SIGTERM.
    Signal,
    /// Services are asked to end, the last one first.
    Services,
    /// What was left was killed.
    Kill,
}

impl Rung {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Channel => "channel",
            Self::Signal => "signal",
            Self::Services => "services",
            Self::Kill => "kill",
        }
    }
}

/// A step of a stop; a rung on which there was nothing to do has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopStep {
    /// Which rung.
    pub rung: Rung,
    /// Which hook begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hook: Option<HookName>,
    /// How long it may take, milliseconds; a further request only shortens it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_ms: Option<u64>,
    /// How many processes were killed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processes: Option<u64>,
}
