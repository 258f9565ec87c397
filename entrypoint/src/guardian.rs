//! The guardian from its first statement to its exit code.
//!
//! Owns the order of things. Never does: anything that another module could do.
//!
//! 1. Block all signals, so that none is lost from here on.
//! 2. Read the command line.
//! 3. Become undumpable, and the subreaper of everything below, unless this is PID 1.
//! 4. Take the inherited descriptors, close all others, make sure of the lock.
//! 5. Start the supervisor and guard it until it is gone.
//! 6. Kill and reap whatever descends from it.
//! 7. Unless the supervisor said `finished`: run `finalize`, or put the crash status into place.
//! 8. Exit with the code that follows.
//!
//! `run.lock` stays open from 4 to the end, so the run is locked for as long as anything of it may write.
//! The guardian's working directory is `/`, so that it keeps no file system busy; it moves there before the fork, and the
//! supervisor goes back to the original one before its exec. A directory that cannot be returned to is not left.

use std::error::Error;
use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, getpid};

use crate::arguments::GuardianArguments;
use crate::channel::Channel;
use crate::ending::{CRASHED, Ending, Finalized, Said};
use crate::escalation::Escalation;
use crate::finalizer::{Evidence, RunFiles};
use crate::guard::Guard;
use crate::inherited::{InheritError, take_descriptor};
use crate::launch::{Group, raise};
use crate::memory::OomKills;
use crate::notice::notice;
use crate::reaper::Reaper;
use crate::signals::{SignalQueue, block_signals};
use crate::supervisor::{Given, SELF, Supervisor};
use crate::sweep::sweep_to_the_last;
use crate::sys;
use crate::terminal::SavedTerminal;
use crate::watchdog::Watchdog;

/// Exit code of a wrong command line.
const WRONG_COMMAND_LINE: u8 = 2;

/// Why a run cannot be guarded at all.
#[derive(Debug)]
enum GuardianError {
    /// The process has more than one thread: fork and the parent-death signal would not be sound.
    Threaded,
    /// The kernel refused one of the process attributes.
    Attributes(io::Error),
    /// An inherited descriptor is not there.
    Inherit(InheritError),
    /// An inherited descriptor cannot be moved.
    Move(io::Error),
    /// Somebody else holds `run.lock`, or it is no file that can be locked.
    Lock(io::Error),
}

impl fmt::Display for GuardianError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Threaded => "the process has more than one thread",
            Self::Attributes(_) => "cannot set the attributes of the process",
            Self::Inherit(_) => "cannot take the inherited descriptors",
            Self::Move(_) => "cannot move the inherited descriptors",
            Self::Lock(_) => "run.lock is not held for this run",
        })
    }
}

impl Error for GuardianError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Threaded => None,
            Self::Attributes(source) | Self::Move(source) | Self::Lock(source) => Some(source),
            Self::Inherit(source) => Some(source),
        }
    }
}

/// Guards one run from start to end; the whole life of a process that was exec'd as `stockade guardian`.
///
/// `arguments` is what follows the word `guardian`. The process must have one thread and own no descriptor of 3 and above
/// but those that the arguments name; any other is closed. `block_signals` should have been called before the exec, and is
/// called again here.
#[must_use]
pub fn guardian_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let started_at = Instant::now();
    if let Err(error) = block_signals() {
        notice(format_args!("cannot block signals: {error}"));
        return ExitCode::from(CRASHED);
    }
    let arguments = match GuardianArguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            notice(format_args!("{error}"));
            return ExitCode::from(WRONG_COMMAND_LINE);
        }
    };
    match guard_run(&arguments, started_at) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            match error.source() {
                Some(source) => notice(format_args!("{error}: {source}")),
                None => notice(format_args!("{error}")),
            }
            ExitCode::from(CRASHED)
        }
    }
}

/// Steps 3 to 8.
fn guard_run(arguments: &GuardianArguments, started_at: Instant) -> Result<u8, GuardianError> {
    set_attributes()?;
    let (files, spec) = take_files(arguments)?;
    let program = arguments
        .program
        .as_ref()
        .map_or(SELF.as_bytes(), |program| program.as_os_str().as_bytes());
    // An argument that was passed by execve holds no zero byte, so this cannot cut anything.
    let program = CString::new(program).unwrap_or_default();
    let mut reaper = Reaper::default();
    let kills_before = OomKills::read();
    let terminal = arguments
        .reads_terminal
        .then(SavedTerminal::save)
        .flatten()
        .map(Rc::new);
    let ending = match start(
        arguments,
        &program,
        &files,
        spec,
        started_at,
        terminal.clone(),
    ) {
        Ok(guard) => {
            let ending = guard.stand(&mut reaper);
            if let Some(terminal) = &terminal {
                terminal.restore();
            }
            ending
        }
        Err(error) => Ending::never_started(error.raw_os_error().unwrap_or(libc::EIO)),
    };
    if let crate::ending::End::StartFailed(errno) = ending.end {
        notice(format_args!(
            "cannot start the supervisor: {}",
            io::Error::from_raw_os_error(errno)
        ));
    }
    let swept = sweep_to_the_last(&mut reaper);
    if swept.remaining > 0 {
        notice(format_args!("{} processes are left", swept.remaining));
    }
    let finalized = match ending.said {
        Said::Finished(_) => {
            files.remove_crash_status();
            Finalized::NotNeeded
        }
        Said::Nothing => {
            let evidence = Evidence {
                ending,
                oom_kills: oom_kills_since(kills_before.as_ref()),
                survivors: swept.killed,
                names: swept.names,
                stop_exit_code: arguments.stop_exit_code,
                print_status: arguments.print_status,
            };
            files.finalize(&program, &evidence, &mut reaper)
        }
    };
    Ok(ending.exit_code(finalized))
}

