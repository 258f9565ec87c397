//! The loop that waits for signals, messages and deadlines.
//!
//! Owns the time between the start of the supervisor and its death. Never does: wake up without a reason, or block in
//! anything but its one wait and a requested sweep.
//! Invariant: it returns only when the supervisor is reaped, and everything that the supervisor had said is heard by then.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::channel::{Channel, WhenFull};
use crate::ending::{End, Ending, Said};
use crate::escalation::{Escalation, KillReason, StopSignal};
use crate::message::{SignalNotice, ToGuardian, ToSupervisor};
use crate::notice::notice;
use crate::reaper::Reaper;
use crate::signals::{Meaning, SignalQueue, meaning};
use crate::supervisor::Supervisor;
use crate::suspension::suspend;
use crate::sweep::sweep_on_request;
use crate::terminal::SavedTerminal;
use crate::watchdog::{Watch, Watchdog};

/// Most messages taken per wake-up, so that a chatty supervisor cannot keep a stop signal waiting.
const MESSAGES_PER_WAKE_UP: usize = 64;

/// Most messages taken after the supervisor's death: more than its socket can hold.
const LAST_MESSAGES: usize = 4096;

/// SIGCONT, as it is passed on.
const CONTINUE: u32 = nix::libc::SIGCONT.unsigned_abs();

/// One supervisor under guard.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Who is guarded.
    pub(crate) supervisor: Supervisor,
    /// Where stop requests come from.
    pub(crate) signals: SignalQueue,
    /// Where the supervisor's wishes come from.
    pub(crate) channel: Channel,
    /// When the supervisor is killed.
    pub(crate) escalation: Escalation,
    /// Whether it is alive.
    pub(crate) watchdog: Watchdog,
    /// The terminal that the run reads from.
    pub(crate) terminal: Option<Rc<SavedTerminal>>,
}

/// What changes while the guard stands.
#[derive(Debug)]
struct Seen {
    /// Set when the supervisor is killed, once.
    killed: Option<KillReason>,
    /// Set by `finished`.
    said: Said,
    shown_rows: u16,
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Something may be there, or the time is up.
    Look,
    /// As `Look`, and the supervisor has closed its end of the socket.
    HungUp,
}

impl Guard {
    /// Guards the supervisor until it is gone.
    pub(crate) fn stand(mut self, reaper: &mut Reaper) -> Ending {
        let mut seen = Seen {
            killed: None,
            said: Said::Nothing,
            shown_rows: 0,
        };
        reaper.watch(self.supervisor.pid());
        loop {
            // The order matters: signals first, so that a stop is never behind a message; the reaping after the signals, so
            // that no SIGCHLD taken is left without it; the messages of a dead supervisor once more, because it may have
            // said `finished` right before it died.
            self.take_signals();
            reaper.reap();
            if let Some(status) = reaper.status() {
                self.take_messages(LAST_MESSAGES, &mut seen, reaper);
                let end = self
                    .supervisor
                    .start_failure()
                    .map_or(End::of(status), End::StartFailed);
                let stop_requested = self.escalation.stop_was_requested();
                return Ending {
                    end,
                    killed: seen.killed,
                    said: seen.said,
                    stop_requested,
                    shown_rows: seen.shown_rows,
                };
            }
            self.channel.send_kept();
            self.take_messages(MESSAGES_PER_WAKE_UP, &mut seen, reaper);
            self.kill_when_due(&mut seen);
            if self.wait(seen.killed) == Woken::HungUp {
                self.take_messages(LAST_MESSAGES, &mut seen, reaper);
                self.channel.close();
            }
        }
    }

