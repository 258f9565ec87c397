//! The sandbox of one command: born from this process where it is isolated, else behind a launch helper.
//!
//! Owns its end. A workload without a pid namespace needs somebody who sweeps behind it whatever happens to this process: the
//! launch helper does.

use std::io;
use std::path::Path;
use std::time::Duration;

use stockade_sandbox::{BuildError, Helper, OwnSandbox, Plan, Sandbox};

use crate::description::Isolation;
use crate::session::workload::{BUILD_LIMIT, HELPER_ARGUMENT, chain};
use crate::supervisor::setup::SELF;

/// Longest wait for the end of everything behind a launch helper.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum HomeError {
    /// The launch helper did not start.
    #[error("the launch helper cannot be started")]
    Helper(#[source] io::Error),
    /// The sandbox could not be built.
    #[error("the sandbox cannot be built")]
    Build(#[source] BuildError),
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
    },
}

impl Home {
    /// Builds it. Every signal is blocked, and this process has one thread.
    pub(super) fn build(plan: Plan, isolation: Isolation) -> Result<Self, HomeError> {
        match isolation {
            Isolation::Full => {
                let own = OwnSandbox::build(plan, BUILD_LIMIT).map_err(HomeError::Build)?;
                Ok(Self::Own(Box::new(own)))
            }
            Isolation::None => {
                let helper = Helper::spawn(Path::new(SELF), &[HELPER_ARGUMENT])
                    .map_err(HomeError::Helper)?;
                let sandbox = helper.build(plan, BUILD_LIMIT).map_err(HomeError::Build)?;
                let sandbox = Box::new(sandbox);
                Ok(Self::Apart { sandbox, helper })
            }
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
            Self::Apart { sandbox, helper } => {
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
