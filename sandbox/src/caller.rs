//! Calls over a packet socket: one request, its answer, a deadline.
//!
//! Owns the numbering of requests. Never matches an answer to the wrong request: late answers are dropped.
//! Invariant: one call at a time; others wait for it, each until its own deadline.

use crate::protocol::{Answer, Request};
use crate::wire::{self, Deadline};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};

/// Which half of a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The request was not sent.
    Send(io::Error),
    /// The answer did not come.
    Receive(io::Error),
}

impl CallError {
    /// Forgets which half it was.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Send(error) | Self::Receive(error) => error,
        }
    }
}

/// One end of a conversation.
#[derive(Debug)]
pub(crate) struct Caller {
    socket: OwnedFd,
    /// Never held while something is waited for; callers are blocking threads, never async tasks.
    turns: Mutex<Turns>,
    /// Notified at the end of every call.
    turn_ended: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    is_taken: bool,
    last_number: u64,
}

/// The right to use the socket, until it is dropped.
struct Turn<'a> {
    caller: &'a Caller,
    number: u64,
}

impl Caller {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            turns: Mutex::default(),
            turn_ended: Condvar::new(),
        }
    }

    /// Sends a request and waits for its answer; the deadline is also that of the wait for the calls before it, so that an
    /// order to kill is not held up by a launch that hangs.
    pub(crate) fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        body: Q,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<A, CallError> {
        self.call_for_descriptors(body, descriptors, deadline)
            .map(|(answer, _)| answer)
    }

    /// The same for an answer that comes with descriptors.
    pub(crate) fn call_for_descriptors<Q: Serialize, A: DeserializeOwned>(
        &self,
        body: Q,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(A, Vec<OwnedFd>), CallError> {
        let turn = self.take_turn(deadline).map_err(CallError::Send)?;
        let number = turn.number;
        let socket = self.socket.as_fd();
        wire::send(socket, &Request { number, body }, descriptors).map_err(CallError::Send)?;
        loop {
            let (answer, received) =
                wire::receive_before::<Answer<A>>(socket, deadline).map_err(CallError::Receive)?;
            if answer.number == number {
                return Ok((answer.body, received));
            }
        }
    }

    /// Waits until no other call is under way.
    fn take_turn(&self, deadline: Deadline) -> io::Result<Turn<'_>> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut turns, _) = self
            .turn_ended
            .wait_timeout_while(turns, deadline.left(), |turns| turns.is_taken)
            .unwrap_or_else(PoisonError::into_inner);
        if turns.is_taken {
            return Err(io::ErrorKind::TimedOut.into());
        }
        turns.is_taken = true;
        turns.last_number += 1;
        Ok(Turn {
            caller: self,
            number: turns.last_number,
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = &self.caller.turns;
        turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_taken = false;
        self.caller.turn_ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_call_waits_for_the_one_before_it_no_longer_than_its_own_deadline() {
        let (ours, theirs) = wire::pair().unwrap();
        let caller = Caller::new(ours);
        let long = Deadline::after(Duration::from_secs(10));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| caller.call::<_, u8>("launch", &[], long));
            let (asked, _) = wire::receive_before::<Request<String>>(theirs.as_fd(), long).unwrap();
            let started_at = Instant::now();
            let short = Deadline::after(Duration::from_millis(20));
            let second = caller.call::<_, u8>("kill", &[], short);
            assert!(started_at.elapsed() < Duration::from_secs(5));
            let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
            assert!(
                matches!(&second, Err(CallError::Send(error)) if timed_out(error)),
                "{second:?}"
            );
            let number = asked.number;
            wire::send(theirs.as_fd(), &Answer { number, body: 7 }, &[]).unwrap();
            assert_eq!(first.join().unwrap().unwrap(), 7);
        });
        // The turn is free again, also after a call that failed; and what was not sent in time is never sent.
        let short = Deadline::after(Duration::from_millis(20));
        assert!(matches!(
            caller.call::<_, u8>("count", &[], short),
            Err(CallError::Receive(_))
        ));
        let (asked, _) = wire::receive_before::<Request<String>>(theirs.as_fd(), long).unwrap();
        assert_eq!((asked.number, asked.body.as_str()), (2, "count"));
    }
}
