//! The guardian's end of the socketpair.
//!
//! Owns sending without ever blocking, and the one datagram that is worth keeping when the socket is full.
//! Never does: interpret what the supervisor asks for. Invariant: a stop signal is delivered as soon as the supervisor reads
//! again; any other message that does not fit is counted and dropped.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::launch::raise;
use crate::message::{MAX_MESSAGE_BYTES, ToGuardian, ToSupervisor};
use crate::notice::notice;

/// What becomes of a message for which the socket has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// It is counted and dropped.
    Drop,
    /// It is sent as soon as there is room, unless a later one of this kind takes its place.
    Keep,
}

/// The guardian's end.
#[derive(Debug)]
pub(crate) struct Channel {
    /// `None` once the supervisor has closed its end.
    socket: Option<OwnedFd>,
    /// The stop signal that found no room.
    kept: Option<ToSupervisor>,
    /// Messages dropped so far; the first is told to stderr.
    dropped: u64,
    /// Datagrams so far that were no messages; the first is told to stderr.
    strange: u64,
}

impl Channel {
    /// Makes a pair: the guardian's end, and the supervisor's, which blocks until the supervisor makes it otherwise.
    pub(crate) fn pair() -> std::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let channel = Self {
            socket: Some(raise(ours)?),
            kept: None,
            dropped: 0,
            strange: 0,
        };
        Ok((channel, raise(theirs)?))
    }

    /// The socket to wait on, while it is open.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether a message waits for room.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.kept.is_some()
    }

    /// Sends a message, or does with it what `when_full` says.
    pub(crate) fn send(&mut self, message: ToSupervisor, when_full: WhenFull) {
        let Some(socket) = &self.socket else { return };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match (
            send(socket.as_raw_fd(), message.encode().as_bytes(), flags),
            when_full,
        ) {
            (Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM), WhenFull::Keep) => {
                self.kept = Some(message)
            }
            (Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM), WhenFull::Drop) => {
                self.dropped += 1;
                if self.dropped == 1 {
                    notice(format_args!(
                        "supervisor does not read its messages, signals are being dropped"
                    ));
                }
            }
            // Any other error means that the supervisor is gone or going: SIGCHLD or a hang-up tells.
            (Ok(_) | Err(_), _) => {}
        }
    }

    /// Tries again to send what was kept.
    pub(crate) fn send_kept(&mut self) {
        if let Some(message) = self.kept.take() {
            self.send(message, WhenFull::Keep);
        }
    }

    /// Takes the next message, if there is one.
    pub(crate) fn receive(&mut self) -> Option<ToGuardian> {
        let mut datagram = [0; MAX_MESSAGE_BYTES];
        loop {
            let socket = self.socket.as_ref()?.as_raw_fd();
            // With MSG_TRUNC the result is the true length of a datagram that is too long.
            let length = match recv(
                socket,
                &mut datagram,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            ) {
                Ok(0) => return None,
                Ok(length) => length,
                // A supervisor that died with unread messages leaves one ECONNRESET in front of what it sent itself.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(_) => return None,
            };
            let parsed = datagram
                .get(..length)
                .ok_or(crate::message::MessageError::TooLong)
                .and_then(ToGuardian::parse);
            match parsed {
                Ok(message) => return Some(message),
                Err(error) => {
                    self.strange += 1;
                    if self.strange == 1 {
                        notice(format_args!("ignoring what the supervisor sent: {error}"));
                    }
                }
            }
        }
    }

    /// Gives up the socket after the supervisor closed its end; waiting on it would return at once, for ever.
    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.kept = None;
    }
}
