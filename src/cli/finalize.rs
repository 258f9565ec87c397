//! `stockade finalize DIR`, and the same for the guardian.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use stockade_entrypoint::{Cause, take_descriptor};

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::finalize::{Ending, Finalized, finalize};
use crate::progress::terminal::is_ours;
use crate::progress::{clean, screen};
use crate::recordings::RunDir;
use crate::recordings::lock::{LockError, RunLock};
use crate::recordings::termination::{TerminationMessage, termination_log_path};
use crate::run::{ErrorCode, RunId};
use crate::session::workload::chain;
use crate::status::StatusDocument;

/// Longest message of the end in its line, in characters.
const MAX_MESSAGE_CHARS: usize = 320;

/// What to repair.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The recording: a run's directory, a run id, or latest
    #[arg(value_name = "RUN", required_unless_present = "from_guardian")]
    run: Option<String>,

    #[command(flatten)]
    place: Place,

    /// The guardian calls: descriptors and what it saw follow
    #[arg(long, hide = true, requires_all = ["run_dir_fd", "lock_fd", "cause", "stop_requested", "survivors"])]
    from_guardian: bool,
    #[arg(long, hide = true)]
    run_dir_fd: Option<RawFd>,
    #[arg(long, hide = true)]
    lock_fd: Option<RawFd>,
    #[arg(long, hide = true)]
    cause: Option<Cause>,
    #[arg(long, hide = true)]
    stop_requested: Option<u8>,
    #[arg(long, hide = true)]
    survivors: Option<u64>,
    #[arg(long, hide = true)]
    oom_kills: Option<u64>,
    #[arg(long, hide = true)]
    survivor_name: Vec<OsString>,
    #[arg(long, hide = true)]
    stop_exit_code: Option<u8>,
    #[arg(long, hide = true)]
    print_status: Option<String>,
    #[arg(long, hide = true)]
    shown_rows: Option<u16>,
}

/// Longest time for the last lines of a run whose supervisor is gone: stderr and stdout may be full or held, and the guardian
/// waits. What is not taken by then is passed over; it is on record.
const TELL_LIMIT: Duration = Duration::from_secs(2);

