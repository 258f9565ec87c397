//! The terminal from which the run was started, and the terminals that its launches get.
//!
//! Owns the standard streams of a launch, the size that both terminals share, and suspension from the keyboard. It decides
//! nothing about the run: keys that mean an end are signals, and come as such.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::libc::{SIGCONT, SIGSTOP, SIGTSTP, SIGWINCH};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;
use stockade_sandbox::TerminalSize;
use tokio::sync::watch;

use super::keyboard::{Keyboard, Sink};
use super::workload::{Signaller, Workload};
use crate::cast::entry::DEFAULT_SIZE;
use crate::cast::{Cast, WindowSize};
use crate::description::RunDescription;
use crate::event::{Diagnostic, Event, Level};
use crate::log::ActionLog;

/// The console of one run; cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Launches get a terminal.
    tty: bool,
    /// Launches read what is typed or piped into the run.
    interactive: bool,
    demand: watch::Sender<Demand>,
    /// Std locks: held for moments, and never across an await.
    master: Mutex<Option<OwnedFd>>,
    keyboard: Mutex<Option<Keyboard>>,
}

/// What signals ask of the console; the newest state is all that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Demand {
    n_resized: u64,
    is_suspended: bool,
}

/// The standard streams of one launch.
#[derive(Debug)]
pub(super) struct Streams {
    /// The workload's side: input, output, error.
    pub(super) stdio: [OwnedFd; 3],
    /// Our side of its output, and of its error; on a terminal all comes by the first, and the second has ended.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Console {
    /// The console that a description asks for, without any launch.
    pub fn of(description: &RunDescription) -> Self {
        Self {
            shared: Arc::new(Shared {
                tty: description.tty,
                interactive: description.interactive,
                demand: watch::Sender::new(Demand::default()),
                master: Mutex::new(None),
                keyboard: Mutex::new(None),
            }),
        }
    }

    /// Whether launches get a terminal.
    pub fn has_terminal(&self) -> bool {
        self.shared.tty
    }

    /// Takes a signal that is about the terminal; others mean nothing here.
    pub fn note_signal(&self, signal: u32) {
        let change: fn(&mut Demand) = match i32::try_from(signal) {
            Ok(SIGWINCH) => |demand| demand.n_resized += 1,
            Ok(SIGTSTP) => |demand| demand.is_suspended = true,
            Ok(SIGCONT) => |demand| demand.is_suspended = false,
            Ok(_) | Err(_) => return,
        };
        self.shared.demand.send_modify(change);
    }

    /// Makes the standard streams of a launch, which from now on has the keyboard.
    pub(super) async fn streams(&self, workload: &Workload) -> io::Result<Streams> {
        let error = pipe(Use::Output)?;
        if self.shared.tty {
            let size = outer_size().unwrap_or(DEFAULT_SIZE);
            let size = TerminalSize {
                columns: size.columns,
                rows: size.rows,
            };
            let terminal = workload.open_terminal(size).await?;
            let copy = || terminal.slave.try_clone();
            let streams = Streams {
                stdio: [copy()?, copy()?, copy()?],
                stdout: terminal.master.try_clone()?,
                stderr: error.0,
            };
            if self.shared.interactive {
                self.connect(Sink::Terminal(terminal.master.try_clone()?))?;
            }
            *lock(&self.shared.master) = Some(terminal.master);
            return Ok(streams);
        }
        let output = pipe(Use::Output)?;
        let input = if self.shared.interactive {
            let input = pipe(Use::Input)?;
            self.connect(Sink::Pipe(input.1))?;
            input.0
        } else {
            File::open("/dev/null")?.into()
        };
        Ok(Streams {
            stdio: [input, output.1, error.1],
            stdout: output.0,
            stderr: error.0,
        })
    }

    fn connect(&self, sink: Sink) -> io::Result<()> {
        let mut keyboard = lock(&self.shared.keyboard);
        match &*keyboard {
            Some(keyboard) => keyboard.connect(sink),
            None => *keyboard = Some(Keyboard::start(sink)?),
        }
        Ok(())
    }

    /// Lets go of keyboard and terminal, and brings the outer terminal's settings back.
    pub(super) async fn release(&self) {
        let keyboard = lock(&self.shared.keyboard).take();
        if let Some(keyboard) = keyboard {
            // It ends at once, but for a write to a terminal that is held up.
            let _ = tokio::task::spawn_blocking(move || keyboard.end()).await;
        }
        lock(&self.shared.master).take();
    }

    /// Does what signals ask for, until it is dropped.
    pub(super) async fn follow(self, job: Signaller, log: ActionLog, cast: Cast) -> Infallible {
        let mut demands = self.shared.demand.subscribe();
        let mut done = Demand::default();
        loop {
            let demand = *demands.borrow_and_update();
            if demand.is_suspended != done.is_suspended {
                let (signo, message) = if demand.is_suspended {
                    (SIGSTOP, "the run is suspended from its terminal")
                } else {
                    (SIGCONT, "the run goes on")
                };
                let diagnostic = Diagnostic {
                    level: Level::Info,
                    message: message.to_owned(),
                    source: "supervisor".to_owned(),
                };
                // First, for what goes on may end at once, and this with it. Behind the terminal event there is nobody to tell.
                let _ = log.append_at_once(Event::Log(diagnostic));
                if let Err(error) = job.signal_all(signo).await {
                    tracing::debug!(%error, "nothing was there to be suspended or continued");
                }
            }
            if demand.n_resized != done.n_resized {
                self.resize(&cast);
            }
            done = demand;
            if demands.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn resize(&self, cast: &Cast) {
        let Some(size) = outer_size() else { return };
        let inner = TerminalSize {
            columns: size.columns,
            rows: size.rows,
        };
        if let Some(master) = &*lock(&self.shared.master)
            && let Err(error) = inner.apply(master.as_fd())
        {
            tracing::debug!(%error, "the terminal of the workload was not resized");
        }
        cast.resize(size);
    }
}

/// The size of the terminal that shows the run; none when no standard stream is one.
pub fn outer_size() -> Option<WindowSize> {
    let (output, error, input) = (stdout(), stderr(), stdin());
    let sizes = [
        TerminalSize::of(output.as_fd()),
        TerminalSize::of(error.as_fd()),
        TerminalSize::of(input.as_fd()),
    ];
    let size = sizes.into_iter().find_map(Result::ok)?;
    // A terminal that does not know its size says 0.
    (size.columns > 0 && size.rows > 0).then_some(WindowSize {
        columns: size.columns,
        rows: size.rows,
    })
}

/// Whether the terminal on stderr, if it is that of a shell's jobs, is this run's and not the shell's or another job's. The
/// guardian, our parent, is the job.
pub fn has_foreground() -> bool {
    let job = nix::unistd::getpgid(Some(nix::unistd::getppid()));
    match (nix::unistd::tcgetpgrp(stderr()), job) {
        (Ok(foreground), Ok(job)) => foreground == job,
        (Err(_), _) | (_, Err(_)) => true,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a workload does with its end of a pipe.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// It reads.
    Input,
    /// It writes.
    Output,
}

/// A pipe that a workload with another id may open again for its use, by the name that its end has in /proc, as
/// `> /dev/stderr` does. Who may not look into a process that holds an end has no such name.
pub(super) fn pipe(of_workload: Use) -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = pipe2(OFlag::O_CLOEXEC)?;
    let mode = match of_workload {
        Use::Input => 0o444,
        Use::Output => 0o222,
    };
    // Both ends are one file with one mode, and open ends stay what they are.
    fchmod(&ends.0, Mode::from_bits_truncate(mode))?;
    Ok(ends)
}
