//! The system calls that neither std nor nix wraps safely.
//!
//! Owns every `unsafe` block of this crate. Never decides anything: a wrapper does one call and returns `io::Result`.
//! Invariant: descriptors enter and leave as `OwnedFd` or `BorrowedFd`, and every descriptor made here is close-on-exec.

#![allow(
    unsafe_code,
    reason = "clone, clone3, mmap, the mount descriptors, wait4, capset, seccomp, execve, a call that leaves errno alone, and the version of Landlock have no safe wrapper; they live here and nowhere else"
)]

pub(crate) mod credential;
pub(crate) mod descriptor;
pub(crate) mod filter;
pub(crate) mod landlock;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod network_namespace;
pub(crate) mod process;
pub(crate) mod sharing;
pub(crate) mod signal;
pub(crate) mod terminal;

use nix::libc;
use std::io;

/// Turns the return value of a system call into a result.
fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// Turns the return value of a C library call into a result.
fn check_int(value: libc::c_int) -> io::Result<libc::c_int> {
    check(libc::c_long::from(value)).map(|_| value)
}
