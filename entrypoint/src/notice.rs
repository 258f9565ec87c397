//! One line on stderr.
//!
//! Owns how the guardian speaks to people. Never does: block, or fail; a line that stderr cannot take at once is dropped,
//! because a full pipe behind stderr must not stop signals from being handled.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest line in bytes: less than PIPE_BUF, so that a pipe takes it whole or not at all.
const MAX_LINE_BYTES: usize = 1024;

/// Writes `stockade guardian: <text>` to stderr if that does not block.
pub(crate) fn notice(text: fmt::Arguments<'_>) {
    let mut line = format!("stockade guardian: {text}").into_bytes();
    line.truncate(MAX_LINE_BYTES - 1);
    line.push(b'\n');
    let stderr = std::io::stderr();
    let mut waiting = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let _ = poll(&mut waiting, PollTimeout::ZERO);
    // Exactly: a pipe without readers reports an error as well, and writing to it would raise SIGPIPE.
    if waiting.map(|stderr| stderr.revents()) == [Some(PollFlags::POLLOUT)] {
        // There is nobody left to tell if even this fails.
        let _ = stderr.lock().write_all(&line);
    }
}
