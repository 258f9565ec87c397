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

/// Limits that can be reached, each by the key that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitRule {
    /// `max_steps`.
    #[serde(rename = "max_steps")]
    MaxSteps,
    /// `limits.output`, in bytes.
    #[serde(rename = "limits.output")]
    Output,
    /// `limits.memory`, in bytes.
    #[serde(rename = "limits.memory")]
    Memory,
    /// `limits.pids`.
    #[serde(rename = "limits.pids")]
    Pids,
    /// `limits.disk`, in bytes.
    #[serde(rename = "limits.disk")]
    Disk,
    /// `timeout_seconds`.
    #[serde(rename = "timeout_seconds")]
    Timeout,
    /// `timeout` of a playbook's step, in milliseconds.
    #[serde(rename = "steps.timeout")]
    StepTimeout,
    /// Attempts at steps of a playbook; no key sets it.
    #[serde(rename = "steps.attempts")]
    StepAttempts,
    /// Skipped steps of a playbook, each time counted; no key sets it.
    #[serde(rename = "steps.skipped")]
    StepsSkipped,
    /// `idle_timeout_seconds`.
    #[serde(rename = "idle_timeout_seconds")]
    IdleTimeout,
}

impl LimitRule {
    /// Every rule.
    pub const ALL: [Self; 10] = [
        Self::MaxSteps,
        Self::Output,
        Self::Memory,
        Self::Pids,
        Self::Disk,
        Self::Timeout,
        Self::StepTimeout,
        Self::StepAttempts,
        Self::StepsSkipped,
        Self::IdleTimeout,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxSteps => "max_steps",
            Self::Output => "limits.output",
            Self::Memory => "limits.memory",
            Self::Pids => "limits.pids",
            Self::Disk => "limits.disk",
            Self::Timeout => "timeout_seconds",
            Self::StepTimeout => "steps.timeout",
            Self::StepAttempts => "steps.attempts",
            Self::StepsSkipped => "steps.skipped",
            Self::IdleTimeout => "idle_timeout_seconds",
        }
    }
}

/// What follows from a limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitDecision {
    /// The run is stopped by its ladder.
    Stop,
    /// The whole workload is killed, and the run ends.
    Kill,
    /// One action is ended; the run goes on.
    EndAction,
    /// No further step of a playbook begins but those of `finally`.
    EndSteps,
    /// The kernel killed a process of the workload; the run goes on.
    KillProcess,
    /// The kernel refused a process or thread; the run goes on.
    RefuseProcess,
}

impl LimitDecision {
    /// Every decision.
    pub const ALL: [Self; 6] = [
        Self::Stop,
        Self::Kill,
        Self::EndAction,
        Self::EndSteps,
        Self::KillProcess,
        Self::RefuseProcess,
    ];
}

/// A limit was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Which one.
    pub rule: LimitRule,
    /// What follows.
    pub decision: LimitDecision,
    /// Its value, in the unit of its key.
    pub limit: u64,
    /// What follows, one sentence.
    pub detail: String,
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

/// A file was added to the run's artifacts, or was found and withheld from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactAdded {
    /// Path below `artifacts/`; of what was withheld, the path that it would have had.
    pub path: String,
    /// Media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes; 0 for what is no file.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal; empty, and left out, for what was withheld.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub sha256: String,
    /// Why it was not kept; absent for what was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withheld: Option<Withheld>,
    /// True when it holds something secret and was kept all the same, because the description says so.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub has_secret: bool,
}

/// Why a file that the workload left was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// Its name or content holds a secret.
    Secret,
    /// It is a symbolic link.
    Link,
    /// It is a socket, a fifo or a device.
    Special,
    /// It is a hard link to a file of somebody else.
    HardLink,
    /// Its name is longer than a path of a recording, or has control characters or bytes that are not UTF-8.
    Name,
    /// It lies deeper than a path of a recording.
    TooDeep,
    /// It is larger than `recording.artifact_bytes`.
    TooLarge,
    /// It would make more than `recording.artifact_total_bytes`.
    BeyondTotal,
    /// There are `recording.artifact_files` already.
    TooMany,
    /// An artifact has its path already.
    Exists,
    /// It cannot be read.
    Unreadable,
    /// It changed while it was copied.
    Changed,
    /// The disk of the recordings is full.
    NoSpace,
    /// It could not be written.
    NotWritten,
}

impl Withheld {
    /// Every reason, in the order of the table in `docs/recording.md`.
    pub const ALL: [Self; 14] = [
        Self::Secret,
        Self::Link,
        Self::Special,
        Self::HardLink,
        Self::Name,
        Self::TooDeep,
        Self::TooLarge,
        Self::BeyondTotal,
        Self::TooMany,
        Self::Exists,
        Self::Unreadable,
        Self::Changed,
        Self::NoSpace,
        Self::NotWritten,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Link => "link",
            Self::Special => "special",
            Self::HardLink => "hard-link",
            Self::Name => "name",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::BeyondTotal => "beyond-total",
            Self::TooMany => "too-many",
            Self::Exists => "exists",
            Self::Unreadable => "unreadable",
            Self::Changed => "changed",
            Self::NoSpace => "no-space",
            Self::NotWritten => "not-written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_names_of_their_keys_on_the_wire_and_in_the_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guardrails.md");
        let page = std::fs::read_to_string(path).unwrap();
        for rule in LimitRule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
            assert!(page.contains(&format!("`{}`", rule.as_str())), "{rule:?}");
        }
        for decision in LimitDecision::ALL {
            let name = serde_json::to_value(decision).unwrap();
            let name = name.as_str().unwrap();
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn reasons_have_their_names_on_the_wire_and_in_the_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recording.md");
        let page = std::fs::read_to_string(path).unwrap();
        for reason in Withheld::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            let row = format!("| `{}` |", reason.as_str());
            assert!(page.contains(&row), "{row}");
        }
    }
}
