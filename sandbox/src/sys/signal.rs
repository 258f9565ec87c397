//! Signals by number, real-time ones included, which nix's enum does not know.
//!
//! Owns kill, pidfd_send_signal, the reset of dispositions and the blocking of everything. Never installs a handler.
//! Invariant: after `block_all` no signal but SIGKILL, SIGSTOP and a fault of its own changes the calling process.

use super::{check, check_int};
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Highest signal number of Linux on the machines that this crate supports.
pub(crate) const HIGHEST: i32 = 64;

/// Sends a signal; `target` has kill(2)'s meaning, so -1 is every process that may be signalled but the caller.
pub(crate) fn send(target: i32, signo: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    check_int(unsafe { libc::kill(target, signo) }).map(drop)
}

/// Sends a signal to exactly the process that the descriptor names, whatever became of its number.
pub(crate) fn send_to(process: BorrowedFd<'_>, signo: i32) -> io::Result<()> {
    // SAFETY: without a siginfo the call takes integers only; the null pointer is allowed by pidfd_send_signal(2).
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signo,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    })
    .map(drop)
}

/// Opens a descriptor that names a process and becomes readable when it ends.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0_u32) })?;
    let number =
        i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: pidfd_open has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Blocks every signal, those included that the C library keeps for itself; the kernel leaves out SIGKILL and SIGSTOP.
///
/// Blocked and not ignored: an ignored signal would stay ignored in what is launched, while a mask is emptied in one call,
/// and what is pending is not inherited by a child. A fault kills all the same, the kernel does not let it wait.
pub(crate) fn block_all() -> io::Result<()> {
    let all = u64::MAX;
    // SAFETY: the kernel reads the 8 bytes of a live integer and writes nothing, since the old mask is null.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}

/// Lets every signal in again.
pub(crate) fn unblock_all() -> io::Result<()> {
    let all = u64::MAX;
    // SAFETY: the kernel reads the 8 bytes of a live integer and writes nothing, since the old mask is null.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}

/// Sets every disposition to the default.
///
/// The C library hides signals 32 and 33 from its callers, but a parent may have left them ignored, so the system call
/// is used.
pub(crate) fn reset_dispositions() -> io::Result<()> {
    for signo in 1..=HIGHEST {
        if signo != libc::SIGKILL && signo != libc::SIGSTOP {
            reset_disposition(signo)?;
        }
    }
    Ok(())
}

/// Sets one disposition to the default; EINVAL for SIGKILL and SIGSTOP, which have no other.
pub(crate) fn reset_disposition(signo: i32) -> io::Result<()> {
    // All zeros is the kernel's own sigaction with the default handler, no flags and an empty mask; it has 32 bytes where
    // it has a restorer, and 24 where it has none.
    let default_action = [0_u64; 4];
    // SAFETY: the kernel reads at most 32 bytes of a live array, writes through no pointer since the old action is null,
    // and installs no code.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signo,
            default_action.as_ptr(),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}
