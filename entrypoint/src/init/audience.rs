//! Who gets a signal that the init got.
//!
//! Owns the sending. Never does: decide which signal. Invariant: a signal for a group that does not exist yet reaches the
//! process that is going to lead it.

use std::io;

use nix::libc;
use nix::unistd::getpid;

use super::settings::Audience;
use crate::descendants::{find_descendants, send_to};
use crate::sys;

/// Whether a signal had somebody to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Somebody,
    Nobody,
}

/// Sends a signal to the audience around the main child.
pub(super) fn send(audience: Audience, child: i32, signal: i32) -> io::Result<Sent> {
    match audience {
        Audience::Child => told(sys::send_signal(child, signal)),
        Audience::Group => match told(sys::send_signal(-child, signal))? {
            Sent::Somebody => Ok(Sent::Somebody),
            Sent::Nobody => told(sys::send_signal(child, signal)),
        },
        Audience::All => send_to_all(signal),
    }
}

/// Looks for descendants: a second one finds those that the first missed because their parent ended meanwhile.
const LOOKS: usize = 2;

/// Sends a signal to everything that descends from this process, once to each; as PID 1 to everything in the namespace.
pub(super) fn send_to_all(signal: i32) -> io::Result<Sent> {
    if getpid().as_raw() == 1 {
        return told(sys::send_signal(-1, signal));
    }
    let mut reached = Vec::new();
    for _ in 0..LOOKS {
        for process in find_descendants()? {
            if !reached.contains(&process.identity()) {
                send_to(process, signal);
                reached.push(process.identity());
            }
        }
    }
    Ok(if reached.is_empty() {
        Sent::Nobody
    } else {
        Sent::Somebody
    })
}

/// Turns the one error that is none into an answer.
fn told(result: io::Result<()>) -> io::Result<Sent> {
    match result {
        Ok(()) => Ok(Sent::Somebody),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Sent::Nobody),
        Err(error) => Err(error),
    }
}
