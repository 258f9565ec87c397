//! What happened in a run, as data.
//!
//! Owns the form of an account: what `stockade show --json` prints and what a screen is laid out from. How it follows from a
//! recording is in [`super::reading`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::step::StepView;
use crate::event::Hook;
use crate::event::lifecycle::{Isolation, Survivors, Usage};
use crate::run::{Outcome, RunId, Status};
use crate::status::document::{RecordingsHealth, ServiceStatus, StatusError};

/// Who works on a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// The run has ended, and its record says how.
    Ended,
    /// Somebody holds the run's lock.
    Running,
    /// There is no end on record, and nobody works on it: `stockade finalize` gives it one.
    CutOff,
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The run.
    pub run_id: RunId,
    /// Where the recording lies.
    pub path: String,
    /// Who works on it.
    pub life: Life,
    /// The status on record.
    pub status: Status,
    /// Exit status of the process, once the run has ended.
    pub exit_status: Option<u8>,
    /// Why it ended.
    pub outcome: Option<Outcome>,
    /// The error on record.
    pub error: Option<StatusError>,
    /// The task, if there is one.
    pub task: Option<String>,
    /// The command.
    pub command: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Time of the first event.
    pub started_at: Option<String>,
    /// Time of the terminal event.
    pub ended_at: Option<String>,
    /// From the first event to the last, or as the run measured it, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Time in which at least one action was under way, in milliseconds; the rest went by before, between and behind them.
    pub in_actions_ms: u64,
    /// How long each phase took.
    pub phases: Vec<PhaseTime>,
    /// The result, if the agent gave one.
    pub result: Option<String>,
    /// What is enforced.
    pub isolation: Option<Isolation>,
    /// Resources.
    pub usage: Usage,
    /// Processes that had to be killed.
    pub survivors: Option<Survivors>,
    /// The services that were begun, and where they are.
    pub services: Vec<ServiceStatus>,
    /// The hooks that have ended; a run has no more than one of each.
    pub hooks: Vec<Hook>,
    /// How many actions ended how.
    pub actions: Counts,
    /// Those that took longest, longest first.
    pub slowest: Vec<StepView>,
    /// The last that failed, oldest first.
    pub failed: Vec<StepView>,
    /// Those that have begun and not ended, oldest first.
    pub open: Vec<String>,
    /// Attempts that were made again.
    pub n_retries: u64,
    /// Limits that were reached and guardrails that decided, in words.
    pub notes: Vec<String>,
    /// How many there were.
    pub n_notes: u64,
    /// What was kept.
    pub artifacts: Artifacts,
    /// The last lines of output, without anything that a terminal would obey.
    pub output_tail: Vec<String>,
    /// The log.
    pub log: LogFacts,
    /// Whether the recordings can be relied on.
    pub recordings: RecordingsHealth,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: String,
    /// Milliseconds; null for the one that goes on.
    pub duration_ms: Option<u64>,
}

/// How many actions ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All that ended.
    pub total: u64,
    /// Known to have succeeded.
    pub succeeded: u64,
    /// Known to have failed.
    pub failed: u64,
    /// Cut short by the end of the run.
    pub cancelled: u64,
    /// Begun and not ended.
    pub open: u64,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Artifacts {
    /// Files.
    pub n_kept: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths of the first of them.
    pub names: Vec<String>,
    /// Files that were withheld, by reason.
    pub withheld: BTreeMap<&'static str, u64>,
}

/// What the log is found to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogFacts {
    /// Good events.
    pub n_events: u64,
    /// Number of the last one.
    pub last_seq: u64,
    /// Lines that are damaged.
    pub n_bad_lines: u64,
    /// Bytes behind the last whole line; 0 while somebody writes.
    pub torn_bytes: u64,
}