    /// Passes on all signals that are there, a stop request once.
    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            let when_full = match meaning(signal.signal) {
                Meaning::ChildEnded | Meaning::TerminalAccess => continue,
                Meaning::Stop => {
                    match self.escalation.stop_requested(signal, Instant::now()) {
                        StopSignal::Counted => WhenFull::Keep,
                        // The supervisor would count it or not by its own clock, so it does not hear of it.
                        StopSignal::Repeated => continue,
                    }
                }
                Meaning::Suspend => {
                    self.suspend(signal);
                    continue;
                }
                Meaning::Other => WhenFull::Drop,
            };
            self.channel.send(ToSupervisor::Signal(signal), when_full);
        }
    }

    /// Stops until the run is continued, as a job of a shell. The supervisor freezes the workload meanwhile, and goes on
    /// answering. What is sent to this process waits until then, but for SIGKILL.
    fn suspend(&mut self, signal: SignalNotice) {
        self.channel
            .send(ToSupervisor::Signal(signal), WhenFull::Drop);
        let replaced = self
            .terminal
            .as_ref()
            .and_then(|terminal| terminal.restore());
        if let Err(error) = suspend() {
            notice(format_args!("cannot suspend: {error}"));
        }
        if let (Some(terminal), Some(replaced)) = (&self.terminal, replaced) {
            terminal.set(&replaced);
        }
        let go_on = SignalNotice {
            signal: CONTINUE,
            ..signal
        };
        self.channel
            .send(ToSupervisor::Signal(go_on), WhenFull::Drop);
    }

    /// Does what the supervisor asks for.
    fn take_messages(&mut self, most: usize, seen: &mut Seen, reaper: &mut Reaper) {
        for _ in 0..most {
            let Some(message) = self.channel.receive() else {
                return;
            };
            match message {
                // Nothing waits for it: the socket holds what comes before.
                ToGuardian::Ready => {}
                ToGuardian::Alive => self.watchdog.answered(),
                ToGuardian::Sweep { request, kept } => {
                    if reaper.status().is_some() {
                        // Nobody is left to answer, and the last sweep spares nothing.
                        continue;
                    }
                    let mut spared = kept;
                    spared.push(self.supervisor.pid());
                    let swept = sweep_on_request(&spared, reaper);
                    let answer = ToSupervisor::Swept {
                        request,
                        killed: swept.killed,
                        remaining: swept.remaining,
                    };
                    self.channel.send(answer, WhenFull::Drop);
                }
                ToGuardian::Stopping {
                    grace_ms: Some(grace_ms),
                } => {
                    self.escalation
                        .stop_begun(Duration::from_millis(grace_ms), Instant::now());
                }
                ToGuardian::Stopping { grace_ms: None } => {}
                ToGuardian::Paused => self.escalation.pause_begun(Instant::now()),
                ToGuardian::Resumed => self.escalation.pause_ended(Instant::now()),
                ToGuardian::Shows { rows } => seen.shown_rows = rows,
                ToGuardian::Finished { exit_code } => seen.said = Said::Finished(exit_code),
            }
        }
    }

    /// Kills the supervisor once its time is up, and asks it whether it is alive when that is due.
    fn kill_when_due(&mut self, seen: &mut Seen) {
        if seen.killed.is_some() {
            return;
        }
        let now = Instant::now();
        let due = self
            .escalation
            .due(now)
            .or_else(|| match self.watchdog.look(now) {
                Watch::Wait => None,
                Watch::Ask => {
                    self.channel.send(ToSupervisor::Ask, WhenFull::Drop);
                    None
                }
                Watch::GiveUp => Some(KillReason::Watchdog),
            });
        if let Some(reason) = due {
            match reason {
                KillReason::Stop => notice(format_args!(
                    "supervisor did not stop in time and is killed"
                )),
                KillReason::Deadline => notice(format_args!(
                    "supervisor outlived the deadline and is killed"
                )),
                KillReason::Watchdog => {
                    notice(format_args!("supervisor does not answer and is killed"));
                }
            }
            self.supervisor.kill();
            seen.killed = Some(reason);
        }
    }

    /// Waits until a signal or a message is there, or until patience ends; without either, for ever.
    fn wait(&self, killed: Option<KillReason>) -> Woken {
        let ends_at = if killed.is_some() {
            None
        } else {
            let instants = [self.escalation.next_at(), self.watchdog.next_at()];
            instants.into_iter().flatten().min()
        };
        let timeout =
            ends_at.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        let for_room = if self.channel.waits_for_room() {
            PollFlags::POLLOUT
        } else {
            PollFlags::empty()
        };
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let socket = match self.channel.socket() {
            Some(socket) => PollFd::new(socket, PollFlags::POLLIN | for_room),
            // Stands in for the closed socket; it is asked for nothing and so wakes nobody.
            None => PollFd::new(self.signals.as_fd(), PollFlags::empty()),
        };
        let mut waiting = [signals, socket];
        match ppoll(&mut waiting, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                // Without a wait the guardian cannot guard. The loop then turns until the killed supervisor is reaped.
                notice(format_args!("cannot wait for signals: {error}"));
                self.supervisor.kill();
            }
        }
        let [_, socket] = waiting;
        if socket
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP))
        {
            Woken::HungUp
        } else {
            Woken::Look
        }
    }
}
