//! The supervisor as a child process.
//!
//! Owns its command line and the descriptor numbers that it finds. Never does: talk to it (see `channel`).
//! Invariant: it is killed by the kernel if the guardian dies.
//!
//! The supervisor gets its own name for the locked `run.lock`. A flock belongs to the open file description, so the lock
//! is held as long as either of the two lives: a supervisor that is about to be killed because its guardian died cannot
//! write next to a `finalize` that believes the run to be lost. When both are dead the lock is free, provided that the
//! supervisor sets close-on-exec on it, which `take_descriptor` does.

use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::launch::{Bond, Group, Launch, Launched};
use crate::sys::ArgumentVector;

/// The supervisor's end of the socketpair.
pub const GUARDIAN_FD: RawFd = 3;
/// The run's directory in the supervisor.
pub const RUN_DIR_FD: RawFd = 4;
/// The run description in the supervisor.
pub const SPEC_FD: RawFd = 5;
/// The locked `run.lock` in the supervisor.
pub const LOCK_FD: RawFd = 6;

/// What the supervisor is given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Becomes `GUARDIAN_FD`.
    pub(crate) socket: BorrowedFd<'a>,
    /// Becomes `RUN_DIR_FD`.
    pub(crate) run_dir: BorrowedFd<'a>,
    /// Becomes `SPEC_FD`.
    pub(crate) spec: BorrowedFd<'a>,
    /// Becomes `LOCK_FD`.
    pub(crate) lock: BorrowedFd<'a>,
    /// Its process group.
    pub(crate) group: Group,
    /// The directory that the guardian was started in, if the guardian has left it.
    pub(crate) directory: Option<BorrowedFd<'a>>,
}

/// The running supervisor; alive or not yet reaped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// The process, and its way to tell that it never became the program.
    child: Launched,
}

impl Supervisor {
    /// Starts `<program> supervisor --guardian-fd 3 --run-dir-fd 4 --spec-fd 5 --lock-fd 6 <arguments>`.
    pub(crate) fn start(
        program: &CString,
        arguments: &[OsString],
        given: &Given<'_>,
    ) -> io::Result<Self> {
        let numbers = [
            ("--guardian-fd", given.socket, GUARDIAN_FD),
            ("--run-dir-fd", given.run_dir, RUN_DIR_FD),
            ("--spec-fd", given.spec, SPEC_FD),
            ("--lock-fd", given.lock, LOCK_FD),
        ];
        let mut words = vec![OsString::from("supervisor")];
        for (flag, _, number) in numbers {
            words.extend([flag.into(), number.to_string().into()]);
        }
        words.extend(arguments.iter().cloned());
        let arguments = argument_vector(program, &words)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let launch = Launch {
            program,
            arguments: &arguments,
            descriptors: &numbers.map(|(_, descriptor, number)| (descriptor, number)),
            directory: given.directory,
            bond: Bond::DiesWithGuardian,
            group: given.group,
        };
        Ok(Self {
            child: launch.start()?,
        })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Kills it. Must not be called once it is reaped: the number may be another process then.
    pub(crate) fn kill(&self) {
        // It is our child and not reaped, so the number is its own and the permission is given; a zombie takes the signal too.
        let _ = kill(Pid::from_raw(self.child.pid), Signal::SIGKILL);
    }

    /// After its death: the `errno` if it never became the program.
    pub(crate) fn start_failure(&self) -> Option<i32> {
        self.child.start_failure()
    }
}

/// The argument vector `stockade <words>`, or the program's own path first when one was asked for.
pub(crate) fn argument_vector(
    program: &CString,
    words: &[OsString],
) -> Result<ArgumentVector, NulError> {
    let name = if program.as_bytes() == SELF.as_bytes() {
        OsStr::new("stockade")
    } else {
        OsStr::from_bytes(program.as_bytes())
    };
    let strings: Result<Vec<_>, _> = [name]
        .into_iter()
        .chain(words.iter().map(OsString::as_os_str))
        .map(|word| CString::new(word.as_bytes()))
        .collect();
    Ok(ArgumentVector::new(strings?))
}

/// The running binary: what `--program` means when it is absent.
pub(crate) const SELF: &str = "/proc/self/exe";
