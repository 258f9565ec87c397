//! Messages between supervisor, launch helper and in-sandbox init: one packet each, over SOCK_SEQPACKET.
//!
//! Owns the framing, the passing of descriptors and the waiting with a deadline. Never interprets a message.
//! Invariant: a send never blocks; what does not fit a packet travels in a memfd, up to [`MAX_MESSAGE_BYTES`].

use crate::sys::descriptor;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Largest message: an argument list and an environment at the kernel's own limit of 2 MiB, with room for escapes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Largest message that is sent as a packet; a third of the smallest default socket buffer.
const MAX_INLINE_BYTES: usize = 64 << 10;

const INLINE: u8 = 0;
const IN_MEMFD: u8 = 1;

/// The moment at which a wait gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// Makes a deadline that is `limit` from now, at most a day.
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit.min(Duration::from_secs(86_400)))
    }

    /// Returns the time that is left, zero if there is none.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    fn timeout(self) -> PollTimeout {
        // Rounded up: a wait that is shorter than a millisecond must not become a busy loop.
        PollTimeout::try_from(self.left() + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
    }
}

/// Makes a connected pair of packet sockets.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends one message with descriptors.
///
/// # Errors
/// `WouldBlock` if the peer does not read; `InvalidInput` if the message is larger than [`MAX_MESSAGE_BYTES`].
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut packet = vec![INLINE];
    serde_json::to_writer(&mut packet, message)?;
    if packet.len() <= MAX_INLINE_BYTES {
        return send_packet(socket, &packet, descriptors);
    }
    if packet.len() > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the message is larger than its limit",
        ));
    }
    let mut file = File::from(memfd_create(c"stockade-message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(packet.get(1..).unwrap_or_default())?;
    file.rewind()?;
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(descriptors);
    send_packet(socket, &[IN_MEMFD], &all)
}

fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(packet)],
        control,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(())
}

/// What a receive found.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// A message and the descriptors that came with it.
    Message(T, Vec<OwnedFd>),
    /// Nothing is there yet.
    Nothing,
    /// The peer is gone.
    Closed,
}

/// Receives one message without waiting.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Received<T>> {
    // A look at its length first: a buffer for the largest would have to be cleared, and each of its pages touched.
    let look = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let mut buffer = Vec::new();
    let received = recv(socket.as_raw_fd(), &mut buffer, look)
        .map_err(io::Error::from)
        .and_then(|length| {
            buffer.resize(length.min(MAX_INLINE_BYTES), 0);
            descriptor::receive(socket, &mut buffer, MsgFlags::MSG_DONTWAIT)
        });
    let (length, mut descriptors) = match received {
        Ok(received) => received,
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(Received::Nothing),
                Some(libc::ECONNRESET) => Ok(Received::Closed),
                _ => Err(error),
            };
        }
    };
    let message = match buffer.get(..length).and_then(<[u8]>::split_first) {
        None => return Ok(Received::Closed),
        Some((&INLINE, text)) => serde_json::from_slice(text)?,
        Some(_) if descriptors.is_empty() => return Err(io::ErrorKind::InvalidData.into()),
        Some(_) => {
            let mut text = Vec::new();
            let limit = u64::try_from(MAX_MESSAGE_BYTES).unwrap_or(u64::MAX);
            File::from(descriptors.remove(0))
                .take(limit)
                .read_to_end(&mut text)?;
            serde_json::from_slice(&text)?
        }
    };
    Ok(Received::Message(message, descriptors))
}

/// Receives one message, waiting for it until the deadline.
///
/// # Errors
/// `TimedOut` at the deadline, `BrokenPipe` if the peer is gone.
pub(crate) fn receive_before<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<(T, Vec<OwnedFd>)> {
    loop {
        match receive(socket)? {
            Received::Message(message, descriptors) => return Ok((message, descriptors)),
            Received::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
            Received::Nothing => wait_readable(socket, deadline)?,
        }
    }
}

/// Waits until a descriptor is readable or its peer is gone.
///
/// # Errors
/// `TimedOut` at the deadline.
pub(crate) fn wait_readable(descriptor: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    loop {
        let mut set = [PollFd::new(descriptor, PollFlags::POLLIN)];
        match poll(&mut set, deadline.timeout()) {
            Ok(0) if deadline.left().is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Lets time pass, for what the kernel tells nobody of. No signal can cut it short where all are blocked; elsewhere a
/// shorter pause does no harm.
pub(crate) fn pause(time: Duration) {
    let _ = poll(&mut [], Deadline::after(time).timeout());
}

/// Waits without limit until one of the descriptors is ready, and tells for each whether it is.
pub(crate) fn wait_any<const N: usize>(
    wanted: [(BorrowedFd<'_>, PollFlags); N],
) -> io::Result<[bool; N]> {
    wait_any_or(wanted, &[]).map(|(ready, _)| ready)
}

/// The same; further descriptors are waited for until they are readable, and those that are come second, by their index.
pub(crate) fn wait_any_or<const N: usize>(
    wanted: [(BorrowedFd<'_>, PollFlags); N],
    further: &[BorrowedFd<'_>],
) -> io::Result<([bool; N], Vec<usize>)> {
    let further = further
        .iter()
        .map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN));
    let mut set: Vec<_> = wanted
        .into_iter()
        .map(|(descriptor, flags)| PollFd::new(descriptor, flags))
        .chain(further)
        .collect();
    match poll(&mut set, PollTimeout::NONE) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok(([false; N], Vec::new())),
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = set.iter().map(|entry| entry.any().unwrap_or(true));
    let first = [(); N].map(|()| ready.next().unwrap_or(false));
    let further = ready
        .enumerate()
        .filter_map(|(idx, is_ready)| is_ready.then_some(idx))
        .collect();
    Ok((first, further))
}
