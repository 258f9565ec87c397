//! Descriptors: passing them over a socket, placing and closing them.
//!
//! Owns the conversions between numbers and `OwnedFd`. Never keeps a number longer than one call.
//! Invariant: a received descriptor is close-on-exec and owned by exactly one `OwnedFd`.

use super::{check, check_int};
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Most descriptors that the kernel passes in one packet (SCM_MAX_FD).
pub(crate) const MAX_PASSED: usize = 253;

/// Receives one packet and the descriptors that came with it. An empty packet means that the peer is gone.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([libc::c_int; MAX_PASSED]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        flags | MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just installed this descriptor for us, and nothing else knows its number.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok((message.bytes, descriptors))
}

/// Takes ownership of standard input, which the launch helper is given as its socket.
pub(crate) fn take_standard_input() -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor and follows no pointer.
    let number = check_int(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Copies a descriptor to the lowest free number that is at least `lowest`.
pub(crate) fn copy_above(descriptor: BorrowedFd<'_>, lowest: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor and follows no pointer; the source is borrowed, so it is open.
    let number =
        check_int(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: fcntl has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a copy of `source` at the number `target`, without close-on-exec. What was there before is closed.
pub(crate) fn place_at(source: BorrowedFd<'_>, target: i32) -> io::Result<()> {
    // SAFETY: dup2 takes two integers; the caller is between fork and exec, where no owner of `target` runs again.
    check_int(unsafe { libc::dup2(source.as_raw_fd(), target) }).map(drop)
}

/// Closes every descriptor from `first` to `last`, both included.
pub(crate) fn close_between(first: u32, last: u32) -> io::Result<()> {
    close_range(first, last, 0)
}

/// Marks every descriptor from `first` upwards close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range takes integers only; callers run it where no owner of those numbers uses them again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}
