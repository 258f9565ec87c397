//! The agent's own channel: a pipe on which it is told of a stop before any signal.
//!
//! Owns the first rung of the ladder, for runs that ask for it (`stop_message_seconds`). It never waits for a reader: who does
//! not listen, or has closed its end, gets SIGTERM as if it had no channel.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::json;
use tokio::time::Instant;

use super::Session;
use super::console::{Use, pipe};
use super::environment::{CONTROL_FD, CONTROL_FD_VARIABLE};
use super::journal::millis;
use super::ladder::{Awaited, Ladder};
use crate::event::Rung;
use crate::text::cut_at_char;

/// Longest reason in the message, in bytes: the whole line fits into one write that is atomic (pipe(7), PIPE_BUF).
const MAX_REASON_BYTES: usize = 512;

/// Our end of the pipe.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Writes the message; false when nobody can read it any more.
    fn tell(&self, left: Duration, reason: Option<&str>) -> bool {
        let reason = reason.map(|reason| cut_at_char(reason, MAX_REASON_BYTES));
        let message = json!({"type": "stop", "left_ms": millis(left), "reason": reason});
        let line = format!("{message}\n");
        nix::unistd::write(&self.0, line.as_bytes()).is_ok_and(|n_bytes| n_bytes == line.len())
    }
}

impl Session {
    /// Makes the channel of a launch, if the run has one: the workload gets the end to read and the variable that names it.
    pub(super) fn open_channel(
        &self,
        extra: &mut Vec<(OwnedFd, i32)>,
        env: &mut Vec<(OsString, OsString)>,
    ) -> io::Result<Option<Channel>> {
        if self.settings.stop_message.is_none() {
            return Ok(None);
        }
        let (theirs, ours) = pipe(Use::Input)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        extra.push((theirs, CONTROL_FD));
        env.retain(|(name, _)| name != CONTROL_FD_VARIABLE);
        env.push((CONTROL_FD_VARIABLE.into(), CONTROL_FD.to_string().into()));
        Ok(Some(Channel(ours)))
    }

    /// Tells the agent of the stop, and waits until it has ended, for its own time and at most half of what it has in all.
    pub(super) async fn ask_by_channel(&mut self, ladder: &mut Ladder, reason: Option<&str>) {
        let Some(time) = self.settings.stop_message.filter(|_| self.is_running()) else {
            return;
        };
        let reserve = self.time_behind_agent();
        let limit = time.min(ladder.left_before(reserve, None).unwrap_or_default() / 2);
        // Without any time for it the signal says it all.
        if limit.is_zero() {
            return;
        }
        let channel = self
            .launched
            .as_ref()
            .and_then(|launched| launched.control.as_ref());
        let is_told = channel.is_some_and(|channel| channel.tell(limit, reason));
        if !is_told {
            return;
        }
        self.note_step(Rung::Channel, None, Some(limit));
        let begun = Instant::now();
        self.await_end(Awaited::Agent, ladder, |ladder, ended_at| {
            // What it leaves behind is asked by the signal.
            let own = ended_at
                .is_none()
                .then(|| limit.saturating_sub(begun.elapsed()))?;
            ladder.left_before(reserve, None).map(|left| left.min(own))
        })
        .await;
    }
}
