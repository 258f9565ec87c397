//! The start of a sandbox: which tier, with what directory, and why there is none.
//!
//! Owns the choice between the tiers and the errors of the start. It keeps nothing: the sandbox is the workload's.
//! Invariant: where no sandbox comes of it, nothing is left of its directory.

use std::io;
use std::time::Duration;

use stockade_sandbox::{BestError, BuildError, Helper, PlanError, Policy, Sandbox};

use crate::description::RunDescription;
use crate::description::settings::Isolation;
use crate::recordings::staging::{Staging, StagingError};
use crate::run::ErrorCode;
use crate::session::workload::chain;

/// Longest time that building the sandbox may take; it takes milliseconds.
pub const BUILD_LIMIT: Duration = Duration::from_secs(20);

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the description names cannot be put into a sandbox.
    #[error("the sandbox cannot be planned")]
    Plan(#[source] PlanError),
    /// The launch helper did not start.
    #[error("the launch helper cannot be started")]
    Helper(#[source] io::Error),
    /// The sandbox could not be built.
    #[error("the sandbox cannot be built")]
    Build(#[source] BuildError),
    /// The sandbox could not be built in the one tier nor in the other.
    #[error("the sandbox cannot be built")]
    Best(#[source] BestError),
    /// There is no directory for what belongs to the run.
    #[error("the directory of the run cannot be made")]
    Scratch(#[source] StagingError),
    /// The sandbox cannot be watched.
    #[error("the sandbox cannot be watched")]
    Watch(#[source] io::Error),
}

impl StartError {
    /// The error code of a run that ends with this.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Build(error) if error.isolation_unavailable() => ErrorCode::IsolationUnavailable,
            Self::Best(error) if error.isolation_unavailable() => ErrorCode::IsolationUnavailable,
            Self::Plan(_)
            | Self::Helper(_)
            | Self::Build(_)
            | Self::Best(_)
            | Self::Scratch(_)
            | Self::Watch(_) => ErrorCode::SetupFailed,
        }
    }

    /// Whether a sandbox was built and lacks what is required.
    pub fn is_lacking(&self) -> bool {
        matches!(
            self,
            Self::Build(BuildError::Lacking(_))
                | Self::Best(
                    BestError::Build(BuildError::Lacking(_))
                        | BestError::Container {
                            source: BuildError::Lacking(_),
                            ..
                        }
                )
        )
    }
}

/// Which tier is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// That of the policy.
    Named,
    /// The tier full, or where the host refuses it the tier container.
    Best,
}

impl Choice {
    /// What a description leaves open.
    pub fn of(description: &RunDescription) -> Self {
        let is_open = description.isolation == Isolation::Full;
        match is_open && description.requirement.allows_container() {
            true => Self::Best,
            false => Self::Named,
        }
    }
}

/// Builds the sandbox of a policy; blocks. The directory of the run comes with it where there is one, made by `make_staging`; where
/// there is no sandbox it is removed by `remove`.
///
/// # Errors
/// When a path of the policy cannot be opened, or the host refuses a layer.
pub fn build(
    helper: &Helper,
    mut policy: Policy,
    choice: Choice,
    make_staging: impl FnOnce() -> Result<Staging, StagingError>,
    remove: impl FnOnce(Staging) -> Result<(), StagingError>,
) -> Result<(Sandbox, Option<Staging>), StartError> {
    let mut staging = None;
    let make = || {
        let made = make_staging()?;
        let path = made.path().to_owned();
        staging = Some(made);
        Ok(path)
    };
    let built = match choice {
        Choice::Best => {
            let mut failure = None;
            let scratch = || make().map_err(|error| failure = Some(error)).ok();
            let built = helper.build_best(policy, scratch, BUILD_LIMIT);
            match failure {
                Some(error) => Err(StartError::Scratch(error)),
                None => built.map_err(StartError::Best),
            }
        }
        Choice::Named => {
            let planned = if policy.isolation == stockade_sandbox::Isolation::Container {
                make().map(|path| policy.scratch = Some(path))
            } else {
                Ok(())
            };
            planned
                .map_err(StartError::Scratch)
                .and_then(|()| policy.plan().map_err(StartError::Plan))
                .and_then(|plan| helper.build(plan, BUILD_LIMIT).map_err(StartError::Build))
        }
    };
    match (built, staging) {
        (Ok(sandbox), staging) => Ok((sandbox, staging)),
        (Err(error), None) => Err(error),
        (Err(error), Some(staging)) => {
            if let Err(error) = remove(staging) {
                tracing::warn!(
                    error = chain(&error),
                    "the directory of the run was not removed"
                );
            }
            Err(error)
        }
    }
}
