//! A sandbox that is born from the process that uses it, without a launch helper between the two.
//!
//! Owns the init's process. Never used by a process with several threads: a fork copies their locks, and the init's death
//! signal is bound to the thread that forked it. Invariant: dropping the handle kills everything in the sandbox and reaps
//! the init; so does the end of the calling process, whatever ends it, but for the reaping.
//!
//! What the launch helper is for is not needed here: the caller has few pages and one sandbox. The init has a copy of the
//! caller's memory, which the workload cannot read.

use super::birth::{self, Born};
use super::client::BuildError;
use super::order::Order;
use crate::confine::Parent;
use crate::plan::Plan;
use crate::policy::Isolation;
use crate::sandbox::Sandbox;
use crate::sys::{process, signal};
use crate::wire::{self, Deadline};
use nix::libc;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Time for the end of the init and of all that it takes along; milliseconds.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Links of the directory of a process's threads when there is one thread: `.`, `..`'s and the thread's own.
const LINKS_OF_ONE_THREAD: u64 = 3;

/// A sandbox of the tier full whose launch helper is the calling process.
#[derive(Debug)]
pub struct OwnSandbox {
    /// Let go of last, behind the end of its processes.
    sandbox: Sandbox,
    /// None once it was reaped.
    init: Option<i32>,
    _lifeline: OwnedFd,
}

impl OwnSandbox {
    /// Builds a sandbox from a plan of the tier full. The caller has one thread and every signal blocked, and reaps no child
    /// that it does not know.
    ///
    /// # Errors
    /// If a step fails, a required layer is missing, the deadline passes, the caller has several threads, or the plan is
    /// not isolated; then nothing of the sandbox is left.
    pub fn build(plan: Plan, limit: Duration) -> Result<Self, BuildError> {
        if plan.spec.isolation != Isolation::Full || !has_one_thread() {
            return Err(BuildError::Helper(io::ErrorKind::Unsupported.into()));
        }
        // An inherited wish not to hear of children would reap them.
        signal::reset_disposition(libc::SIGCHLD).map_err(BuildError::Helper)?;
        let (order, spec, descriptors) = Order::new(plan, None).map_err(BuildError::Helper)?;
        let Born {
            pid,
            lifeline,
            missing,
            identity,
            handed_over,
        } = birth::build(spec, descriptors, Deadline::after(limit), Parent::Caller)
            .map_err(BuildError::SetUp)?;
        let (sandbox, lacking) = order.fulfil(pid, missing, identity, handed_over)?;
        let own = Self {
            sandbox,
            init: Some(pid),
            _lifeline: lifeline,
        };
        match lacking {
            None => Ok(own),
            Some(layer) => Err(BuildError::Lacking(layer)),
        }
    }

    /// The sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Kills everything in the sandbox, and waits until nothing of it is left.
    ///
    /// # Errors
    /// `TimedOut` if that takes more than 5 s, as with a process that hangs in the kernel.
    pub fn end(mut self) -> io::Result<()> {
        self.kill()
    }

    fn kill(&mut self) -> io::Result<()> {
        let Some(init) = self.init.take() else {
            return Ok(());
        };
        // The kernel kills and reaps the rest of a pid namespace before its init can be reaped. The pid names nobody else
        // until then.
        let descriptor = signal::open_process(init)?;
        signal::send(init, libc::SIGKILL)?;
        wire::wait_readable(descriptor.as_fd(), Deadline::after(END_LIMIT))?;
        process::reap_exactly(init)
    }
}

impl Drop for OwnSandbox {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn has_one_thread() -> bool {
    fs::metadata("/proc/self/task").is_ok_and(|task| task.nlink() == LINKS_OF_ONE_THREAD)
}
