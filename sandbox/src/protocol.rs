//! What supervisor, launch helper and in-sandbox init say to each other.
//!
//! Owns the messages. Every request has a number that its answer repeats, so that the answer to a request that was given
//! up is told from the one that is waited for.

use crate::failure::Failure;
use crate::identity::Identity;
use crate::layer::{Layer, MissingLayer};
use crate::plan::{PlanSpec, Planned};
use crate::probe::Probe;
use crate::sweep::KillReport;
use crate::taken::Taken;
use crate::terminal::TerminalSize;
use crate::text::Text;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request<T> {
    pub(crate) number: u64,
    pub(crate) body: T,
}

/// An answer with the number of its request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer<T> {
    pub(crate) number: u64,
    pub(crate) body: T,
}

/// Supervisor to launch helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HelperRequest {
    /// Build a sandbox. Descriptors: the init's control socket, its report socket, those of the control group, then one for
    /// each bind.
    Build {
        plan: Box<PlanSpec>,
        limit: Duration,
    },
    /// Kill a sandbox's init and what it leaves.
    Destroy { pid: i32, limit: Duration },
}

/// Launch helper to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HelperAnswer {
    /// Descriptors: those of [`HandedOver`].
    Built {
        pid: i32,
        missing: Vec<MissingLayer>,
        identity: Identity,
    },
    Refused(Failure),
    Destroyed(Destruction),
}

/// What a destruction found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// Raw wait status of the init; `None` if it had been reaped before.
    pub init_status: Option<i32>,
    /// What outlived the init, which happens only without a pid namespace.
    pub swept: KillReport,
}

/// What a sandbox hands to its supervisor: in this order, as far as its plan has it.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// The output directory.
    pub(crate) output: Option<OwnedFd>,
    /// The listener of the proxy.
    pub(crate) listener: Option<OwnedFd>,
    /// The overlay of the workspace.
    pub(crate) overlay: Option<Overlay>,
}

/// The sides of the overlay of a workspace, each a directory. They can be read as long as they are held, also when nothing of the
/// sandbox lives any more, and what was written is memory until then.
#[derive(Debug)]
pub struct Overlay {
    /// What the workload wrote.
    pub above: OwnedFd,
    /// The files of the host, as the sandbox mounts them: read-only.
    pub below: OwnedFd,
    /// Both, as the workload sees them.
    pub merged: OwnedFd,
}

impl Overlay {
    /// The same with descriptors of its own.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            above: self.above.try_clone()?,
            below: self.below.try_clone()?,
            merged: self.merged.try_clone()?,
        })
    }
}

impl HandedOver {
    /// Sorts what came by what was planned; none when it is not that.
    pub(crate) fn received(plan: Planned, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut next = |is_planned: bool| match is_planned {
            true => descriptors.next().map(Some),
            false => Some(None),
        };
        let handed_over = Self {
            output: next(plan.output)?,
            listener: next(plan.listener)?,
            overlay: match (
                next(plan.overlay)?,
                next(plan.overlay)?,
                next(plan.overlay)?,
            ) {
                (Some(above), Some(below), Some(merged)) => Some(Overlay {
                    above,
                    below,
                    merged,
                }),
                _ => None,
            },
        };
        descriptors.next().is_none().then_some(handed_over)
    }

    /// The descriptors, to be sent.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let overlay = self.overlay.iter();
        let sides = overlay.flat_map(|overlay| [&overlay.above, &overlay.below, &overlay.merged]);
        self.output.iter().chain(&self.listener).chain(sides)
    }
}

/// Launch helper to the child that becomes the init: the id maps are written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Go;

/// The child to the launch helper: how the set-up ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SetUp {
    /// Descriptors: those of [`HandedOver`].
    Ready(Vec<MissingLayer>),
    Failed(Failure),
}

