//! The end of what outlives the main child.
//!
//! Owns the time between the end of the main child and that of the init. Never does: wait longer than the grace and the last
//! sweep, which has a limit of its own. Invariant: where all are to be ended, none is left that can be killed.

use std::time::{Duration, Instant};

use nix::libc;

use super::audience::{send, send_to_all};
use super::settings::{Audience, Rest, Settings};
use super::speech::{Happening, Speech};
use crate::reaper::{Children, Reaper};
use crate::sweep::sweep_to_the_last;
use crate::sys;

/// Does what the settings say of processes that are left.
pub(super) fn end(settings: &Settings, speech: Speech, child: i32) {
    match settings.rest {
        Rest::Left => {}
        Rest::Told => {
            let Some(signal) = settings.rewrites.of(libc::SIGTERM) else {
                speech.tell(Happening::Dropped(libc::SIGTERM));
                return;
            };
            // The main child is reaped, so its number may belong to anybody by now; that of its group does not while the
            // group has a member.
            if settings.audience == Audience::Group {
                let _ = sys::send_signal(-child, signal);
            }
            speech.tell(Happening::Passed(signal));
        }
        Rest::Ended(grace) => end_all(settings, speech, grace),
    }
}

/// Sends SIGTERM to all, waits, and kills.
fn end_all(settings: &Settings, speech: Speech, grace: Duration) {
    let mut reaper = Reaper::default();
    if reaper.reap() == Children::None {
        return;
    }
    if !grace.is_zero() {
        // Without /proc nobody can be told, and what is left is killed.
        let _ = send_to_all(libc::SIGTERM);
        let _ = send_to_all(libc::SIGCONT);
        if wait(settings.taken, grace, &mut reaper) == Children::None {
            return;
        }
    }
    let swept = sweep_to_the_last(&mut reaper);
    if swept.killed > 0 {
        speech.tell(Happening::Killed(swept.killed));
    }
    if swept.remaining > 0 {
        speech.tell(Happening::Remaining(swept.remaining));
    }
}

/// Waits until no child is left or the time is up. What comes meanwhile is for those that are left.
fn wait(taken: u64, grace: Duration, reaper: &mut Reaper) -> Children {
    let ends_at = Instant::now() + grace;
    loop {
        if reaper.reap() == Children::None {
            return Children::None;
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Children::Left;
        }
        match sys::take_signal(taken, Some(left)) {
            Ok(Some(libc::SIGCHLD) | None) => {}
            Ok(Some(signal)) => {
                let _ = send(Audience::All, 0, signal);
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            // Nothing can be waited for, so the kill comes at once.
            Err(_) => return Children::Left,
        }
    }
}
