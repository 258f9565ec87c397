//! What is launched into a sandbox, and why it may not start.
//!
//! Owns the launch as the caller gives it. Never reads the caller's environment or directory.

use crate::failure::{Failure, Step};
use crate::protocol::LaunchSpec;
use crate::text::Text;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Highest number at which an extra descriptor may be placed; the copies above it must fit the usual limit of 1,024.
pub const HIGHEST_EXTRA: i32 = 255;

/// Most extra descriptors of a launch, so that all travel in one packet.
pub const MAX_EXTRA: usize = 200;

/// A program to run in a sandbox.
#[derive(Debug)]
pub struct Launch {
    /// The arguments; the first is also the program, searched in the launch's own PATH if it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, as the sandbox sees it.
    pub cwd: PathBuf,
    /// Standard input, output and error. The workload can open a file again by /proc/self/fd, as far as the file's
    /// permissions allow, so a pipe is safer than a file. Directories are refused.
    pub stdio: [OwnedFd; 3],
    /// Further descriptors and the numbers that they get, from 3 to [`HIGHEST_EXTRA`].
    pub extra: Vec<(OwnedFd, i32)>,
}

/// Why a launch did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such program; shells exit with 127.
    #[error("cannot find the program {program}")]
    NotFound {
        /// The program as named.
        program: String,
    },
    /// The program is there but cannot be executed; shells exit with 126.
    #[error("cannot execute the program {program}: {}", Errno::from_raw(*errno))]
    NotExecutable {
        /// The program as named.
        program: String,
        /// EACCES, ENOEXEC or what else execve said.
        errno: i32,
    },
    /// Another step failed.
    #[error("cannot start the launch")]
    Refused(#[source] Failure),
    /// The launch contradicts itself; nothing was sent.
    #[error("the launch is not valid: {0}")]
    Invalid(&'static str),
    /// The request was not sent; the launch did not start.
    #[error("cannot send the launch to the sandbox")]
    NotSent(#[source] io::Error),
    /// The answer did not come: whether the launch started is not known. Kill everything or destroy the sandbox.
    #[error("the sandbox did not answer the launch")]
    NoAnswer(#[source] io::Error),
}

impl LaunchError {
    /// Sorts a failure that the init reported.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        match (failure.step, Errno::from_raw(failure.errno)) {
            (Step::Execute, Errno::ENOENT | Errno::ENOTDIR) => Self::NotFound {
                program: failure.object,
            },
            (Step::Execute, Errno::ETIMEDOUT) => Self::Refused(failure),
            (Step::Execute, _) => Self::NotExecutable {
                program: failure.object,
                errno: failure.errno,
            },
            _ => Self::Refused(failure),
        }
    }
}

impl Launch {
    /// Takes the launch apart into its message and its descriptors, in the order in which they travel.
    pub(crate) fn into_wire(self) -> Result<(LaunchSpec, Vec<OwnedFd>), LaunchError> {
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(LaunchError::Invalid("it has no program"));
        }
        if !self.cwd.is_absolute() {
            return Err(LaunchError::Invalid("its directory is not absolute"));
        }
        let numbers: HashSet<i32> = self.extra.iter().map(|(_, number)| *number).collect();
        if numbers.len() != self.extra.len() {
            return Err(LaunchError::Invalid("two descriptors have one number"));
        }
        if !numbers
            .iter()
            .all(|number| (3..=HIGHEST_EXTRA).contains(number))
        {
            return Err(LaunchError::Invalid(
                "a descriptor's number is out of range",
            ));
        }
        if self.extra.len() > MAX_EXTRA {
            return Err(LaunchError::Invalid("it has too many descriptors"));
        }
        let has_nul = |text: &OsString| text.as_bytes().contains(&0);
        let mut environment = Vec::with_capacity(self.env.len());
        for (name, value) in self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') || has_nul(&name) {
                return Err(LaunchError::Invalid("a variable's name is not a name"));
            }
            if has_nul(&value) {
                return Err(LaunchError::Invalid("a variable has a NUL byte"));
            }
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            environment.push(Text::from(entry));
        }
        if self.argv.iter().any(has_nul) || self.cwd.as_os_str().as_bytes().contains(&0) {
            return Err(LaunchError::Invalid(
                "an argument or the directory has a NUL byte",
            ));
        }
        let (extra_descriptors, extra): (Vec<_>, Vec<_>) = self.extra.into_iter().unzip();
        let mut descriptors = Vec::from(self.stdio);
        descriptors.extend(extra_descriptors);
        // An open directory of the host is a way out of the private root, openat(2).
        if descriptors.iter().any(is_directory) {
            return Err(LaunchError::Invalid("a descriptor is a directory"));
        }
        let spec = LaunchSpec {
            arguments: self.argv.into_iter().map(Text::from).collect(),
            environment,
            directory: self.cwd.into(),
            extra,
            is_kept: false,
            is_apart: false,
            takes_terminal: true,
            probe: None,
        };
        Ok((spec, descriptors))
    }
}

fn is_directory(descriptor: &OwnedFd) -> bool {
    fstat(descriptor).is_ok_and(|status| {
        SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
    })
}
