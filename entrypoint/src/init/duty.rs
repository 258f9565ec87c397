//! The loop over signals and deaths.
//!
//! Owns the time between the start of the main child and its end. Never does: wake up without a signal or a deadline.
//! Invariant: all children that had ended when it returns are reaped.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::getpid;

use super::audience::{Sent, send};
use super::foreground::Lent;
use super::settings::{Settings, Suspension};
use super::signal_set::{has, set_of};
use super::speech::{Happening, Speech};
use crate::suspension::suspend;
use crate::sys;

/// Signals that stop a job from its terminal.
const JOB_STOPS: u64 = set_of(&[libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);

/// Signals that ask for the end, after which the time of `--stop-timeout` runs.
const STOPS: u64 = set_of(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP]);

/// The init while the main child lives.
#[derive(Debug)]
pub(super) struct Duty<'a> {
    pub(super) settings: &'a Settings,
    pub(super) speech: Speech,
    pub(super) child: i32,
    /// The terminal's foreground, if the child has got it from us.
    pub(super) lent: Option<Lent>,
    /// Signals that are swallowed once.
    pub(super) swallowed: u64,
    /// When the child is killed.
    pub(super) stop_ends_at: Option<Instant>,
    /// When the pages are let go of that only the start needed; once, and it is the one time that nothing but the clock wakes
    /// the init.
    pub(super) settles_at: Option<Instant>,
}

impl Duty<'_> {
    /// Does it until the main child is reaped; gives its exit code, 128 + n for a death by signal n.
    ///
    /// # Errors
    /// When signals cannot be waited for; the main child is killed then.
    pub(super) fn stand(mut self) -> io::Result<u8> {
        loop {
            let next_at = self.stop_ends_at.into_iter().chain(self.settles_at).min();
            let limit = next_at.map(|at| at.saturating_duration_since(Instant::now()));
            match sys::take_signal(self.settings.taken, limit) {
                Ok(Some(libc::SIGCHLD)) => {
                    self.speech.tell(Happening::Received(libc::SIGCHLD));
                    if let Some(status) = self.reap() {
                        return Ok(code_of(status));
                    }
                }
                Ok(Some(signal)) => self.pass_on(signal),
                Ok(None) => {
                    self.settle_when_due();
                    self.kill_when_due();
                }
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Err(error) => {
                    // Without a wait nothing can be passed on, and turning here would take the whole processor.
                    let _ = sys::send_signal(self.child, libc::SIGKILL);
                    return Err(error);
                }
            }
        }
    }

    /// Passes on a signal, or what it is turned into.
    fn pass_on(&mut self, signal: i32) {
        self.speech.tell(Happening::Received(signal));
        if has(self.swallowed, signal) {
            self.swallowed &= !set_of(&[signal]);
            self.speech.tell(Happening::Swallowed(signal));
            return;
        }
        if signal == libc::SIGCONT
            && let Some(lent) = self.lent
        {
            lent.give();
        }
        match self.settings.rewrites.of(signal) {
            None => self.speech.tell(Happening::Dropped(signal)),
            Some(target) => {
                if target != signal {
                    let from = signal;
                    self.speech.tell(Happening::Rewritten { from, to: target });
                }
                self.send(target);
                if has(self.settings.continued_after, target) {
                    self.send(libc::SIGCONT);
                }
            }
        }
        if let Some(limit) = self.settings.stop_timeout
            && has(STOPS, signal)
        {
            self.stop_ends_at
                .get_or_insert_with(|| Instant::now() + limit);
        }
        if self.settings.suspension == Suspension::OnSignal && has(JOB_STOPS, signal) {
            self.speech.tell(Happening::Suspends);
            // Nobody can stop PID 1, and then it goes on.
            let _ = sys::send_signal(getpid().as_raw(), libc::SIGSTOP);
        }
    }

    /// Sends a signal to whom it is for, and says so.
    fn send(&self, signal: i32) {
        match send(self.settings.audience, self.child, signal) {
            Ok(Sent::Somebody) => self.speech.tell(Happening::Passed(signal)),
            Ok(Sent::Nobody) => self.speech.tell(Happening::NobodyThere(signal)),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                let step = "pass on a signal";
                self.speech.tell(Happening::Failed { step, errno });
            }
        }
    }

    /// Reaps all that have ended, and gives the status of the main child once it has. One SIGCHLD may stand for any number.
    fn reap(&self) -> Option<ExitStatus> {
        let mut main = None;
        // An error is that there is no child; nothing else can happen to a call that does not block.
        while let Ok(Some((pid, status))) = self.next_change() {
            let is_main = pid == self.child;
            if let Some(signal) = status.stopped_signal() {
                if is_main && has(JOB_STOPS, signal) {
                    self.stop_with_the_child();
                }
                continue;
            }
            if status.continued() {
                continue;
            }
            if is_main {
                main = Some(status);
            }
            if is_main || self.settings.tells_orphans {
                self.speech.tell(Happening::Reaped {
                    pid,
                    status,
                    is_main,
                });
            }
        }
        main
    }

    /// The next child that has ended; or that was stopped, where this matters.
    fn next_change(&self) -> io::Result<Option<(i32, ExitStatus)>> {
        match self.settings.suspension {
            Suspension::WithTheChild => sys::next_change(),
            Suspension::Never | Suspension::OnSignal => sys::reap_any(),
        }
    }

    /// Stops as the child was stopped from the terminal that we lent it, so that the shell gets the terminal back. SIGCONT
    /// is passed on like any signal, and so continues both.
    fn stop_with_the_child(&self) {
        let Some(lent) = self.lent else {
            return;
        };
        lent.take_back();
        self.speech.tell(Happening::Suspends);
        if let Err(error) = suspend().and_then(|()| sys::set_signal_mask(self.settings.taken)) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let step = "stop with the child";
            self.speech.tell(Happening::Failed { step, errno });
        }
    }

    /// Gives back what the start has taken.
    fn settle_when_due(&mut self) {
        if self
            .settles_at
            .take_if(|at| *at <= Instant::now())
            .is_some()
        {
            sys::let_go_of_program_pages();
        }
    }

    /// Kills the main child, and its group, when its time to stop is over. It is killed once; the kernel does the rest.
    fn kill_when_due(&mut self) {
        if self.stop_ends_at.is_some_and(|at| at <= Instant::now()) {
            self.speech.tell(Happening::OutOfTime);
            self.send(libc::SIGKILL);
            // A process that sleeps in the kernel dies when it can; no deadline is left to wake up for.
            self.stop_ends_at = Instant::now().checked_add(FOR_EVER);
        }
    }
}

/// Longer than any container lives.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// The exit code for a status.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}