/// Supervisor to init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitRequest {
    /// Launch. Descriptors: standard input, output and error, then one for each extra number.
    Launch(LaunchSpec),
    Signal {
        target: Target,
        signo: i32,
    },
    /// Make a terminal.
    OpenTerminal(TerminalSize),
    Count,
    /// Count what is not kept apart.
    CountRest,
    /// Count what descends from a kept launch.
    CountTree(LaunchId),
    /// Kill what descends from a kept launch, and let its keeper go.
    KillTree {
        launch: LaunchId,
        limit: Duration,
    },
    /// Let the keeper of a launch that has ended go.
    LetGo(LaunchId),
    /// Say what the workload takes; shared memory is counted once beyond so many bytes.
    Measure {
        bound: u64,
    },
    KillAll {
        limit: Duration,
    },
    /// Stop every process until [`InitRequest::Resume`].
    Pause,
    /// Continue what was stopped for a pause, and nothing else.
    Resume,
    /// Kill what is not kept apart.
    KillRest {
        limit: Duration,
    },
}

/// What to launch, on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LaunchSpec {
    pub(crate) arguments: Vec<Text>,
    /// Entries `NAME=value`.
    pub(crate) environment: Vec<Text>,
    pub(crate) directory: Text,
    /// The numbers at which the extra descriptors are placed.
    pub(crate) extra: Vec<i32>,
    /// Whether its descendants stay together until it is let go.
    pub(crate) is_kept: bool,
    /// Whether it is kept apart from the rest of the sandbox.
    pub(crate) is_apart: bool,
    /// Whether standard input, if it is a terminal, becomes the controlling one.
    pub(crate) takes_terminal: bool,
    /// What to look at in the place of executing a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<Probe>,
}

/// Init to supervisor, on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitAnswer {
    Started {
        launch: LaunchId,
        pid: i32,
    },
    /// Descriptors: master, slave.
    Terminal,
    Done,
    Counted(u32),
    Measured(Taken),
    Killed(KillReport),
    Failed(Failure),
}

/// Names one launch of a sandbox; never reused in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaunchId(pub u64);

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The process group that the launch leads.
    Launch(LaunchId),
    /// A kept launch and all that descends from it, whatever sessions and groups it has made.
    Tree(LaunchId),
    /// Every process of the sandbox but its init.
    All,
    /// Every process but the init, the launches that are kept apart and what descends from those.
    Rest,
}

/// How the main process of a launch ended. An exit with code 137 and a death by SIGKILL are different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited by itself.
    Exited {
        /// The exit code.
        code: u8,
    },
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl End {
    /// Reads a raw wait status, wait(2).
    #[must_use]
    pub fn from_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 {
            let [_, code, ..] = status.to_le_bytes();
            Self::Exited { code }
        } else {
            Self::Signaled {
                signal,
                core_dumped: status & 0x80 != 0,
            }
        }
    }
}

/// The end of a launch: its main process, whatever it left running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which launch.
    pub launch: LaunchId,
    /// How it ended.
    pub end: End,
    /// The raw wait status.
    pub status: i32,
    /// Processor time in user mode, of the process and its reaped children.
    pub user_cpu: Duration,
    /// Processor time in the kernel, of the process and its reaped children.
    pub system_cpu: Duration,
    /// Peak resident memory of the largest of them.
    pub max_rss_bytes: u64,
    /// When it was started, on the monotonic clock of the host.
    pub started: Duration,
    /// When it was reaped, on the monotonic clock of the host.
    pub ended: Duration,
}

impl Report {
    /// Returns how long the launch took.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.ended.saturating_sub(self.started)
    }
}

/// Reports a layer that a policy turned off.
pub(crate) fn not_asked_for(layer: Layer) -> MissingLayer {
    MissingLayer::new(layer, "the policy does not ask for it")
}

#[cfg(test)]
mod tests {
    use super::End;

    #[test]
    fn exit_137_is_not_a_sigkill() {
        let table = [
            (0, End::Exited { code: 0 }),
            (137 << 8, End::Exited { code: 137 }),
            (255 << 8, End::Exited { code: 255 }),
            (
                9,
                End::Signaled {
                    signal: 9,
                    core_dumped: false,
                },
            ),
            (
                11 | 0x80,
                End::Signaled {
                    signal: 11,
                    core_dumped: true,
                },
            ),
            (
                64,
                End::Signaled {
                    signal: 64,
                    core_dumped: false,
                },
            ),
        ];
        for (status, end) in table {
            assert_eq!(End::from_status(status), end, "{status:#x}");
        }
    }
}
