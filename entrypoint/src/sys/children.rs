//! What becomes of children: ends, and stops where they are asked for.
//!
//! Owns wait4 and the end of a tracing that nobody asked for.

use std::ffi::{c_int, c_long};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::{io, ptr};

use nix::libc;

use super::check;

/// Reaps one child that has ended, whatever its exit signal: `None` when all children are alive, `ECHILD` when there is none.
///
/// nix cannot be used: it refuses the status of a death by a real-time signal.
pub(crate) fn reap_any() -> io::Result<Option<(i32, ExitStatus)>> {
    wait_for_any(libc::WNOHANG | libc::__WALL)
}

/// The same, and tells of children that were stopped or go on.
pub(crate) fn next_change() -> io::Result<Option<(i32, ExitStatus)>> {
    wait_for_any(libc::WNOHANG | libc::__WALL | libc::WUNTRACED | libc::WCONTINUED)
}

/// Calls wait4(2) until it tells of a child that has ended, or of one that stopped where that was asked for; a child that made
/// this process its tracer is let go on the way. Where nobody is traced that is one call.
fn wait_for_any(options: c_int) -> io::Result<Option<(i32, ExitStatus)>> {
    let mut raw_status: c_int = 0;
    loop {
        // SAFETY: `raw_status` is a live int for the status, and a null pointer means that resource use is not wanted.
        let result = unsafe { libc::wait4(-1, &raw mut raw_status, options, ptr::null_mut()) };
        if check(c_long::from(result))? == 0 {
            return Ok(None);
        }
        if !libc::WIFSTOPPED(raw_status) {
            return Ok(Some((result, ExitStatus::from_raw(raw_status))));
        }
        let was_traced = let_go(result, libc::WSTOPSIG(raw_status));
        if !was_traced && options & libc::WUNTRACED != 0 {
            return Ok(Some((result, ExitStatus::from_raw(raw_status))));
        }
    }
}

/// Ends the tracing of a child that made this process its tracer, and gives it the signal at which it stopped; false when it
/// is not traced. Stops of such a child are told by every wait, whatever was asked for (ptrace(2), PTRACE_TRACEME). SIGTRAP is
/// what an exec then means.
fn let_go(pid: i32, signal: c_int) -> bool {
    let signal = match signal {
        libc::SIGTRAP => 0,
        signal => signal,
    };
    // SAFETY: PTRACE_DETACH takes a pid and a number, and no pointer.
    let result = unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0_usize, c_long::from(signal)) };
    result == 0
}
