//! The guardian alone: an init for any container, without a run, a supervisor or a record.
//!
//! Owns signals, reaping and the exit code of one command, in its own way or in that of an init that it stands in for.
//! Never does: start a thread, wake up without a reason, or hold a descriptor or directory of anybody (in its own way).
//! Invariant: from its first statement no signal is lost, but for those that the kernel drops before it, and as PID 1 or
//! subreaper no zombie stays.
//!
//! 1. Block all signals.
//! 2. Read the command line: the flags of ours, or the options of the other init.
//! 3. Signals to ignore, death of the parent, subreaper, terminal, directory.
//! 4. Start the main child.
//! 5. Pass signals on and reap, until it has ended.
//! 6. End what is left, give the terminal back, and end with the code that follows.
//!
//! Modules in reading order:

/// Which init this is.
mod form;
/// Signals by number and name, and what they are turned into.
mod signal_set;
/// What an init does, as data.
mod settings;
/// The flags of `stockade init`.
mod options;
/// Words of a command line as getopt(3) reads them.
mod words;
/// The command line of tini.
mod tini;
/// The command line of dumb-init.
mod dumb_init;
/// What an init says.
mod speech;
/// The terminal's foreground, lent to the main child.
mod foreground;
/// Fork and exec of the main child.
mod birth;
/// Who gets a signal.
mod audience;
/// The loop over signals and deaths.
mod duty;
/// The end of what outlives the main child.
mod rest;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::prctl;
use nix::unistd::{Pid, getpid, getppid, getsid};

pub use form::Form;
pub use options::{FLAGS, Flag};

use crate::guardian::leave_directory;
use crate::sys::{self, ListenPid};
use birth::{Birth, Original};
use duty::Duty;
use foreground::Lent;
use options::Asked;
use settings::{Foreground, Holds, Place, Settings, Subreaper};
use signal_set::set_of;
use speech::{Happening, Speech};

/// Exit code of a command line that is not one of ours.
const WRONG_COMMAND_LINE: u8 = 2;

/// Time after which a command is one that stays: what ends before is not made dearer by tidying up.
const SETTLING: Duration = Duration::from_millis(50);

/// Signals whose disposition the init may change for itself, so that the main child gets back what was found.
const CHANGED: [i32; 4] = [libc::SIGCHLD, libc::SIGPIPE, libc::SIGTTIN, libc::SIGTTOU];

/// Signals for which the runtime has handlers of its own.
const RUNTIME_HANDLED: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What a command line of another init gets for an answer in place of a start.
#[derive(Debug)]
struct Answer {
    text: String,
    is_for_stdout: bool,
    code: u8,
}

impl Answer {
    /// What was asked for, on stdout.
    fn printed(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_for_stdout: true,
            code: 0,
        }
    }

    /// What was asked for, on stderr.
    fn told(text: String) -> Self {
        Self {
            text,
            is_for_stdout: false,
            code: 0,
        }
    }

    /// Why nothing is started.
    fn refused(text: String, code: u8) -> Self {
        Self {
            text,
            is_for_stdout: false,
            code,
        }
    }

    /// Says it, and ends with its code.
    fn give(self) -> ExitCode {
        let text = format!("{}\n", self.text.trim_end());
        // Nobody is left to be told where even this cannot be written.
        let _ = if self.is_for_stdout {
            io::stdout().write_all(text.as_bytes())
        } else {
            io::stderr().write_all(text.as_bytes())
        };
        ExitCode::from(self.code)
    }
}

/// The whole life of a process that is an init; must be its first statement.
///
/// `program` is the name that it was started by, and `arguments` is what follows it, and the word `init`. None when our own
/// help was asked for, which the caller prints.
///
/// The exit code is that of the command, 128 + n when signal n ended it, 127 for a program that is not there and 126 for one
/// that cannot be executed, 2 for a wrong command line and 125 when the init itself cannot do its work; other inits have
/// their own for the last four.
#[must_use]
pub fn init_main(form: Form, program: &OsStr, arguments: Vec<OsString>) -> Option<ExitCode> {
    let parent = getppid();
    let mask = sys::replace_signal_mask(u64::MAX);
    let settings = match read_command_line(form, program, arguments) {
        Ok(Some(settings)) => settings,
        Ok(None) => return None,
        Err(answer) => return Some(answer.give()),
    };
    let speech = Speech {
        form: settings.form,
        verbosity: settings.verbosity,
    };
    let code = mask.map_err(failed("block signals")).and_then(|mask| {
        let original = Original::found(mask, &CHANGED);
        serve(&settings, speech, original, parent)
    });
    Some(ExitCode::from(code.unwrap_or_else(
        |Failure { step, error }| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            speech.tell(Happening::Failed { step, errno });
            settings.failure
        },
    )))
}

/// A step of the init that the system refused.
struct Failure {
    step: &'static str,
    error: io::Error,
}

/// Names the step that failed.
fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure {
        step,
        error: error.into(),
    }
}

