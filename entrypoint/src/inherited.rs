//! Descriptors that arrive over `execve` under an agreed number.
//!
//! Owns the step from a number on a command line to an owned descriptor, for the guardian, the supervisor and `finalize`.
//! Never does: hand out a number twice. Invariant: what it returns is close-on-exec.

use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Numbers handed out so far, one bit each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Why an inherited descriptor cannot be taken.
#[derive(Debug)]
pub enum InheritError {
    /// The number is one of stdin, stdout and stderr, or beyond 63, the highest that is agreed on.
    OutOfRange(RawFd),
    /// The number was taken before.
    TakenBefore(RawFd),
    /// The number is not an open descriptor.
    NotOpen {
        /// The number.
        number: RawFd,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange(number) => {
                write!(formatter, "descriptor {number} is not between 3 and 63")
            }
            Self::TakenBefore(number) => write!(formatter, "descriptor {number} was taken before"),
            Self::NotOpen { number, .. } => write!(formatter, "descriptor {number} is not open"),
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotOpen { source, .. } => Some(source),
            Self::OutOfRange(_) | Self::TakenBefore(_) => None,
        }
    }
}

/// Takes the ownership of a descriptor that this process was started with, and sets close-on-exec on it.
///
/// Call it before anything else in the process opens a descriptor, and only for numbers that the command line names: a
/// number that something else owns would be closed twice. Each number is handed out once.
///
/// # Errors
/// When the number is below 3 or above 63, was taken before, or is not open.
pub fn take_descriptor(number: RawFd) -> Result<OwnedFd, InheritError> {
    let bit = match u32::try_from(number) {
        Ok(position @ 3..=63) => 1_u64 << position,
        Ok(_) | Err(_) => return Err(InheritError::OutOfRange(number)),
    };
    if TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(InheritError::TakenBefore(number));
    }
    sys::adopt_descriptor(number).map_err(|source| InheritError::NotOpen { number, source })
}
