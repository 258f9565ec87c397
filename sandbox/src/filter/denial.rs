//! One row of the table: calls, condition, answer, reason.
//!
//! Owns the form of a row and the closed list of groups. Never knows a number of its own.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A set of denials that a preset can lift as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallGroup {
    /// New namespaces and entering those of others.
    Namespaces,
    /// Mounts and roots.
    Mounts,
    /// Set-user-id and set-group-id bits on files.
    SetidBits,
    /// Sockets of other families, kinds and protocols than everyday programs use.
    Sockets,
    /// Kernel keyrings.
    Keys,
    /// Asynchronous calls that no filter sees.
    IoUring,
    /// Memory and descriptors of other processes.
    OtherProcesses,
    /// Programs in the kernel.
    Bpf,
    /// Performance counters.
    Perf,
    /// Page faults handled by programs.
    Userfaultfd,
    /// Files by handle instead of by path.
    FileHandles,
    /// Watching whole file systems.
    Fanotify,
    /// Writing into terminals as if somebody typed.
    Terminals,
    /// Placement of memory on a machine with several nodes.
    Numa,
    /// Other execution domains than plain Linux.
    Personality,
    /// The clock of the machine.
    Clock,
    /// Modules, swap, reboot and other administration.
    Administration,
    /// Calls that the kernel has given up.
    Obsolete,
    /// Calls about security modules and other new ones that nothing needs yet.
    Newest,
}

impl CallGroup {
    /// Every group, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::Namespaces,
        Self::Mounts,
        Self::SetidBits,
        Self::Sockets,
        Self::Keys,
        Self::IoUring,
        Self::OtherProcesses,
        Self::Bpf,
        Self::Perf,
        Self::Userfaultfd,
        Self::FileHandles,
        Self::Fanotify,
        Self::Terminals,
        Self::Numa,
        Self::Personality,
        Self::Clock,
        Self::Administration,
        Self::Obsolete,
        Self::Newest,
    ];

    /// Returns the name by which presets and documentation call the group.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Mounts => "mounts",
            Self::SetidBits => "setid-bits",
            Self::Sockets => "sockets",
            Self::Keys => "keys",
            Self::IoUring => "io-uring",
            Self::OtherProcesses => "other-processes",
            Self::Bpf => "bpf",
            Self::Perf => "perf",
            Self::Userfaultfd => "userfaultfd",
            Self::FileHandles => "file-handles",
            Self::Fanotify => "fanotify",
            Self::Terminals => "terminals",
            Self::Numa => "numa",
            Self::Personality => "personality",
            Self::Clock => "clock",
            Self::Administration => "administration",
            Self::Obsolete => "obsolete",
            Self::Newest => "newest",
        }
    }
}

/// One system call of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: u32,
}

/// A condition on one argument. Only the lower 32 bits count, as the kernel's own types of these arguments do: a
/// comparison of all 64 is passed by setting an upper bit (CVE-2019-10063).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// At least one of the bits is set.
    AnyBit {
        /// Which argument, from 0.
        argument: u8,
        /// The bits.
        bits: u32,
    },
    /// What the mask leaves is one of the values.
    In {
        /// Which argument, from 0.
        argument: u8,
        /// What is looked at.
        mask: u32,
        /// The values.
        values: &'static [u32],
    },
    /// What the mask leaves is none of the values.
    NotIn {
        /// Which argument, from 0.
        argument: u8,
        /// What is looked at.
        mask: u32,
        /// The values.
        values: &'static [u32],
    },
}

/// One row: these calls, under this condition, are answered with this error, for this reason.
#[derive(Debug, Clone, Copy)]
pub struct Denial {
    /// The group that lifts the row.
    pub group: CallGroup,
    /// The calls.
    pub calls: &'static [Call],
    /// What must hold, all together; with none the calls are denied whatever their arguments are.
    pub checks: &'static [Check],
    /// The condition in words; empty without one.
    pub when: &'static str,
    /// What the caller gets.
    pub answer: Errno,
    /// Why.
    pub reason: &'static str,
}

impl Denial {
    /// Returns the row as the documentation has it.
    #[must_use]
    pub fn documentation(&self) -> String {
        let calls: Vec<_> = self
            .calls
            .iter()
            .map(|call| format!("`{}`", call.name))
            .collect();
        let when = if self.when.is_empty() {
            String::new()
        } else {
            format!(" {}", self.when)
        };
        format!(
            "| `{}` | {}{when} | {:?} | {} |",
            self.group.as_str(),
            calls.join(", "),
            self.answer,
            self.reason
        )
    }
}
