//! The supervisor's side of the launch helper.
//!
//! Owns the helper's process and the socket to it. Never waits without a limit.
//! Invariant: dropping the handle ends the helper, which ends every sandbox that it gave birth to, and reaps it.

use super::order::Order;
use crate::caller::{CallError, Caller};
use crate::failure::{Failure, Step};
use crate::identity::SYSTEM_ADMINISTRATION;
use crate::layer::MissingLayer;
use crate::plan::{Plan, PlanError};
use crate::policy::{Isolation, Policy};
use crate::protocol::{Destruction, HelperAnswer, HelperRequest};
use crate::sandbox::Sandbox;
use crate::sys::{credential, signal};
use crate::wire::{self, Deadline};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Time that a dropped helper has to end its sandboxes and itself before it is killed.
const EXIT_LIMIT: Duration = Duration::from_secs(6);

/// Why a sandbox cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A step of the set-up failed.
    #[error("cannot build the sandbox")]
    SetUp(#[source] Failure),
    /// It was built, and lacks a layer that the policy requires; it is gone again.
    #[error("the sandbox is not what is required")]
    Lacking(#[source] MissingLayer),
    /// The launch helper did not answer in time or is gone.
    #[error("cannot reach the launch helper")]
    Helper(#[source] io::Error),
}

/// Why neither tier can be built.
#[derive(Debug, thiserror::Error)]
pub enum BestError {
    /// The policy cannot be planned.
    #[error("cannot plan the sandbox")]
    Plan(#[source] PlanError),
    /// The tier full cannot be built, for a reason that no other tier mends.
    #[error(transparent)]
    Build(BuildError),
    /// The host refuses the tier full, and the policy cannot be planned for the tier container.
    #[error("the tier full is refused ({full}), and the tier container cannot be planned")]
    PlanContainer {
        /// Why the tier full is refused.
        full: String,
        /// Why not the other.
        source: PlanError,
    },
    /// The host refuses both.
    #[error("the tier full is refused ({full}), and the tier container as well")]
    Container {
        /// Why the tier full is refused.
        full: String,
        /// Why the other.
        source: BuildError,
    },
}

impl BestError {
    /// As [`BuildError::isolation_unavailable`].
    #[must_use]
    pub fn isolation_unavailable(&self) -> bool {
        match self {
            Self::Plan(_) => false,
            Self::Build(error) => error.isolation_unavailable(),
            Self::PlanContainer { .. } | Self::Container { .. } => true,
        }
    }
}

/// Whether the tier container is the answer: the host refuses namespaces, or root without administration cannot even try them
/// with a workspace of root.
fn is_for_container(failure: &Failure) -> bool {
    failure.isolation_unavailable()
        || failure.step == Step::MapOwners
            && !credential::has_capability(SYSTEM_ADMINISTRATION).unwrap_or(true)
}

impl BuildError {
    /// Tells whether the host refuses isolation as such. Then only a caller that is told to may go without.
    #[must_use]
    pub fn isolation_unavailable(&self) -> bool {
        match self {
            Self::SetUp(failure) => failure.isolation_unavailable(),
            Self::Lacking(_) => true,
            Self::Helper(_) => false,
        }
    }

    /// Returns the step that failed, what it was done to, and the errno.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::SetUp(failure) => Some(failure),
            Self::Lacking(_) | Self::Helper(_) => None,
        }
    }
}

/// Why a destruction cannot be confirmed.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the launch helper")]
pub struct DestroyError(#[source] io::Error);

/// The launch helper: one small process from which every sandbox is born.
#[derive(Debug)]
pub struct Helper {
    caller: Option<Caller>,
    process: Child,
    pid: i32,
}

impl Helper {
    /// Starts the helper: `program` with `args` must run [`helper_main`](crate::helper_main) and nothing else.
    ///
    /// Its environment is empty; its standard error is the caller's. It must be in the mount namespace in which plans are
    /// made, since the kernel copies no mount of another.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(program: &Path, args: &[&str]) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        // A child inherits the mask of the thread that starts it: so no signal ends the helper before its first statement.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let spawned = Command::new(program)
            .args(args)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn();
        mask.thread_set_mask()?;
        let process = spawned?;
        let pid =
            i32::try_from(process.id()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self {
            caller: Some(Caller::new(ours)),
            process,
            pid,
        })
    }

    /// Returns the helper's pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Opens a descriptor of the helper's process, which can be read when it has ended (pidfd_open(2)).
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open_process(&self) -> io::Result<OwnedFd> {
        // It is reaped by the drop of this handle and by nobody before, so the number is its own.
        signal::open_process(self.pid)
    }

    /// Builds a sandbox from a plan.
    ///
    /// # Errors
    /// If a step fails or the deadline passes; then nothing of the sandbox is left. After a deadline the helper may be
    /// stuck in the kernel: drop it.
    pub fn build(&self, plan: Plan, deadline: Duration) -> Result<Sandbox, BuildError> {
        self.build_in_place(plan, None, deadline)
    }

    /// Builds the tier full, and where the host refuses it the tier container, with what `scratch` gives then. `policy` asks for
    /// the tier full. Which tier it became, and why it is not the other, is in [`Sandbox::enforced`].
    ///
    /// # Errors
    /// As [`Helper::build`], for the one or for both.
    pub fn build_best(
        &self,
        policy: Policy,
        scratch: impl FnOnce() -> Option<PathBuf>,
        deadline: Duration,
    ) -> Result<Sandbox, BestError> {
        let plan = policy.plan().map_err(BestError::Plan)?;
        let refused = match self.build(plan, deadline) {
            Ok(sandbox) => return Ok(sandbox),
            Err(BuildError::SetUp(failure)) if is_for_container(&failure) => failure,
            Err(error) => return Err(BestError::Build(error)),
        };
        let policy = Policy {
            isolation: Isolation::Container,
            scratch: scratch(),
            ..policy
        };
        let full = refused.to_string();
        let plan = policy.plan().map_err(|source| BestError::PlanContainer {
            full: full.clone(),
            source,
        })?;
        self.build_in_place(plan, Some(full.clone()), deadline)
            .map_err(|source| BestError::Container { full, source })
    }

    fn build_in_place(
        &self,
        plan: Plan,
        refused: Option<String>,
        deadline: Duration,
    ) -> Result<Sandbox, BuildError> {
        // Before the request, so that the first process is never outside of its limits; a failed build drops them.
        let (order, spec, descriptors) = Order::new(plan, refused).map_err(BuildError::Helper)?;
        let request = HelperRequest::Build {
            plan: Box::new(spec),
            limit: deadline,
        };
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match self.call(request, &borrowed, deadline) {
            Err(error) => Err(BuildError::Helper(error)),
            Ok((HelperAnswer::Refused(failure), _)) => Err(BuildError::SetUp(failure)),
            Ok((
                HelperAnswer::Built {
                    pid,
                    missing,
                    identity,
                },
                handed_over,
            )) => {
                match order.fulfil(pid, missing, identity, handed_over)? {
                    (sandbox, None) => Ok(sandbox),
                    (sandbox, Some(layer)) => {
                        // Nothing ran in it. Where this is not confirmed, the end of its sockets ends it.
                        let _ = self.destroy(&sandbox, deadline);
                        Err(BuildError::Lacking(layer))
                    }
                }
            }
            Ok((HelperAnswer::Destroyed(_), _)) => Err(BuildError::Helper(unexpected())),
        }
    }

    /// Kills a sandbox's init, and with it everything in the sandbox, without asking the init.
    ///
    /// # Errors
    /// If the helper does not answer in time.
    pub fn destroy(
        &self,
        sandbox: &Sandbox,
        deadline: Duration,
    ) -> Result<Destruction, DestroyError> {
        // In one step where the kernel has it; the launch helper reaps, and sweeps what it has not.
        sandbox.kill_group();
        let request = HelperRequest::Destroy {
            pid: sandbox.init_pid(),
            limit: deadline,
        };
        match self.call(request, &[], deadline) {
            Ok((HelperAnswer::Destroyed(destruction), _)) => Ok(destruction),
            Ok((HelperAnswer::Built { .. } | HelperAnswer::Refused(_), _)) => {
                Err(DestroyError(unexpected()))
            }
            Err(error) => Err(DestroyError(error)),
        }
    }

    fn call(
        &self,
        request: HelperRequest,
        descriptors: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> io::Result<(HelperAnswer, Vec<OwnedFd>)> {
        // The helper gives up at the same limit, so its answer to that is waited for a little longer.
        let deadline = Deadline::after(limit.saturating_add(ANSWER_MARGIN));
        self.caller
            .as_ref()
            .ok_or(io::ErrorKind::NotConnected)?
            .call_for_descriptors(request, descriptors, deadline)
            .map_err(CallError::into_io)
    }
}

/// Time beyond a request's own limit in which its "too late" is still read.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

pub(super) fn unexpected() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the answer belongs to another request",
    )
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Closing the socket is the request to end.
        drop(self.caller.take());
        let has_ended = signal::open_process(self.pid)
            .and_then(|pidfd| wire::wait_readable(pidfd.as_fd(), Deadline::after(EXIT_LIMIT)));
        if has_ended.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