/// Kills for want of memory since the first look; 0 where nobody counts them.
fn oom_kills_since(before: Option<&OomKills>) -> u64 {
    before
        .and_then(|before| Some(OomKills::read()?.since(before)))
        .unwrap_or(0)
}

/// Step 3.
fn set_attributes() -> Result<(), GuardianError> {
    // With this flag alone unshare changes nothing, and fails with EINVAL exactly for a process with threads (unshare(2)).
    // A seccomp filter may answer with EPERM, which says nothing.
    if unshare(CloneFlags::CLONE_THREAD) == Err(Errno::EINVAL) {
        return Err(GuardianError::Threaded);
    }
    let attributes = |error: Errno| GuardianError::Attributes(error.into());
    prctl::set_dumpable(false).map_err(attributes)?;
    // It was executed as `/proc/self/exe`, which is no name for whoever looks at a list of processes.
    prctl::set_name(c"stockade").map_err(attributes)?;
    if getpid().as_raw() != 1 {
        prctl::set_child_subreaper(true).map_err(attributes)?;
    }
    Ok(())
}

/// Step 4: the files of the run, and the run description for the supervisor.
fn take_files(arguments: &GuardianArguments) -> Result<(RunFiles, OwnedFd), GuardianError> {
    let take = |number| {
        take_descriptor(number)
            .map_err(GuardianError::Inherit)
            .and_then(|descriptor| raise(descriptor).map_err(GuardianError::Move))
    };
    let run_dir = take(arguments.run_dir_fd)?;
    let lock = take(arguments.lock_fd)?;
    let spec = take(arguments.spec_fd)?;
    close_all_but([run_dir.as_raw_fd(), lock.as_raw_fd(), spec.as_raw_fd()]);
    // The CLI's lock belongs to the open file description that we share, so taking it again does nothing; it fails only if
    // the descriptor was never locked and somebody else holds the lock.
    let lock = File::from(lock);
    lock.try_lock()
        .map_err(|error| GuardianError::Lock(error.into()))?;
    Ok((
        RunFiles {
            run_dir,
            lock: lock.into(),
            crash_status: arguments.crash_status.clone(),
        },
        spec,
    ))
}

/// Closes every descriptor from 3 on but those that are kept, so that the guardian holds no file of anybody else.
fn close_all_but(mut kept: [i32; 3]) {
    kept.sort_unstable();
    let mut first = 3;
    let ends = kept
        .into_iter()
        .filter_map(|number| u32::try_from(number).ok());
    for (last, next) in ends
        .map(|number| (number - 1, number + 1))
        .chain([(u32::MAX, 0)])
    {
        if first <= last
            && let Err(error) = sys::close_range(first, last)
        {
            // An old kernel or a seccomp filter: what was inherited stays open, which harms nothing but tidiness.
            notice(format_args!("cannot close inherited descriptors: {error}"));
            return;
        }
        first = next;
    }
}

/// Step 5, up to the point where the supervisor runs. What only the supervisor needs is closed on return.
fn start(
    arguments: &GuardianArguments,
    program: &CString,
    files: &RunFiles,
    spec: OwnedFd,
    started_at: Instant,
    terminal: Option<Rc<SavedTerminal>>,
) -> io::Result<Guard> {
    let signals = SignalQueue::open()?;
    let (channel, socket) = Channel::pair()?;
    let original_directory = leave_directory();
    let given = Given {
        socket: socket.as_fd(),
        run_dir: files.run_dir.as_fd(),
        spec: spec.as_fd(),
        lock: files.lock.as_fd(),
        group: if arguments.reads_terminal {
            Group::Shared
        } else {
            Group::Own
        },
        directory: original_directory.as_ref().map(OwnedFd::as_fd),
    };
    let supervisor = Supervisor::start(program, &arguments.supervisor_arguments, &given)?;
    Ok(Guard {
        supervisor,
        signals,
        channel,
        escalation: Escalation::new(started_at, arguments.backstop, arguments.grace),
        watchdog: Watchdog::new(started_at, arguments.watchdog),
        terminal,
    })
}

/// Moves to `/` and returns the way back for the child, or stays if there is none.
pub(crate) fn leave_directory() -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let original = open(".", flags, Mode::empty())
        .ok()
        .and_then(|original| raise(original).ok())?;
    // The rehearsal of what the supervisor does: it fails for a directory that we were put into but may not enter.
    fchdir(&original).ok()?;
    chdir("/").ok()?;
    Some(original)
}
