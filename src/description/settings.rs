//! The closed sets of values that keys of the run description take, spelt on the wire as in the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::egress::AllowList;

/// How the command's output becomes actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adapter {
    /// The whole command is one action.
    #[default]
    None,
    /// Each JSON line with the fields of an action is one.
    Jsonl,
}

/// What the workload may do with a part of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading alone.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// What the workload may do with the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkspaceMode {
    /// Reading and writing.
    ReadWrite,
    /// Reading alone.
    ReadOnly,
    /// Reading and writing, while the host's files stay as they are.
    Overlay,
}

impl WorkspaceMode {
    /// The workspace, if what the workload does to it is done on the host.
    pub(super) fn writable(self, workspace: &Path) -> Option<&Path> {
        (self.access() == Access::ReadWrite).then_some(workspace)
    }

    /// What becomes of the host's files.
    pub fn access(self) -> Access {
        match self {
            Self::ReadWrite => Access::ReadWrite,
            Self::ReadOnly | Self::Overlay => Access::ReadOnly,
        }
    }
}

/// What the workload reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Its own loopback alone.
    #[default]
    None,
    /// Its own loopback, and through the egress proxy what these rules name.
    Allow(AllowList),
    /// Whatever the host reaches.
    Host,
}

/// The tier that is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces and a private root. Where the host refuses them the tier container is built, unless every layer of this one
    /// must hold.
    #[default]
    Full,
    /// No namespaces: system calls, Landlock and an id.
    Container,
    /// No layer; somebody named it.
    None,
}

/// A file or directory of the host that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the host: absolute, existing, links resolved.
    pub source: PathBuf,
    /// Where the workload sees it: absolute, without `..`.
    pub target: PathBuf,
    /// What the workload may do with it.
    pub access: Access,
    /// The key that gave it.
    pub key: MountKey,
}

/// The keys that give mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKey {
    /// `mounts`, and presets.
    Mounts,
    /// `ro`.
    Ro,
    /// `rw`.
    Rw,
}

/// A directory in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where the workload sees it: absolute, without `..`.
    pub target: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// The limits of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most output that is recorded, in bytes.
    pub output_bytes: u64,
    /// Memory, in bytes; that of an outer control group counts if it is less.
    pub memory_bytes: u64,
    /// Swap beside it, in bytes.
    pub swap_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Processors, in thousandths; none for all that there are.
    pub cpu_millis: Option<u32>,
    /// What the workload writes to the workspace and to mounts, in bytes; none without a limit.
    pub disk_bytes: Option<u64>,
}

impl Limits {
    /// The limits under their keys, as the file has them.
    pub(super) fn public(&self) -> serde_json::Value {
        serde_json::json!({
            "output": self.output_bytes,
            "memory": self.memory_bytes,
            "swap": self.swap_bytes,
            "pids": self.pids,
            "cpus": self.cpu_millis.map(|millis| f64::from(millis) / 1_000.0),
            "disk": self.disk_bytes.unwrap_or(0),
        })
    }
}

/// The result that a run has to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The JSON schema that it satisfies; any JSON does without one.
    pub schema: Option<serde_json::Value>,
    /// The file below the workspace that has it; without one the agent reports or prints it.
    pub file: Option<String>,
}

/// How the run is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// When readers may see an event.
    pub durability: Durability,
    /// The size at which a file of the action log is sealed, in bytes.
    pub segment_bytes: u64,
    /// What happens when the action log cannot be synced.
    pub on_error: OnError,
    /// What happens when the disk is full.
    pub on_full: OnFull,
    /// Whether what is shown is recorded in `terminal.cast`.
    pub terminal: bool,
    /// The size at which that recording is cut, in bytes.
    pub terminal_bytes: u64,
}

/// What is kept of the files that the workload leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    /// Patterns that choose files of the workspace; each is one that `recordings::pattern` takes.
    pub patterns: Vec<String>,
    /// Most files; with 0 nothing is kept, and there is no output directory.
    pub max_files: u64,
    /// Most bytes of one file.
    pub max_file_bytes: u64,
    /// Most bytes of all of them, and the size of the output directory.
    pub max_total_bytes: u64,
    /// What happens to files that hold secrets.
    pub secrets: ArtifactSecrets,
}

/// What happens to files that hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactSecrets {
    /// They are not kept, and the record says so.
    #[default]
    Withhold,
    /// They are kept, and the record says that they hold one.
    Flag,
}

/// When readers may see an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// As soon as it is written to the file.
    #[default]
    Written,
    /// Only when it is synced to the disk.
    Durable,
}

/// What happens when the action log cannot be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The run is stopped.
    #[default]
    Stop,
    /// The run goes on, and the status says that the recording is unhealthy.
    Continue,
}

/// What happens when the disk of the recordings is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// The workload is paused until there is space, or the deadline comes.
    #[default]
    Pause,
    /// The run fails.
    Fail,
}
