//! Fork and exec with a clean signal state.
//!
//! Owns what happens between fork and exec. Never does: allocate or lock there (everything is laid out before the fork), or
//! wait for the exec; a failure of it is read after the child's death.
//! Invariant: the new program has an empty signal mask, default dispositions, the process group that the launch says, stdin,
//! stdout and stderr, and besides them exactly the descriptors that the launch names.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, fchdir, getpid, getppid, pipe2, read, setpgid, write};

use crate::sys::{self, ArgumentVector, Fork};

/// Lowest number of the guardian's own descriptors, so that a child can be given any number below without a clash.
pub(crate) const OWN_DESCRIPTORS_FROM: RawFd = 16;

/// Exit code of a child that could not exec. Its `errno` is in the failure pipe; the code itself is read by nobody.
const CANNOT_EXEC: i32 = 127;

/// Whether a child outlives the guardian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bond {
    /// The kernel kills the child when the guardian dies.
    DiesWithGuardian,
    /// The child goes on.
    OutlivesGuardian,
}

/// The process group of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Its own: a key on the terminal reaches the guardian alone.
    Own,
    /// The guardian's: only the foreground group may read from the terminal (termios(3)).
    Shared,
}

/// Everything that a child needs, laid out before the fork.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Absolute path.
    pub(crate) program: &'a CStr,
    /// Arguments, the name of the program first.
    pub(crate) arguments: &'a ArgumentVector,
    /// Descriptors and the numbers that the program finds them under.
    pub(crate) descriptors: &'a [(BorrowedFd<'a>, RawFd)],
    /// Working directory, if it is not the guardian's.
    pub(crate) directory: Option<BorrowedFd<'a>>,
    /// What the guardian's death means to the child.
    pub(crate) bond: Bond,
    /// Its process group.
    pub(crate) group: Group,
}

/// A child that was forked, and perhaps has become the program.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its pid.
    pub(crate) pid: i32,
    /// Carries the `errno` of a step that failed before or in exec; empty when the program started.
    failure: OwnedFd,
}

impl Launch<'_> {
    /// Starts the child. All signals must be blocked.
    pub(crate) fn start(&self) -> io::Result<Launched> {
        let (failure, report) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let failure = raise(failure)?;
        let report = raise(report)?;
        let guardian = getpid();
        match sys::fork()? {
            Fork::Child => {
                let error = self.become_program(guardian);
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                // The parent reads whatever arrives; if nothing does it sees a plain exit.
                let _ = write(&report, &errno.to_ne_bytes());
                sys::exit_at_once(CANNOT_EXEC)
            }
            Fork::Parent(pid) => {
                // Both sides set the group, so that it exists whoever runs first. After the exec this fails, and is not needed.
                if self.group == Group::Own {
                    let _ = setpgid(Pid::from_raw(pid), Pid::from_raw(pid));
                }
                Ok(Launched { pid, failure })
            }
        }
    }

    /// Runs in the child: system calls only.
    fn become_program(&self, guardian: Pid) -> io::Error {
        match self.prepare(guardian) {
            Ok(()) => sys::execute(self.program, self.arguments),
            Err(error) => error,
        }
    }

    /// Brings the child into the state that the invariant describes. The order matters where a step says so.
    fn prepare(&self, guardian: Pid) -> io::Result<()> {
        // 1. Its process group.
        if self.group == Group::Own {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        }
        // 2. The bond, and then the question whether the guardian died before it was made (prctl(2)). The guardian has one
        //    thread, so the death of "the parent's thread" is the death of the guardian.
        if self.bond == Bond::DiesWithGuardian {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != guardian {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        // 3. The directory before the program, whose path is absolute and does not care.
        if let Some(directory) = self.directory {
            fchdir(directory)?;
        }
        // 4. The descriptors. All of ours lie at OWN_DESCRIPTORS_FROM and above, so no number overwrites a source.
        for (descriptor, number) in self.descriptors {
            sys::install_descriptor(*descriptor, *number)?;
        }
        // 5. Dispositions before the mask, so that a signal that is pending already meets the default. The kernel refuses
        //    SIGKILL and SIGSTOP, which always have it.
        for signal in 1..=64 {
            let _ = sys::reset_disposition(signal);
        }
        // 6. The mask last: up to here nothing could interrupt.
        sys::set_signal_mask(0)
    }
}

impl Launched {
    /// The `errno` of a child that died without having become the program.
    pub(crate) fn start_failure(&self) -> Option<i32> {
        let mut errno = [0; 4];
        match read(&self.failure, &mut errno) {
            Ok(4) => Some(i32::from_ne_bytes(errno)),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Moves a descriptor out of the range that is given to children.
pub(crate) fn raise(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    sys::duplicate_above(descriptor.as_fd(), OWN_DESCRIPTORS_FROM)
}
