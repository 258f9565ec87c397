//! What a pause of a sandbox is done by.
//!
//! Owns the words. Never pauses anything itself: the control group or the in-sandbox init does.

use serde::{Deserialize, Serialize};

/// What lets the processes of a sandbox stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseMeans {
    /// The freezer of a control group of version 2.
    CgroupV2,
    /// The freezer of a control group of version 1.
    CgroupV1,
    /// SIGSTOP to each process, by the in-sandbox init.
    Signals,
}

impl PauseMeans {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::Signals => "signals",
        }
    }
}
