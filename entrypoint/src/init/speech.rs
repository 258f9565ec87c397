//! What an init says while it works, in the words that belong to it.
//!
//! Owns when a line is said and where. Never does: block, fail or allocate, so that it may be called after a fork, too.

use std::fmt::{self, Display};
use std::os::fd::AsFd;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::getpid;

use super::form::Form;
use crate::notice::write_line;
use crate::sys;

/// What there is to say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening<'a> {
    /// The main child was started.
    Started { name: &'a str, pid: i32 },
    /// The program cannot be executed.
    Unexecutable { name: &'a str, errno: i32 },
    /// A step before the exec or in the init failed.
    Failed { step: &'static str, errno: i32 },
    /// The terminal was given up, and the signals that this causes are swallowed once, or not.
    TerminalGivenUp { led_session: bool },
    /// There is no terminal to give up.
    NoTerminalToGiveUp { errno: i32 },
    /// There is none to take in the new session.
    NoTerminalToTake { errno: i32 },
    /// The main child leads a session.
    SessionMade,
    /// The init does not reap what descends from it.
    NotReaper,
    /// A signal came.
    Received(i32),
    /// A signal that giving up the terminal has caused is swallowed.
    Swallowed(i32),
    /// A signal is turned into another.
    Rewritten { from: i32, to: i32 },
    /// It was passed on.
    Passed(i32),
    /// It was dropped, as asked for.
    Dropped(i32),
    /// Nobody was there to get it.
    NobodyThere(i32),
    /// The init stops with its job.
    Suspends,
    /// A child was reaped.
    Reaped {
        pid: i32,
        status: ExitStatus,
        is_main: bool,
    },
    /// The time for a stop is over and the main child is killed.
    OutOfTime,
    /// So many processes were left and killed.
    Killed(u32),
    /// So many could not be killed.
    Remaining(u32),
    /// The init ends with this code.
    Ends(u8),
}

/// How much has to be asked for before a line is said; negative is always.
const ALWAYS: i32 = -1;

/// A line and where it belongs.
struct Line<T> {
    /// The verbosity above which it is said.
    above: i32,
    text: T,
}

/// Who speaks, and how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech {
    pub(super) form: Form,
    pub(super) verbosity: i32,
}

impl Speech {
    /// Says it, if it is to be said.
    pub(super) fn tell(self, happening: Happening<'_>) {
        match self.form {
            Form::Own => self.tell_own(happening),
            Form::Tini => self.tell_as_tini(happening),
            Form::DumbInit => self.tell_as_dumb_init(happening),
        }
    }

    fn tell_own(self, happening: Happening<'_>) {
        let above = match happening {
            Happening::Unexecutable { .. }
            | Happening::Failed { .. }
            | Happening::NotReaper
            | Happening::OutOfTime
            | Happening::Remaining(_) => ALWAYS,
            Happening::NobodyThere(_)
            | Happening::Started { .. }
            | Happening::TerminalGivenUp { .. }
            | Happening::NoTerminalToGiveUp { .. }
            | Happening::NoTerminalToTake { .. }
            | Happening::SessionMade
            | Happening::Received(_)
            | Happening::Swallowed(_)
            | Happening::Rewritten { .. }
            | Happening::Passed(_)
            | Happening::Dropped(_)
            | Happening::Suspends
            | Happening::Reaped { .. }
            | Happening::Killed(_)
            | Happening::Ends(_) => 0,
        };
        if self.verbosity > above {
            write_line(
                std::io::stderr().as_fd(),
                format_args!("stockade init: {}", Own(happening)),
            );
        }
    }

    fn tell_as_tini(self, happening: Happening<'_>) {
        let Some(Line { above, text: level }) = tini_level(happening) else {
            return;
        };
        if self.verbosity <= above {
            return;
        }
        let pid = getpid();
        // What is no fault and no warning goes to stdout, as it does there.
        let is_fault = above <= 0;
        let text = format_args!("[{level} tini ({pid})] {}", Tini(happening));
        if is_fault {
            write_line(std::io::stderr().as_fd(), text);
        } else {
            write_line(sys::standard_output(), text);
        }
    }

    fn tell_as_dumb_init(self, happening: Happening<'_>) {
        let above = match happening {
            Happening::Unexecutable { .. } | Happening::Failed { .. } => ALWAYS,
            Happening::Started { .. }
            | Happening::TerminalGivenUp { .. }
            | Happening::NoTerminalToGiveUp { .. }
            | Happening::NoTerminalToTake { .. }
            | Happening::SessionMade
            | Happening::Received(_)
            | Happening::Swallowed(_)
            | Happening::Rewritten { .. }
            | Happening::Passed(_)
            | Happening::NobodyThere(_)
            | Happening::Dropped(_)
            | Happening::Suspends
            | Happening::Reaped { .. }
            | Happening::Ends(_) => 0,
            Happening::NotReaper
            | Happening::OutOfTime
            | Happening::Killed(_)
            | Happening::Remaining(_) => return,
        };
        if self.verbosity > above {
            write_line(
                std::io::stderr().as_fd(),
                format_args!("[dumb-init] {}", DumbInit(happening)),
            );
        }
    }
}

/// The word for a happening that tini puts before its lines; none where it says nothing.
fn tini_level(happening: Happening<'_>) -> Option<Line<&'static str>> {
    let line = |above, text| Some(Line { above, text });
    match happening {
        Happening::Unexecutable { .. } | Happening::Failed { .. } => line(ALWAYS, "FATAL"),
        Happening::NotReaper
        | Happening::NobodyThere(_)
        | Happening::Reaped { is_main: false, .. } => line(0, "WARN "),
        Happening::Started { .. } | Happening::Reaped { is_main: true, .. } => line(1, "INFO "),
        Happening::Received(_) | Happening::Passed(_) => line(2, "DEBUG"),
        Happening::Ends(_) => line(3, "TRACE"),
        Happening::TerminalGivenUp { .. }
        | Happening::NoTerminalToGiveUp { .. }
        | Happening::NoTerminalToTake { .. }
        | Happening::SessionMade
        | Happening::Swallowed(_)
        | Happening::Rewritten { .. }
        | Happening::Dropped(_)
        | Happening::Suspends
        | Happening::OutOfTime
        | Happening::Killed(_)
        | Happening::Remaining(_) => None,
    }
}

/// How a child ended, in a few words.
struct End(ExitStatus);

impl Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::process::ExitStatusExt;
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(formatter, "exited with exit status {code}"),
            (None, Some(signal)) => write!(formatter, "was terminated by signal {signal}"),
            (None, None) => formatter.write_str("ended"),
        }
    }
}

