//! The sandbox of one command: born from this process where it is isolated, else behind a launch helper.
//!
//! Owns its end. A workload without a pid namespace needs somebody who sweeps behind it whatever happens to this process: the
//! launch helper does.

use std::io;
use std::path::Path;
use std::time::Duration;

use stockade_sandbox::{BuildError, Helper, Isolation, OwnSandbox, PlanError, Policy, Sandbox};

use crate::cli::notice;
use crate::recordings::staging::Staging;
use crate::session::start::{BUILD_LIMIT, Choice, StartError, build};
use crate::session::workload::{HELPER_ARGUMENT, chain};
use crate::supervisor::setup::SELF;

/// Longest wait for the end of everything behind a launch helper.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum HomeError {
    /// The launch helper did not start.
    #[error("the launch helper cannot be started")]
    Helper(#[source] io::Error),
    /// The sandbox could not be planned.
    #[error("the sandbox cannot be planned")]
    Plan(#[source] PlanError),
    /// The sandbox could not be built.
    #[error("the sandbox cannot be built")]
    Build(#[source] BuildError),
    /// Nor behind a launch helper.
    #[error(transparent)]
    Apart(StartError),
}

/// A sandbox, and whoever gave birth to it.
#[derive(Debug)]
pub(super) enum Home {
    /// This process.
    Own(Box<OwnSandbox>),
    /// A launch helper. The sandbox is dropped before it.
    Apart {
        sandbox: Box<Sandbox>,
        helper: Helper,
        scratch: Scratch,
    },
}

/// The directories of the command, in a container; removed when dropped, behind the end of the workload.
#[derive(Debug)]
pub(super) struct Scratch(Option<Staging>);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(Staging::remove_unnoted) {
            notice::error(&chain(&error));
        }
    }
}

impl Home {
    /// Builds it. Every signal is blocked, and this process has one thread.
    pub(super) fn build(policy: Policy, choice: Choice) -> Result<Self, HomeError> {
        if policy.isolation == Isolation::Full {
            let plan = policy.plan().map_err(HomeError::Plan)?;
            match OwnSandbox::build(plan, BUILD_LIMIT) {
                Ok(own) => return Ok(Self::Own(Box::new(own))),
                // No other tier has an overlay, and its refusal is the one to be told.
                Err(BuildError::SetUp(_))
                    if choice == Choice::Best && policy.overlay_bytes.is_none() => {}
                Err(error) => return Err(HomeError::Build(error)),
            }
        }
        let helper =
            Helper::spawn(Path::new(SELF), &[HELPER_ARGUMENT]).map_err(HomeError::Helper)?;
        let built = build(
            &helper,
            policy,
            choice,
            Staging::make_unnoted,
            Staging::remove_unnoted,
        );
        let (sandbox, scratch) = built.map_err(HomeError::Apart)?;
        let sandbox = Box::new(sandbox);
        Ok(Self::Apart {
            sandbox,
            helper,
            scratch: Scratch(scratch),
        })
    }

    /// Where the directories of the command are, in a container.
    pub(super) fn scratch(&self) -> Option<&Path> {
        match self {
            Self::Own(_) => None,
            Self::Apart { scratch, .. } => scratch.0.as_ref().map(Staging::path),
        }
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        match self {
            Self::Own(own) => own.sandbox(),
            Self::Apart { sandbox, .. } => sandbox,
        }
    }

    /// Kills everything in the sandbox, and waits until nothing of it is left.
    pub(super) fn end(self) -> io::Result<()> {
        match self {
            Self::Own(own) => own.end(),
            Self::Apart {
                sandbox,
                helper,
                scratch: _scratch,
            } => {
                let destruction = helper
                    .destroy(&sandbox, END_LIMIT)
                    .map_err(|error| io::Error::other(chain(&error)))?;
                match destruction.swept.left {
                    0 => Ok(()),
                    left => Err(io::Error::other(format!("{left} processes are left"))),
                }
            }
        }
    }
}
