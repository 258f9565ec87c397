//! Services: what becomes of the programs that run beside the agent, and what they print.

use serde::{Deserialize, Serialize};

use super::Stream;
use super::action::is_zero;

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Its program was started.
    Starting,
    /// It is ready.
    Ready,
    /// Its program ended by itself, or took too long to get ready.
    Exited,
    /// It is started again after a pause.
    Restarting,
    /// It is gone for good while the run goes on, or never began.
    Failed,
    /// The run has stopped it.
    Stopped,
}

impl ServiceState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Exited => "exited",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A service entered a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub service: String,
    /// The state.
    pub state: ServiceState,
    /// Why, where that is not plain from the state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Exit code of its program, when it exited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Signal, when its program died of one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// `ready`: since its start; `exited`: how long it lived; `stopped`: how long the stop took. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// `restarting`: the pause before the next start, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_ms: Option<u64>,
    /// How often it was started again so far, the start that is announced included.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub restarts: u64,
}

impl Service {
    /// An event that says no more than the state.
    pub fn entered(service: &str, state: ServiceState) -> Self {
        Self {
            service: service.to_owned(),
            state,
            reason: None,
            exit_code: None,
            signal: None,
            duration_ms: None,
            delay_ms: None,
            restarts: 0,
        }
    }
}

/// A piece of output of a service, as valid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOutput {
    /// The service that printed it.
    pub service: String,
    /// Where it was printed.
    pub stream: Stream,
    /// The text; bytes that are not UTF-8 stand as U+FFFD.
    pub text: String,
    /// Bytes that the program wrote for this piece.
    pub bytes: u64,
    /// True when bytes were not UTF-8.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub lossy: bool,
}
