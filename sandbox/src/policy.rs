//! What the operator asks for.
//!
//! Owns the policy as data. Never opens or checks anything: that is the plan. Invariant: paths in a policy come from the
//! operator, never from the agent.

use crate::filter::CallGroup;
use crate::layer::Layer;
use crate::plan::{Plan, PlanError};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Home directory of the workload in tier full: an empty tmpfs.
pub const HOME: &str = "/home/agent";

/// Directory of a full sandbox into which the workload puts what its supervisor is to take out: a tmpfs of its own.
pub const OUTPUT: &str = "/output";

/// Where the workload of [`Network::Proxy`] finds the way out: a port that HTTP proxies often have, on its own loopback.
pub const PROXY_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// Default limit of /tmp, home and /dev/shm together.
pub const DEFAULT_TMP_BYTES: u64 = 512 << 20;

/// What is made in [`Policy::scratch`]: temporary files, home, and what the supervisor is to take out.
pub const SCRATCH_DIRECTORIES: [&str; 3] = ["tmp", "home", "output"];

/// How much isolation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces and a private root, or no sandbox at all.
    Full,
    /// No namespaces, as inside of an ordinary container: system calls, Landlock and an id of its own, or no sandbox at all.
    Container,
    /// None: the workload sees the host as the caller does. Only for a caller that was told so by name.
    None,
}

/// What the workload may do with a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Read, execute and write.
    ReadWrite,
}

/// What network the workload sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A namespace of its own with loopback only.
    None,
    /// The same, with a listener on [`PROXY_ADDRESS`] that is handed to the supervisor: it alone leads out.
    Proxy,
    /// The host's.
    Host,
}

/// Whether files are confined a second time, behind the private root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Landlock {
    /// By a Landlock domain, where the kernel has it.
    Restrict,
    /// No: a domain forbids every mount, also to programs that bring a sandbox of their own.
    LeaveOff,
}

/// What is hidden in /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proc {
    /// Details of the host and switches; what remains of them is read-only.
    Masked,
    /// Nothing: the kernel grants a nested sandbox a /proc of its own only where all of ours can be seen. The files'
    /// own permissions still hold, and the workload is never their owner.
    Whole,
}

/// The directory that the agent works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where the workload sees it; usually the same path, so that paths in its files hold.
    pub inside: PathBuf,
    /// What the workload may do with it.
    pub access: Access,
}

/// A file or directory of the host that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the workload sees it.
    pub target: PathBuf,
    /// What the workload may do with it.
    pub access: Access,
}

/// A directory in memory of its own, empty at first and gone with the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where the workload sees it.
    pub target: PathBuf,
    /// Its limit, in bytes.
    pub bytes: u64,
}

/// What bounds a sandbox as a whole. What is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes; tmpfs and files in memory included.
    pub memory_bytes: Option<u64>,
    /// Swap beside it, in bytes; nothing without a limit of memory.
    pub swap_bytes: u64,
    /// Processes and threads of the workload.
    pub pids: Option<u32>,
    /// Processors, in thousandths: 1,500 is one and a half.
    pub cpu_millis: Option<u32>,
    /// The size of a file that the workload writes, in bytes.
    pub file_bytes: Option<u64>,
}

/// Whose processes may be moved into a group of their own (version 2), so that the sandbox's can be made beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movable {
    /// Those of the caller's parent, who is its guardian, with all that descends from it; in a container all.
    WithParent,
    /// Those of the caller alone, with all that descends from it: its parent is whoever started it.
    Own,
}

/// What is asked for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The isolation.
    pub isolation: Isolation,
    /// The workspace, if there is one.
    pub workspace: Option<Workspace>,
    /// Keeps what the workload changes in the workspace in memory, at most so many bytes, and the host's files as they are.
    /// The access of the workspace is of no account then.
    pub overlay_bytes: Option<u64>,
    /// What is seen of the host beside the system directories.
    pub binds: Vec<Bind>,
    /// Directories in memory that the workload may write, beside `/tmp`, home and `/dev/shm`.
    pub tmpfs: Vec<Tmpfs>,
    /// Paths of the host that stay hidden even where a bind would show them.
    pub masks: Vec<PathBuf>,
    /// The network.
    pub network: Network,
    /// Limit of /tmp, home and /dev/shm together, in bytes.
    pub tmp_bytes: u64,
    /// Limit of [`OUTPUT`] in bytes, more than 0; without one there is no such directory, and neither without isolation.
    pub output_bytes: Option<u64>,
    /// System calls that the filter allows although its table denies them. With any, the layer counts as missing.
    pub allowed_calls: Vec<CallGroup>,
    /// Whether files are confined a second time.
    pub landlock: Landlock,
    /// The limits.
    pub limits: Limits,
    /// The name of the control group, behind [`GROUP_PREFIX`](crate::GROUP_PREFIX); without one there is none, and limits
    /// hold by other means.
    pub group: Option<String>,
    /// Whose processes may be moved for it.
    pub movable: Movable,
    /// The user id that the workload sees as its own; on the host it stays an unprivileged one.
    pub inside_user: Option<u32>,
    /// The group id that it sees as its own.
    pub inside_group: Option<u32>,
    /// How much of the sandbox's own /proc is left as the kernel made it.
    pub proc: Proc,
    /// Layers without which there is no sandbox at all: one that lacks any of them is not handed out.
    pub required: Vec<Layer>,
    /// In the tier container alone: an empty directory of the caller's, in which [`SCRATCH_DIRECTORIES`] are made for the
    /// workload. Whoever gave it removes it when the sandbox has ended.
    pub scratch: Option<PathBuf>,
}

impl Policy {
    /// Makes the strictest policy of an isolation: no workspace, no binds, no network.
    #[must_use]
    pub fn new(isolation: Isolation) -> Self {
        Self {
            isolation,
            workspace: None,
            overlay_bytes: None,
            binds: Vec::new(),
            tmpfs: Vec::new(),
            masks: Vec::new(),
            network: Network::None,
            tmp_bytes: DEFAULT_TMP_BYTES,
            output_bytes: None,
            allowed_calls: Vec::new(),
            landlock: Landlock::Restrict,
            limits: Limits::default(),
            group: None,
            movable: Movable::WithParent,
            inside_user: None,
            inside_group: None,
            proc: Proc::Masked,
            required: Vec::new(),
            scratch: None,
        }
    }

    /// Returns the layers that make the tier full, less those that this policy turns off itself.
    #[must_use]
    pub fn layers_of_full(&self) -> Vec<Layer> {
        let turned_off = [
            (Layer::NetworkNamespace, self.network == Network::Host),
            (Layer::Landlock, self.landlock == Landlock::LeaveOff),
            (Layer::Seccomp, !self.allowed_calls.is_empty()),
        ];
        Layer::of_full()
            .filter(|layer| !turned_off.contains(&(*layer, true)))
            .collect()
    }

    /// Opens and checks all that the policy names; later changes of the host's names do not change the plan.
    ///
    /// # Errors
    /// If a path cannot be opened, is not absolute, or lies where a policy may not put or hide it.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        Plan::new(self)
    }
}
