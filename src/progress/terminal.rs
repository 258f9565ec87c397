//! The terminal behind stderr: its size, whose it is at the moment, and a thread that writes to it.
//!
//! Owns the only blocking writes of the view. A terminal that is held (^S) or slow holds this thread and nothing else.
//! Invariant: at most one frame waits.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpgid, getppid, tcgetpgrp};
use tokio::sync::{mpsc, oneshot};

use super::screen::Size;

/// Most bytes of one write: what was taken is known after so many.
const PIECE_BYTES: usize = 4 * 1024;

/// The size that is taken where the terminal tells none.
const USUAL_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

type Order = (String, oneshot::Sender<io::Result<()>>);

/// The terminal, or whatever stderr is.
#[derive(Debug)]
pub struct Terminal {
    file: File,
    orders: mpsc::Sender<Order>,
    n_taken: Arc<AtomicU64>,
}

impl Terminal {
    /// Takes stderr, and starts the thread, which ends with this value once its last write is done.
    ///
    /// # Errors
    /// When there is no descriptor or thread left.
    pub fn stderr() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let writer = file.try_clone()?;
        let (orders, received) = mpsc::channel(1);
        let n_taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&n_taken);
        std::thread::Builder::new()
            .name("view".to_owned())
            .spawn(move || write_all(&writer, received, &counter))?;
        Ok(Self {
            file,
            orders,
            n_taken,
        })
    }

    /// Bytes that it took so far: one that is slow is told from one that is held.
    pub fn n_taken(&self) -> u64 {
        self.n_taken.load(Ordering::Relaxed)
    }

    /// Its size at the moment.
    pub fn size(&self) -> Size {
        terminal_size::terminal_size_of(&self.file).map_or(USUAL_SIZE, |(columns, rows)| Size {
            columns: usize::from(columns.0),
            rows: usize::from(rows.0),
        })
    }

    /// As [`is_ours()`].
    pub fn is_ours(&self) -> bool {
        is_ours(&self.file)
    }

    /// Begins a write; the answer comes when all of it is written. Cancel safe before the first poll only.
    pub async fn write(&self, text: String) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (done, is_done) = oneshot::channel();
        match self.orders.send((text, done)).await {
            Ok(()) => Ok(is_done),
            Err(_) => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Whether the run is what the terminal's keys go to: the process group of the guardian, which is the parent of this process,
/// is its foreground, or it has none.
pub fn is_ours(terminal: impl AsFd) -> bool {
    match (tcgetpgrp(terminal), getpgid(Some(getppid()))) {
        (Ok(foreground), Ok(guardian)) => foreground == guardian,
        _ => true,
    }
}

fn write_all(mut file: &File, mut orders: mpsc::Receiver<Order>, n_taken: &AtomicU64) {
    while let Some((text, done)) = orders.blocking_recv() {
        let mut rest = text.as_bytes();
        let mut written = Ok(());
        while !rest.is_empty() && written.is_ok() {
            // A terminal gives a large write back only when all of it is taken.
            match file.write(rest.get(..PIECE_BYTES).unwrap_or(rest)) {
                Ok(0) => written = Err(ErrorKind::WriteZero.into()),
                Ok(n_written) => {
                    rest = rest.get(n_written..).unwrap_or_default();
                    n_taken.fetch_add(u64::try_from(n_written).unwrap_or(0), Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody made the open file description non-blocking, which all of its holders share.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    written = wait_for_room(file.as_fd());
                }
                Err(error) => written = Err(error),
            }
        }
        let is_over = written.is_err();
        // Whoever asked may be gone.
        let _ = done.send(written);
        if is_over {
            return;
        }
    }
}

fn wait_for_room(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut wanted = [PollFd::new(fd, PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::NONE)
        .map(|_| ())
        .map_err(io::Error::from)
}