/// What the system says of an errno.
fn reason(errno: i32) -> &'static str {
    Errno::from_raw(errno).desc()
}

/// In our words.
struct Own<'a>(Happening<'a>);

impl Display for Own<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Happening::Started { name, pid } => write!(formatter, "{name} runs as process {pid}"),
            Happening::Unexecutable { name, errno } => {
                write!(formatter, "cannot execute {name}: {}", reason(errno))
            }
            Happening::Failed { step, errno } => {
                write!(formatter, "cannot {step}: {}", reason(errno))
            }
            Happening::TerminalGivenUp { .. } => formatter.write_str("gave up the terminal"),
            Happening::NoTerminalToGiveUp { errno } | Happening::NoTerminalToTake { errno } => {
                write!(formatter, "there is no terminal: {}", reason(errno))
            }
            Happening::SessionMade => formatter.write_str("the child leads a session"),
            Happening::NotReaper => formatter.write_str(
                "orphans will not be reaped: this is not PID 1 and cannot become a subreaper",
            ),
            Happening::Received(signal) => write!(formatter, "signal {signal} came"),
            Happening::Swallowed(signal) => write!(formatter, "signal {signal} was swallowed"),
            Happening::Rewritten { from, to } => {
                write!(formatter, "signal {from} is passed on as {to}")
            }
            Happening::Passed(signal) => write!(formatter, "signal {signal} was passed on"),
            Happening::Dropped(signal) => write!(formatter, "signal {signal} was dropped"),
            Happening::NobodyThere(signal) => {
                write!(formatter, "nobody was there for signal {signal}")
            }
            Happening::Suspends => formatter.write_str("stops with its job"),
            Happening::Reaped { pid, status, .. } => {
                write!(formatter, "process {pid} {}", End(status))
            }
            Happening::OutOfTime => {
                formatter.write_str("the child did not end in time after a stop and is killed")
            }
            Happening::Killed(count) => {
                write!(formatter, "processes that were left and killed: {count}")
            }
            Happening::Remaining(count) => {
                write!(formatter, "processes that cannot be killed: {count}")
            }
            Happening::Ends(code) => write!(formatter, "ends with {code}"),
        }
    }
}

