//! The seccomp filter: which system calls a workload may not make.
//!
//! Owns the table of denials and the program that follows from it. Never installs anything: that is `sys/filter`.
//! Invariant: the table is the one source; the program denies what the table denies and nothing else, whatever the
//! upper halves of the arguments hold, and every other way into the kernel is closed.
//!
//! Why no library makes the program: it has several answers (EPERM, ENOSYS, what a kernel without the feature says), it
//! has to see the x32 bit of a number, and it is a tree, so that a call costs a few comparisons and the kernel finds
//! quickly which numbers are always allowed. The filter libraries for Rust have one answer for a filter, take numbers
//! that they do not know for allowed, and compare one number after the other.

mod capabilities;
mod container;
mod denial;
mod program;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use capabilities::file_capabilities;
pub(crate) use container::{EVERYWHERE, NO_NETWORK, PROXY_ONLY, SHARED_ID};
pub use denial::{Call, CallGroup, Check, Denial};
pub(crate) use program::Program;
pub use table::{DENIALS, HIGHEST_CALL};

/// Installs the whole table on the calling process, to see whether the kernel takes it.
pub(crate) fn try_out() -> std::io::Result<()> {
    crate::sys::filter::install(&Program::compile(DENIALS, &[], &[]))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the table of system calls is known for x86_64 and aarch64 only");
