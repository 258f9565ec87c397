//! The life of the run and of its log.

use serde::{Deserialize, Serialize};

use super::action::is_zero;
use crate::run::{Outcome, Phase, RunError, Status};

/// First event of a log, and first of each epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOpened {
    /// Identity of the log: 32 lower-case hexadecimal digits, random.
    pub epoch: String,
    /// First sequence number of this epoch.
    pub first_seq: u64,
    /// Bytes that were cut from the torn tail before this event; 0 for a new log.
    pub cut_bytes: u64,
    /// Version of the log's format.
    pub schema_version: u32,
}

/// The run entered a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPhase {
    /// The phase entered.
    pub phase: Phase,
    /// The status that goes with it.
    pub status: Status,
    /// Why, where that is not plain from the phase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// `starting` only: addresses of the status API.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listen: Option<Listen>,
}

/// The workload stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPaused {
    /// By what: `cgroup-v2`, `cgroup-v1` or `signals`.
    pub by: String,
    /// Why, in the words of who asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// The workload goes on after a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResumed {
    /// How long it stood still, milliseconds.
    pub paused_ms: u64,
    /// Why, in the words of who asked; of a run that is ended, that it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Where the status API can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listen {
    /// TCP address and port; null when there is no TCP listener.
    pub address: Option<String>,
    /// Path of the Unix socket; null when there is none.
    pub socket: Option<String>,
}

/// What the sandbox was asked for and what it enforces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Isolation {
    /// What was asked for: a tier, layers, or both.
    pub requested: String,
    /// The tier in force.
    pub enforced: String,
    /// Names of the layers in force.
    pub layers: Vec<String>,
    /// Layers that are not in force, each with the reason.
    #[serde(default)]
    pub missing: Vec<MissingLayer>,
    /// The network that the workload sees: `none` or `host`.
    pub network: String,
    /// The kernel's version of Landlock, where that layer is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_abi: Option<u32>,
    /// The limits of the workload, each with what holds it.
    #[serde(default)]
    pub limits: Vec<EnforcedLimit>,
    /// Directories of the sandbox's control group, one in each hierarchy; `finalize` removes them behind a run that could not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub groups: Vec<String>,
}

/// A limit of the workload, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcedLimit {
    /// Its name: `memory`, `swap`, `pids`, `cpus` or `file-size`.
    pub limit: String,
    /// Its value: bytes, a count, or thousandths of a processor.
    pub value: u64,
    /// What holds it: `cgroup-v2`, `cgroup-v1`, `rlimit`, `affinity` or `sampled`.
    pub by: String,
}

impl Isolation {
    /// Whether the tier in force is the one that was asked for; where none was named, the best one is.
    pub fn is_as_asked(&self) -> bool {
        let mut words = self.requested.split(',');
        words.any(|word| word == self.enforced) || self.enforced == "full"
    }
}

/// A layer that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingLayer {
    /// Its name.
    pub layer: String,
    /// Why it is not in force.
    pub reason: String,
}

/// Resources of the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of the launched processes and their waited-for children, at the end of all that ran where a control group
    /// counts it, milliseconds.
    pub cpu_ms: u64,
    /// Largest resident set of one launched process, bytes.
    pub max_rss_bytes: u64,
    /// Bytes of output that the workload wrote.
    pub output_bytes: u64,
    /// Tokens, as the agent said.
    pub tokens: u64,
    /// Cost in US dollars, as the agent said.
    pub cost_usd: f64,
    /// Most memory of the workload, bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_memory_bytes: Option<u64>,
    /// Most processes and threads of the workload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_pids: Option<u64>,
    /// Processes of the workload that the kernel killed for memory.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub oom_kills: u64,
    /// Time for which the workload had to wait for its share of the processors, milliseconds.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub throttled_ms: u64,
    /// Memory of the workload now, bytes; only while it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Processes and threads of the workload now; only while it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pids: Option<u64>,
}

/// Processes of the workload that outlived its own end and had to be killed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Survivors {
    /// How many.
    pub killed: u64,
    /// Command names of some of them.
    #[serde(default)]
    pub names: Vec<String>,
}

/// The terminal event: everything that the end of the run decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Complete {
    /// Terminal status.
    pub status: Status,
    /// Why the run ended.
    pub outcome: Outcome,
    /// Present exactly when the status is not `completed`.
    pub error: Option<RunError>,
    /// Summary of the result, if the agent gave one.
    pub result: Option<String>,
    /// Structured result, if the agent gave one.
    pub data: Option<serde_json::Value>,
    /// Actions in the log.
    pub action_count: u64,
    /// From the start of the supervisor to the terminal event, milliseconds.
    pub duration_ms: u64,
    /// Resources.
    pub usage: Usage,
    /// Processes that had to be killed.
    pub survivors: Survivors,
}