/// Step 2; nothing when our help is asked for.
fn read_command_line(
    form: Form,
    program: &OsStr,
    arguments: Vec<OsString>,
) -> Result<Option<Settings>, Answer> {
    match form {
        Form::Own => match options::parse(arguments) {
            Ok(Asked::Start(settings)) => Ok(Some(*settings)),
            Ok(Asked::Compat(Form::DumbInit, words)) => {
                dumb_init::parse(OsStr::new("dumb-init"), words).map(Some)
            }
            Ok(Asked::Compat(Form::Own | Form::Tini, words)) => {
                tini::parse(OsStr::new("tini"), words).map(Some)
            }
            Ok(Asked::Help) => Ok(None),
            Err(error) => Err(Answer::refused(
                format!("stockade init: {error}"),
                WRONG_COMMAND_LINE,
            )),
        },
        Form::Tini => tini::parse(program, arguments).map(Some),
        Form::DumbInit => dumb_init::parse(program, arguments).map(Some),
    }
}

/// Steps 3 to 6.
fn serve(
    settings: &Settings,
    speech: Speech,
    original: Original,
    parent: Pid,
) -> Result<u8, Failure> {
    prepare_signals(settings).map_err(failed("set up signals"))?;
    watch_parent(settings, parent).map_err(failed("hear of the parent's death"))?;
    become_reaper(settings, speech);
    let mut swallowed = 0;
    if settings.place == Place::OwnSession {
        swallowed = give_up_terminal(speech);
    }
    let lends = settings.foreground == Foreground::Lent && foreground::is_ours();
    let directory = match settings.holds {
        Holds::Nothing | Holds::Descriptors => leave_directory(),
        Holds::Everything => None,
    };
    let birth = Birth {
        settings,
        speech,
        original,
        directory: directory.as_ref().map(OwnedFd::as_fd),
        takes_foreground: lends || settings.foreground == Foreground::Taken,
        listen_pid: match settings.form {
            Form::Own => ListenPid::of_this_process(),
            Form::Tini | Form::DumbInit => None,
        },
    };
    let child = birth.start().map_err(failed("fork"))?;
    drop(directory);
    if settings.holds == Holds::Nothing {
        // An old kernel or a seccomp filter: what was inherited stays open, which harms nothing but tidiness.
        let _ = sys::close_range(3, u32::MAX);
    }
    let lent = lends.then(|| Lent::to(child));
    let duty = Duty {
        settings,
        speech,
        child,
        lent,
        swallowed,
        stop_ends_at: None,
        settles_at: Some(Instant::now() + SETTLING),
    };
    let ended = duty.stand().map_err(failed("wait for signals"));
    if ended.is_ok() {
        rest::end(settings, speech, child);
    }
    if let Some(lent) = lent {
        lent.take_back();
    }
    let code = ended?;
    let code = settings
        .exit_codes
        .get(usize::from(code))
        .copied()
        .unwrap_or(code);
    speech.tell(Happening::Ends(code));
    Ok(code)
}

/// Which signals wait for the loop, which are ignored, and which do what they would to any program.
fn prepare_signals(settings: &Settings) -> io::Result<()> {
    // Were it ignored, as some parents leave it, the kernel would reap our children itself.
    sys::reset_disposition(libc::SIGCHLD)?;
    for signal in CHANGED {
        if signal_set::has(settings.ignored, signal) {
            sys::ignore(signal)?;
        }
    }
    for signal in RUNTIME_HANDLED {
        if !signal_set::has(settings.taken, signal) && !sys::is_ignored(signal)? {
            sys::reset_disposition(signal)?;
        }
    }
    sys::set_signal_mask(settings.taken)
}

/// Has a signal sent to the init when its parent dies, or at once when it is dead already.
fn watch_parent(settings: &Settings, parent: Pid) -> io::Result<()> {
    let Some(signal) = settings.parent_death else {
        return Ok(());
    };
    prctl::set_pdeathsig(signal)?;
    if getppid() != parent {
        sys::send_signal(getpid().as_raw(), signal as i32)?;
    }
    Ok(())
}

/// Makes orphans come to this process; says so where they will not.
fn become_reaper(settings: &Settings, speech: Speech) {
    if getpid().as_raw() == 1 {
        return;
    }
    let is_reaper = match settings.subreaper {
        Subreaper::Becomes => prctl::set_child_subreaper(true).is_ok(),
        // An exec leaves the attribute as it is.
        Subreaper::Warns => prctl::get_child_subreaper().unwrap_or(false),
        Subreaper::No => true,
    };
    if !is_reaper {
        speech.tell(Happening::NotReaper);
    }
}

/// Gives up the terminal for the main child's session; gives the signals to swallow that this causes.
fn give_up_terminal(speech: Speech) -> u64 {
    match sys::give_up_terminal() {
        Ok(()) => {
            // The kernel sends both to the foreground group when the leader of its session lets go (ioctl_tty(2)).
            let led_session = getsid(None) == Ok(getpid());
            speech.tell(Happening::TerminalGivenUp { led_session });
            if led_session {
                set_of(&[libc::SIGHUP, libc::SIGCONT])
            } else {
                0
            }
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            speech.tell(Happening::NoTerminalToGiveUp { errno });
            0
        }
    }
}
