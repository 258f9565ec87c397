//! Pseudo-terminals, pty(7) and ioctl_tty(2).
//!
//! Owns the calls by which one is made, sized and given to a session. Never interprets what flows through it.

use super::check_int;
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Unlocks the slave of a master, which is made locked.
pub(crate) fn unlock(master: BorrowedFd<'_>) -> io::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int from the pointer, which is to a live int; the descriptor is borrowed, so it is open.
    check_int(unsafe {
        libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCSPTLCK,
            std::ptr::from_ref(&unlocked),
        )
    })
    .map(drop)
}

/// Opens the slave of a master, whatever paths lead to it.
pub(crate) fn open_slave(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags as an integer and follows no pointer.
    let number = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    check_int(number)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Returns columns and rows of a terminal.
pub(crate) fn size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one winsize to the pointer, which is to a live, writable one.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_col, size.ws_row))
}

/// Sets columns and rows of a terminal; its foreground processes get SIGWINCH when they change.
pub(crate) fn set_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one winsize from the pointer, which is to a live one.
    check_int(unsafe {
        libc::ioctl(
            terminal.as_raw_fd(),
            libc::TIOCSWINSZ,
            std::ptr::from_ref(&size),
        )
    })
    .map(drop)
}

/// Makes standard input, if it is a terminal, the controlling terminal of the calling process's new session.
pub(crate) fn take_control() -> io::Result<()> {
    // SAFETY: isatty takes an integer; it allocates nothing, so it may be called between fork and exec.
    if unsafe { libc::isatty(0) } == 0 {
        return Ok(());
    }
    // SAFETY: TIOCSCTTY takes an integer; 0 steals no terminal from another session.
    check_int(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}