/// For people: 0 when the record has its end, 125 when it could not be given one. For the guardian: the run's exit status,
/// and death by SIGABRT when there is none, because every number could be a run's.
pub fn main(arguments: &Arguments) -> ExitCode {
    let (outcome, is_guardian) = match &arguments.run {
        Some(run) if !arguments.from_guardian => {
            let found = arguments.place.recording_or_directory(run);
            (found.and_then(|run_dir| of_directory(&run_dir)), false)
        }
        Some(_) | None => (of_guardian(arguments), true),
    };
    match outcome {
        Ok((finalized, path)) if is_guardian => {
            tell(&finalized, &path, arguments);
            ExitCode::from(finalized.exit_code)
        }
        Ok((finalized, _)) => {
            let mut results = Results::stdout();
            report(&finalized, &mut results);
            results.end(ExitCode::SUCCESS)
        }
        Err(error) if is_guardian => {
            notice::error(&format!("the record was not finalized: {error}"));
            std::process::abort();
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
}

fn of_directory(run_dir: &RunDir) -> Result<(Finalized, PathBuf), String> {
    run_dir.require_ours().map_err(|error| chain(&error))?;
    let lock = RunLock::try_acquire(run_dir).map_err(|error| match error {
        LockError::Held { .. } => {
            format!(
                "{}: the run is in use by a live process; stop it first",
                ErrorCode::RunLocked.as_str()
            )
        }
        error => chain(&error),
    })?;
    finalize(run_dir, &lock, &Ending::Found, None)
        .map(|finalized| (finalized, run_dir.path().to_owned()))
        .map_err(|error| chain(&error))
}

fn of_guardian(arguments: &Arguments) -> Result<(Finalized, PathBuf), String> {
    let missing = "an argument of the guardian is missing";
    let run_dir =
        take_descriptor(arguments.run_dir_fd.ok_or(missing)?).map_err(|error| error.to_string())?;
    let lock =
        take_descriptor(arguments.lock_fd.ok_or(missing)?).map_err(|error| error.to_string())?;
    let path = std::fs::read_link(format!(
        "/proc/self/fd/{}",
        arguments.run_dir_fd.ok_or(missing)?
    ))
    .map_err(|error| format!("cannot find the run's directory: {error}"))?;
    let id: RunId = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("the run's directory has no name")?
        .trim_end_matches(" (deleted)")
        .parse()
        .map_err(|error| format!("{error}"))?;
    let run_dir = RunDir::from_fd(run_dir, path, id);
    let lock = RunLock::from_inherited(&run_dir, lock).map_err(|error| chain(&error))?;
    let ending = Ending::Witnessed {
        cause: arguments.cause.ok_or(missing)?,
        stop_requested: arguments.stop_requested == Some(1),
        oom_kills: arguments.oom_kills.unwrap_or(0),
        survivors: arguments.survivors.unwrap_or(0),
        names: arguments
            .survivor_name
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
    };
    let finalized = finalize(&run_dir, &lock, &ending, arguments.stop_exit_code)
        .map_err(|error| chain(&error))?;
    // Also for a run that had its end: its supervisor may have died between that and this, and the file is replaced.
    if let Some(message) = TerminationMessage::of(&finalized.document, finalized.exit_code)
        && let Err(error) = message.deliver(&termination_log_path(&|name| std::env::var_os(name)))
    {
        notice::error(&format!(
            "the termination log was not written: {}",
            chain(&error)
        ));
    }
    Ok((finalized, run_dir.path().to_owned()))
}

/// Tells the person in front what the supervisor cannot tell any more: how the run ended and where its record is. The status
/// document is printed where that was asked for, unless a supervisor that ended by itself has done so.
fn tell(finalized: &Finalized, path: &Path, arguments: &Arguments) {
    let document = &finalized.document;
    let lines = format!(
        "{}{}stockade: recorded in {}\n",
        without_rows(arguments.shown_rows.unwrap_or(0)),
        ending_line(document),
        clean::plain(&path.display().to_string())
    );
    let has_spoken = matches!(arguments.cause, Some(Cause::Exited(_)));
    let printed = (arguments.print_status.is_some() && !has_spoken).then(|| document.encode().ok());
    // In the background of its terminal this process would be stopped by its write (termios(3), TOSTOP).
    let mut stopping = SigSet::empty();
    stopping.add(Signal::SIGTTOU);
    let _ = stopping.thread_block();
    let (done, is_done) = mpsc::channel();
    let writer = std::thread::Builder::new().spawn(move || {
        // Stdout first: it is what a program waits for. A closed one is nobody's loss.
        if let Some(bytes) = printed.flatten() {
            let mut stdout = std::io::stdout();
            let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        }
        let _ = std::io::stderr().write_all(lines.as_bytes());
        let _ = done.send(());
    });
    if writer.is_ok() {
        // The process ends whether or not the thread does.
        let _ = is_done.recv_timeout(TELL_LIMIT);
    }
}

/// What takes away the rows of a live view that died: they stand above the cursor, and nobody draws them anew. Nothing where
/// somebody else has the terminal and may have written below them.
fn without_rows(n_rows: u16) -> String {
    let stderr = std::io::stderr();
    if n_rows > 0 && stderr.is_terminal() && is_ours(&stderr) {
        screen::without_rows(n_rows)
    } else {
        String::new()
    }
}

/// How the run ended, in one line that any terminal may show.
fn ending_line(document: &StatusDocument) -> String {
    let error = document.error.as_ref().map(|error| {
        let message = clean::summary(&error.message, MAX_MESSAGE_CHARS);
        format!(" ({}): {message}", clean::plain(&error.code))
    });
    format!(
        "stockade: {}{}\n",
        document.status.as_str(),
        error.unwrap_or_default()
    )
}

fn report(finalized: &Finalized, results: &mut Results) {
    let document = &finalized.document;
    let what = if finalized.was_terminal {
        "had its end"
    } else {
        "was given its end"
    };
    let code = document
        .error
        .as_ref()
        .map(|error| format!(" ({})", error.code))
        .unwrap_or_default();
    results.line(format!(
        "run {} {what}: {}{code}",
        document.run_id,
        document.status.as_str()
    ));
    if finalized.cut_bytes > 0 {
        results.line(format!(
            "{} bytes of a torn line were moved to events.torn",
            finalized.cut_bytes
        ));
    }
}
