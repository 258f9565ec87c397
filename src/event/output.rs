//! Output, diagnostics and limits.

use serde::{Deserialize, Serialize};

/// Which stream of a process a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, as valid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionOutput {
    /// The action that printed it; absent for output of the agent itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<u64>,
    /// The call that printed it; absent for output of the agent itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<String>,
    /// Where it was printed.
    pub stream: Stream,
    /// The text; bytes that are not UTF-8 stand as U+FFFD.
    pub text: String,
    /// Bytes that the process wrote for this piece.
    pub bytes: u64,
    /// True when bytes were not UTF-8.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub lossy: bool,
}

/// Something said or thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Who said it, as the agent named it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// The text, cut at a limit.
    pub text: String,
}

/// Limits that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// `max_steps`.
    MaxSteps,
    /// `limits.output`.
    Output,
    /// `timeout_seconds`.
    Timeout,
    /// `timeout` of a playbook's step, in milliseconds.
    StepTimeout,
    /// `idle_timeout_seconds`.
    IdleTimeout,
    /// `recording.max_bytes`.
    RecordingBytes,
    /// Space on the recordings file system.
    RecordingsSpace,
}

/// A limit was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Which one.
    pub limit: LimitName,
    /// Its value, in the unit of its key.
    pub value: u64,
    /// What follows from it, one sentence.
    pub decision: String,
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something is not as it should be; the run goes on.
    Warn,
    /// Something failed.
    Error,
}

/// A diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How grave it is.
    pub level: Level,
    /// One sentence.
    pub message: String,
    /// Who says so: `supervisor`, `agent`, `guardian`, `finalize`.
    pub source: String,
}

/// A line of the agent that no adapter understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    /// The line, cut at a limit.
    pub line: String,
    /// Bytes that the whole line had.
    pub bytes: u64,
}

/// A file was added to the run's artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactAdded {
    /// Path below `artifacts/`.
    pub path: String,
    /// Media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
}