/// In the words that scripts look for in the lines of tini.
struct Tini<'a>(Happening<'a>);

impl Display for Tini<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Happening::Started { name, pid } => {
                write!(formatter, "Spawned child process '{name}' with pid '{pid}'")
            }
            Happening::Unexecutable { name, errno } => {
                write!(formatter, "exec {name} failed: {}", reason(errno))
            }
            Happening::NotReaper => formatter.write_str(
                "not PID 1 and no child subreaper: zombie reaping won't work; -s or TINI_SUBREAPER makes it one",
            ),
            Happening::Passed(signal) => write!(formatter, "Passing signal: {signal}"),
            Happening::Received(signal) => write!(formatter, "Received signal: {signal}"),
            Happening::NobodyThere(_) => {
                formatter.write_str("Child was dead when forwarding signal")
            }
            Happening::Reaped { is_main: true, status, .. } => {
                write!(formatter, "Main child {}", End(status))
            }
            Happening::Reaped { pid, is_main: false, .. } => {
                write!(formatter, "Reaped zombie process with pid={pid}")
            }
            Happening::Ends(_) => formatter.write_str("Exiting: child has exited"),
            other @ (Happening::Failed { .. }
            | Happening::TerminalGivenUp { .. }
            | Happening::NoTerminalToGiveUp { .. }
            | Happening::NoTerminalToTake { .. }
            | Happening::SessionMade
            | Happening::Swallowed(_)
            | Happening::Rewritten { .. }
            | Happening::Dropped(_)
            | Happening::Suspends
            | Happening::OutOfTime
            | Happening::Killed(_)
            | Happening::Remaining(_)) => Own(other).fmt(formatter),
        }
    }
}

/// In the words that scripts look for in the lines of dumb-init.
struct DumbInit<'a>(Happening<'a>);

impl Display for DumbInit<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Happening::Started { pid, .. } => write!(formatter, "Child spawned with PID {pid}."),
            Happening::Unexecutable { name, errno } => {
                write!(formatter, "{name}: {}", reason(errno))
            }
            Happening::TerminalGivenUp { led_session: true } => formatter.write_str(
                "Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.",
            ),
            Happening::TerminalGivenUp { led_session: false } => {
                formatter.write_str("Detached from controlling tty, but was not session leader.")
            }
            Happening::NoTerminalToGiveUp { errno } => write!(
                formatter,
                "Unable to detach from controlling tty (errno={errno} {}).",
                reason(errno)
            ),
            Happening::NoTerminalToTake { errno } => write!(
                formatter,
                "Unable to attach to controlling tty (errno={errno} {}).",
                reason(errno)
            ),
            Happening::SessionMade => formatter.write_str("setsid complete."),
            Happening::Received(signal) => write!(formatter, "Received signal {signal}."),
            Happening::Swallowed(signal) => {
                write!(formatter, "Ignoring tty hand-off signal {signal}.")
            }
            Happening::Rewritten { from, to } => {
                write!(formatter, "Translating signal {from} to {to}.")
            }
            Happening::Passed(signal) | Happening::NobodyThere(signal) => {
                write!(formatter, "Forwarded signal {signal} to children.")
            }
            Happening::Dropped(signal) => {
                write!(
                    formatter,
                    "Not forwarding signal {signal} to children (ignored)."
                )
            }
            Happening::Suspends => formatter.write_str("Suspending self due to TTY signal."),
            Happening::Reaped { pid, status, .. } => {
                write!(formatter, "A child with PID {pid} {}.", End(status))
            }
            Happening::Ends(code) => {
                write!(formatter, "Child exited with status {code}. Goodbye.")
            }
            other @ (Happening::Failed { .. }
            | Happening::NotReaper
            | Happening::OutOfTime
            | Happening::Killed(_)
            | Happening::Remaining(_)) => Own(other).fmt(formatter),
        }
    }
}
