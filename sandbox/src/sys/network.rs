//! The loopback interface and the host name of a fresh namespace.
//!
//! Owns the two calls. Never touches an interface other than `lo`. Invariant: nothing outside the calling process's
//! namespaces changes.

use super::{check, check_int};
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Brings the interface `lo` up, through any IPv4 datagram socket of the namespace.
pub(crate) fn bring_loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    let request = loopback_up();
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    check_int(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
        .map(drop)
}

/// The request that brings the interface `lo` up, SIOCSIFFLAGS.
pub(super) fn loopback_up() -> libc::ifreq {
    // SAFETY: ifreq is plain old data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "IFF_UP and IFF_RUNNING fit the 16-bit field that the kernel defines for them"
    )]
    {
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    }
    request
}

/// Sets the host name of the calling process's UTS namespace.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length describe the same live string, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.len()) }).map(drop)
}
