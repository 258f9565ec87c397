//! The control group of a sandbox: limits that the kernel enforces for a whole tree, and what it counted.
//!
//! `host` finds what the host gives, `place` where groups may be made, `group` makes, kills and removes one, `reading`
//! reads what the kernel counted, `freezer` lets one stand still, `remains` removes what a dead run left,
//! `surroundings` is the group that an engine made around the program. Never decides what a limit means for a run.
//! Invariant: neither the supervisor nor the launch helper is ever in a sandbox's group, and a process is in it before it
//! runs anything of the workload.
//!
//! ```text
//!   supervisor: find, make, write limits --directory, task lists--> launch helper --clone3--> in-sandbox init
//!       |                                                              version 2: born in the group
//!       +-- read, kill, remove (retried)                               version 1: writes itself into the task lists
//! ```
//!
//! A write of a pid to `cgroup.procs` waits for a grace period of the kernel, 6 to 16 ms after idle. Neither way here does:
//! CLONE_INTO_CGROUP attaches what nobody else sees yet, and a thread that writes `0` to the list `tasks` of version 1 moves
//! itself alone, for which the kernel takes no lock over all threads (`cgroup_procs_write_start`).

mod freezer;
mod group;
mod host;
mod place;
mod reading;
mod remains;
mod surroundings;

pub(crate) use freezer::thaw as thaw_directory;
pub(crate) use group::{ControlGroup, GroupSpec, Joins};
pub use reading::GroupReading;
pub(crate) use remains::remove as remove_directory;
pub use remains::{kill_recorded_groups, remove_recorded_groups, remove_stale_groups};
pub use surroundings::Surroundings;

use crate::policy::Limits;
use serde::{Deserialize, Serialize};

/// What the name of every group of ours begins with; nothing else is ever removed.
pub const GROUP_PREFIX: &str = "stockade-";

/// A controller that limits or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    CpuAccounting,
    Freezer,
}

impl Controller {
    pub(crate) const ALL: [Self; 5] = [
        Self::Memory,
        Self::Pids,
        Self::Cpu,
        Self::CpuAccounting,
        Self::Freezer,
    ];

    /// The kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    /// The controllers that limits need.
    pub(crate) fn wanted(limits: &Limits) -> Vec<Self> {
        let wanted = [
            (Self::Memory, limits.memory_bytes.is_some()),
            (Self::Pids, limits.pids.is_some()),
            (Self::Cpu, limits.cpu_millis.is_some()),
        ];
        let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(controller, _)| controller).collect()
    }
}

/// A limit of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Memory, in bytes.
    Memory,
    /// Swap beside it, in bytes.
    Swap,
    /// Processes and threads of the workload.
    Pids,
    /// Processors, in thousandths.
    Cpus,
    /// The size of one file, in bytes.
    FileSize,
}

/// What holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// A control group of version 2.
    CgroupV2,
    /// A control group of version 1.
    CgroupV1,
    /// A resource limit of each process, setrlimit(2); that of processes counts all of the sandbox's user namespace.
    Rlimit,
    /// The choice of processors, sched_setaffinity(2), which the workload can change.
    Affinity,
    /// Looks from time to time by whoever holds the sandbox; what is faster than they are gets beyond the limit.
    Sampled,
}

/// A limit, and what holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcedLimit {
    /// Which one.
    pub limit: LimitKind,
    /// Its value, in the unit of its kind.
    pub value: u64,
    /// What holds it.
    pub by: Means,
}
