//! Where the output of a launch is read from: a pipe, or the master of its terminal.
//!
//! Owns the difference between the two. Invariant: the end of both is a read of no bytes.

use std::io;
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::net::unix::pipe;

/// One source of output. Both kinds are watched as a pipe is.
#[derive(Debug)]
pub(super) struct Tap {
    source: pipe::Receiver,
}

impl Tap {
    /// Watches a descriptor.
    ///
    /// # Errors
    /// When it is neither a pipe nor a terminal, or cannot be watched.
    pub(super) fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let source = if nix::unistd::isatty(&descriptor).unwrap_or(false) {
            set_nonblocking(&descriptor)?;
            pipe::Receiver::from_owned_fd_unchecked(descriptor)?
        } else {
            pipe::Receiver::from_owned_fd(descriptor)?
        };
        Ok(Self { source })
    }

    /// Reads what is there into `raw`, which is empty; no bytes are the end. Cancel safe.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&mut self, raw: &mut BytesMut) -> io::Result<usize> {
        loop {
            // Not by `AsyncRead`: it takes a short read for an empty source, and a terminal gives a page at a time.
            self.source.readable().await?;
            match self.source.try_read_buf(raw) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody has the slave open any more, pty(7).
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => return Ok(0),
                read => return read,
            }
        }
    }

    /// Reads at most `left` bytes of what is there now; none when nothing is. It asks the kernel, since what the runtime knows
    /// of a source may be older than what was written to it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read_now(&self, raw: &mut BytesMut, left: usize) -> io::Result<Option<usize>> {
        if left == 0 {
            return Ok(None);
        }
        raw.resize(super::output::CHUNK_BYTES.min(left), 0);
        let read = nix::unistd::read(&self.source, raw);
        raw.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(n_read) => Ok(Some(n_read)),
            Err(Errno::EIO) => Ok(Some(0)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Makes reads and writes of an open file return at once.
pub(crate) fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
