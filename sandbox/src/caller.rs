//! Calls over a packet socket: one request, its answer, a deadline.
//!
//! Owns the numbering of requests. Never matches an answer to the wrong request: late answers are dropped.
//! Invariant: one call at a time; others wait for it.

use crate::protocol::{Answer, Request};
use crate::wire::{self, Deadline};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

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
    /// Held for the length of a call, which has a deadline; callers are blocking threads, never async tasks.
    conversation: Mutex<Conversation>,
}

#[derive(Debug)]
struct Conversation {
    socket: OwnedFd,
    last_number: u64,
}

impl Caller {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            conversation: Mutex::new(Conversation {
                socket,
                last_number: 0,
            }),
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        body: Q,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<A, CallError> {
        let mut conversation = self
            .conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conversation.last_number += 1;
        let number = conversation.last_number;
        let socket = conversation.socket.as_fd();
        wire::send(socket, &Request { number, body }, descriptors).map_err(CallError::Send)?;
        loop {
            let (answer, _) =
                wire::receive_before::<Answer<A>>(socket, deadline).map_err(CallError::Receive)?;
            if answer.number == number {
                return Ok(answer.body);
            }
        }
    }
}
