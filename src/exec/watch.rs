//! From the start of the command to its end: signals, the timeout, and limits that nothing in the kernel holds.
//!
//! Owns the one wait of this process, in which a terminal is served too. It blocks in nothing else for longer than the
//! in-sandbox init takes to answer.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::SignalFd;
use stockade_sandbox::{End, LaunchId, LimitKind, Means, Sandbox, Target};

use super::terminal::{self, Console};
use crate::description::RunDescription;
use crate::session::sampling::{PAUSE_FACTOR, PROCESS_INTERVAL};

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself or by a signal.
    Itself(End),
    /// By a limit, as the kernel ends it.
    Passed {
        /// What to say of it.
        limit: String,
        end: End,
    },
    /// By its timeout.
    TimedOut,
}

/// A command that runs.
pub(super) struct Watch<'a> {
    sandbox: &'a Sandbox,
    launch: LaunchId,
    signals: &'a SignalFd,
    /// When it is asked to end; none without a timeout, and once it was asked.
    deadline: Option<Instant>,
    /// When everything is killed; none before it was asked to end.
    kill_at: Option<Instant>,
    grace: Duration,
    /// The limits that are looked at, and the time of the next look.
    sampled: Sampled,
    look_at: Option<Instant>,
}

/// Limits that nothing in the kernel holds.
#[derive(Debug, Clone, Copy, Default)]
struct Sampled {
    memory_bytes: Option<u64>,
    pids: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        sandbox: &'a Sandbox,
        launch: LaunchId,
        signals: &'a SignalFd,
        description: &RunDescription,
    ) -> Self {
        let now = Instant::now();
        let timeout = description
            .is_explicit("timeout_seconds")
            .then_some(description.timeout);
        let mut sampled = Sampled::default();
        for held in &sandbox.enforced().limits {
            if held.by != Means::Sampled {
                continue;
            }
            match held.limit {
                LimitKind::Memory => sampled.memory_bytes = Some(held.value),
                LimitKind::Pids => sampled.pids = Some(held.value),
                LimitKind::Swap | LimitKind::Cpus | LimitKind::FileSize => {}
            }
        }
        let is_sampled = sampled.memory_bytes.is_some() || sampled.pids.is_some();
        Self {
            sandbox,
            launch,
            signals,
            deadline: timeout.map(|timeout| now + timeout),
            kill_at: None,
            grace: description.grace,
            sampled,
            look_at: is_sampled.then(|| now + PROCESS_INTERVAL),
        }
    }

    /// Waits for the end of the command.
    ///
    /// # Errors
    /// When the sandbox is gone.
    pub(super) fn until_end(mut self, mut console: Option<&mut Console>) -> io::Result<Ended> {
        loop {
            if let Some(report) = self.sandbox.try_report()?
                && report.launch == self.launch
            {
                return Ok(match self.kill_at {
                    Some(_) => Ended::TimedOut,
                    None => self.judged(report.end),
                });
            }
            while let Some(told) = self.signals.read_signal()? {
                self.pass_on(told.ssi_signo, console.as_deref_mut());
            }
            let now = Instant::now();
            if self.kill_at.is_some_and(|at| at <= now) {
                return Ok(Ended::TimedOut);
            }
            if self.deadline.is_some_and(|at| at <= now) {
                self.deadline = None;
                self.kill_at = Some(now + self.grace);
                self.signal(Target::All, libc::SIGTERM);
            }
            if self.look_at.is_some_and(|at| at <= now) {
                if let Some(ended) = self.look() {
                    return Ok(ended);
                }
                let pause = PROCESS_INTERVAL.max(now.elapsed() * PAUSE_FACTOR);
                self.look_at = Some(Instant::now() + pause);
            }
            self.wait(console.as_deref_mut())?;
        }
    }

    /// Waits for the next thing to do.
    fn wait(&self, console: Option<&mut Console>) -> io::Result<()> {
        let is_looked_at = console.as_ref().is_some_and(|one| one.is_looked_at());
        let outer = is_looked_at.then(|| Instant::now() + terminal::LOOK_INTERVAL);
        let next = [self.deadline, self.kill_at, self.look_at, outer];
        let next = next.into_iter().flatten().min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            // Rounded up, so that a wait below a millisecond is none of zero.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let own = [self.sandbox.as_fd(), self.signals.as_fd()];
        let waited = match console {
            Some(console) => console.wait(&own, timeout),
            None => {
                let mut waited = own.map(|one| PollFd::new(one, PollFlags::POLLIN));
                poll(&mut waited, timeout).map(drop)
            }
        };
        match waited {
            Ok(()) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Does with the command what a signal does to a process that stands in its place.
    fn pass_on(&self, signo: u32, console: Option<&mut Console>) {
        let Ok(signo) = i32::try_from(signo) else {
            return;
        };
        match signo {
            // About this process alone.
            libc::SIGCHLD | libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU => {}
            libc::SIGTSTP => self.suspend(console),
            libc::SIGCONT => {
                self.signal(Target::All, libc::SIGCONT);
                if let Some(console) = console {
                    console.take();
                    console.resize();
                }
            }
            libc::SIGWINCH if console.is_some() => {
                if let Some(console) = console {
                    console.resize();
                }
            }
            signo => self.signal(Target::Launch(self.launch), signo),
        }
    }

    /// Stops with the command as a job of a shell does, until somebody continues this process.
    fn suspend(&self, mut console: Option<&mut Console>) {
        // The command has a session of its own, in which nobody would continue it: the kernel ignores a SIGTSTP there.
        self.signal(Target::All, libc::SIGSTOP);
        if let Some(console) = console.as_deref_mut() {
            console.give_back();
        }
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTSTP);
        let _ = raise(Signal::SIGTSTP);
        // It stops here; where nobody could continue it the kernel discards the signal.
        let _ = stop.thread_unblock();
        let _ = stop.thread_block();
        if let Some(console) = console {
            console.take();
            console.resize();
        }
        self.signal(Target::All, libc::SIGCONT);
    }

    fn signal(&self, target: Target, signo: i32) {
        // Whoever has ended needs none.
        let _ = self.sandbox.signal(target, signo);
    }

    /// Looks at what the workload takes; an end for a limit that was passed.
    fn look(&self) -> Option<Ended> {
        let bound = self.sampled.memory_bytes.unwrap_or(u64::MAX);
        let taken = self.sandbox.taken(bound).ok()?;
        let passed = |limit: Option<u64>, value: u64| limit.filter(|limit| value > *limit);
        let limit = if let Some(limit) = passed(self.sampled.memory_bytes, taken.memory_bytes) {
            format!("killed for memory: more than {limit} bytes; --memory gives it more")
        } else if let Some(limit) = passed(self.sampled.pids, taken.pids) {
            format!("killed for processes: more than {limit}")
        } else {
            return None;
        };
        let end = End::Signaled {
            signal: libc::SIGKILL,
            core_dumped: false,
        };
        Some(Ended::Passed { limit, end })
    }

    /// Tells a SIGKILL of the kernel for a lack of memory from any other.
    fn judged(&self, end: End) -> Ended {
        let is_killed = matches!(
            end,
            End::Signaled {
                signal: libc::SIGKILL,
                ..
            }
        );
        let reading = || self.sandbox.group_reading().unwrap_or_default();
        if is_killed && reading().oom_kills.is_some_and(|kills| kills > 0) {
            let limit = "killed for memory: the limit of the sandbox was reached".to_owned();
            return Ended::Passed { limit, end };
        }
        Ended::Itself(end)
    }
}

/// Writes what a command that has ended left on its terminal. Whoever reads it may take its time, and any signal that would
/// end this process ends the wait.
pub(super) fn show_the_rest(console: &mut Console, signals: &SignalFd) {
    while console.has_more() {
        if let Ok(Some(told)) = signals.read_signal() {
            let is_harmless = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGCONT]
                .iter()
                .any(|signo| i64::from(*signo) == i64::from(told.ssi_signo));
            if !is_harmless {
                return;
            }
        }
        match console.wait(&[signals.as_fd()], PollTimeout::NONE) {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
