//! The supervisor's end of the channel to the guardian.
//!
//! Owns the socket. Signals that the guardian received come in as messages with their sender and become requests to stop;
//! what the guardian has to know goes out. Losing the guardian ends this process (prctl(2), PR_SET_PDEATHSIG), so an end of
//! the channel is only seen in between.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, send};
use stockade_entrypoint::message::{MAX_MESSAGE_BYTES, SignalNotice, ToGuardian, ToSupervisor};
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, oneshot};

use super::signals::{Impatience, Way, asks_for_state, report_state, request_of};
use crate::control::Control;
use crate::run::Sender;
use crate::session::console::Console;
use crate::status::StatusBoard;

/// Longest wait for the guardian's sweep: the second that it allows itself, and some.
pub const SWEEP_LIMIT: Duration = Duration::from_millis(1500);

/// `si_code` of a signal that the kernel itself sends, as for a key on the terminal (sigaction(2)).
const SI_KERNEL: i32 = 128;

/// Who sent a signal; nobody did where it is the kernel's own.
fn sender_of(notice: &SignalNotice) -> Option<Sender> {
    (notice.code != SI_KERNEL).then_some(Sender {
        pid: notice.sender_pid,
        uid: notice.sender_uid,
    })
}

/// What a sweep of the guardian gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Processes that were killed.
    pub killed: u32,
    /// Processes that could not be ended.
    pub remaining: u32,
}

/// Channel to the guardian; cheap to clone.
#[derive(Debug, Clone)]
pub struct GuardianLink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    /// Sweeps that wait for their answer, at most one a caller; a std lock, for it is never held across an await.
    sweeps: Mutex<Vec<(u64, oneshot::Sender<Swept>)>>,
    /// The guardian wants to know whether this process is alive. Several questions at once have one answer.
    asked: Notify,
}

impl GuardianLink {
    /// Takes the supervisor's end of the socketpair.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        // A packet socket is watched and read like one for datagrams.
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        Ok(Self {
            inner: Arc::new(Inner {
                socket,
                sweeps: Mutex::new(Vec::new()),
                asked: Notify::new(),
            }),
        })
    }

    /// Says something to the guardian; a guardian that is gone is not worth an error.
    pub fn tell(&self, message: &ToGuardian) {
        let text = message.encode();
        if let Err(error) = send(
            self.inner.socket.as_raw_fd(),
            text.as_bytes(),
            MsgFlags::MSG_NOSIGNAL,
        ) {
            tracing::debug!(%error, "the guardian was not told");
        }
    }

    /// Asks the guardian to kill every descendant but the given ones; none when it does not answer in time.
    pub async fn sweep(&self, kept: Vec<i32>) -> Option<Swept> {
        let (answer, answered) = oneshot::channel();
        let request = {
            let mut sweeps = self
                .inner
                .sweeps
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let request = sweeps.last().map_or(1, |(last, _)| last + 1);
            sweeps.push((request, answer));
            request
        };
        self.tell(&ToGuardian::Sweep { request, kept });
        let swept = tokio::time::timeout(SWEEP_LIMIT, answered).await;
        self.inner
            .sweeps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(waiting, _)| *waiting != request);
        swept.ok()?.ok()
    }

    /// Tells the guardian that this process is alive, whenever it asks. To be polled by the task that drives the run and by no
    /// other: an answer of a task of its own would come from a supervisor that hangs, too. The question arrives by `listen`,
    /// so the answer also says that the other threads turn.
    pub async fn answer(self) -> Infallible {
        loop {
            self.inner.asked.notified().await;
            self.tell(&ToGuardian::Alive);
        }
    }

    /// Takes messages until the channel ends. Run it as a task of its own.
    pub async fn listen(
        self,
        control: Control,
        impatience: Impatience,
        board: Arc<StatusBoard>,
        console: Console,
    ) {
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        loop {
            // Cancel safe: a datagram is taken whole or not at all.
            let received = self.inner.socket.recv(&mut buffer).await;
            let n_bytes = match received {
                Ok(0) => return,
                Ok(n_bytes) => n_bytes,
                Err(error) => {
                    tracing::warn!(%error, "the guardian cannot be heard");
                    return;
                }
            };
            match ToSupervisor::parse(buffer.get(..n_bytes).unwrap_or_default()) {
                Ok(ToSupervisor::Signal(notice)) => {
                    console.note_signal(notice.signal);
                    if let Some(request) = request_of(notice.signal, sender_of(&notice)) {
                        impatience.pass_on(&control, request, Way::Guardian);
                    } else if asks_for_state(notice.signal) {
                        report_state(&board);
                    }
                }
                Ok(ToSupervisor::Swept {
                    request,
                    killed,
                    remaining,
                }) => self.swept(request, Swept { killed, remaining }),
                Ok(ToSupervisor::Ask) => self.inner.asked.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "a message of the guardian was not understood")
                }
            }
        }
    }

    fn swept(&self, request: u64, swept: Swept) {
        let mut sweeps = self
            .inner
            .sweeps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sweeps.iter().position(|(waiting, _)| *waiting == request) {
            // Who does not wait any more does not need the answer.
            let _ = sweeps.swap_remove(at).1.send(swept);
        }
    }
}
