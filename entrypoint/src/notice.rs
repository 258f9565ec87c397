//! One line on stderr.
//!
//! Owns how the guardian speaks to people. Never does: block, fail, or allocate; a line that stderr cannot take at once is
//! dropped, because a full pipe behind stderr must not stop signals from being handled.

use std::fmt;
use std::io::{Cursor, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

/// Longest line in bytes: less than PIPE_BUF, so that a pipe takes it whole or not at all.
const MAX_LINE_BYTES: usize = 1024;

/// Writes `stockade guardian: <text>` to stderr if that does not block.
pub(crate) fn notice(text: fmt::Arguments<'_>) {
    write_line(
        std::io::stderr().as_fd(),
        format_args!("stockade guardian: {text}"),
    );
}

/// Writes a line if that does not block, cut at the limit; the end of the line is added.
pub(crate) fn write_line(descriptor: BorrowedFd<'_>, text: fmt::Arguments<'_>) {
    let mut buffer = [0; MAX_LINE_BYTES];
    let mut line = Cursor::new(
        buffer
            .split_last_mut()
            .map_or(&mut [][..], |(_, rest)| rest),
    );
    // What does not fit is cut.
    let _ = line.write_fmt(text);
    let length = usize::try_from(line.position()).unwrap_or_default();
    if let Some(end) = buffer.get_mut(length) {
        *end = b'\n';
    }
    let line = buffer.get(..=length).unwrap_or_default();
    let mut waiting = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    let _ = poll(&mut waiting, PollTimeout::ZERO);
    // Exactly: a pipe without readers reports an error as well, and writing to it would raise SIGPIPE.
    if waiting.map(|descriptor| descriptor.revents()) == [Some(PollFlags::POLLOUT)] {
        // There is nobody left to tell if even this fails.
        let _ = write(descriptor, line);
    }
}
