//! `stockade run`: checks everything that can be checked, prepares the run's directory, and becomes the guardian.
//!
//! Owns the order before the run: description, recordings, lock, claimable directory, `spec.json`. It starts no thread and
//! no child: the last step is execve(2), which keeps this process's pid, its pending signals and the run's lock. Invariant: a
//! stop that comes before the first file of the run ends the process, a later one is on record.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use stockade_entrypoint::GuardianArguments;

use super::flags::{RunFlags, resolve};
use super::{FAILURE, USAGE, dry_run, notice};
use crate::description::error::ErrorClass;
use crate::description::hand_over::HandOver;
use crate::description::settings::{Access, Isolation};
use crate::description::sight::without_links;
use crate::description::supervisor::SupervisorOptions;
use crate::description::{DescriptionErrors, RunDescription};
use crate::finalize::{Ending, finalize};
use crate::progress::mode::FinalStatus;
use crate::recordings::claim::Occupancy;
use crate::recordings::lock::{LockError, RunLock};
use crate::recordings::termination::{TerminationMessage, termination_log_path};
use crate::recordings::{RunDir, Store, layout};
use crate::redact::Redactor;
use crate::run::{EndedBy, ErrorCode, RunId, Status};
use crate::session::workload::chain;
use crate::supervisor::early_end::EarlyEnd;
use crate::supervisor::setup;

/// File in the run's directory that becomes `status.json` when nobody else can write one.
pub const CRASH_STATUS: &str = ".status.crash";

/// Time that the guardian gives a supervisor beyond the run's own limits: the API's drain, and some.
const BACKSTOP_MARGIN: Duration = Duration::from_secs(8);

/// Longest silence of a supervisor that its guardian asks three times in it: longer than a slow disk holds the few files that
/// the supervisor itself waits for at its start and its end.
const WATCHDOG_LIMIT: Duration = Duration::from_secs(30);

/// Variables that guardian and supervisor keep; everything else of the caller's environment ends here.
const KEPT_VARIABLES: [&str; 10] = [
    "HOME",
    "LANG",
    "NO_COLOR",
    "PATH",
    "TERM",
    "TRACEPARENT",
    "TRACESTATE",
    "TZ",
    "RUST_BACKTRACE",
    crate::recordings::termination::TERMINATION_LOG_VARIABLE,
];

/// What guardian and supervisor are told beside them. One heap for all threads (mallopt(3)): with the usual one a thread,
/// each blocking thread that ever read for a reader of the files keeps its blocks, and a replay to 20 readers takes twice
/// the memory. It costs no speed, because what is large is copied outside of the allocator's lock.
pub const HEAP_SETTINGS: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// Why a run does not begin.
#[derive(Debug)]
pub(super) struct Refusal {
    code: ErrorCode,
    message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn setup(error: &dyn std::error::Error) -> Self {
        Self::new(ErrorCode::SetupFailed, chain(error))
    }
}

/// A run, and what is shown of it.
#[derive(clap::Args)]
#[expect(
    missing_debug_implementations,
    reason = "the flags of a run may hold secrets"
)]
pub struct Arguments {
    #[command(flatten)]
    flags: RunFlags,

    /// Show nothing but warnings and errors; the same as --progress none
    #[arg(short, long, conflicts_with = "progress", help_heading = "Process")]
    quiet: bool,

    /// Print the status document at the end, alone on stdout; the workload's stdout goes to stderr
    #[arg(long, help_heading = "Process")]
    json: bool,

    /// Longest silence of the supervisor before its guardian kills it; 0 switches the watchdog off [default: 30]
    #[arg(long, value_name = "SECONDS", help_heading = "Process")]
    watchdog: Option<u16>,

    /// Check everything, print the plan, and run nothing
    #[arg(long, conflicts_with_all = ["json", "quiet"], help_heading = "Process")]
    dry_run: bool,
}

/// Runs a run; returns only when it could not begin, or should not.
pub fn main(arguments: Arguments) -> ExitCode {
    let Arguments {
        mut flags,
        quiet,
        json,
        watchdog,
        dry_run: is_dry_run,
    } = arguments;
    if quiet {
        flags.progress = Some("none".to_owned());
    }
    let current_dir = match std::env::current_dir() {
        Ok(current_dir) => current_dir,
        Err(error) => {
            notice::error(&format!("the current directory cannot be used: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    let resolved = resolve(flags, std::env::vars_os(), &current_dir);
    if is_dry_run {
        return match resolved {
            Ok((description, options)) => dry_run::main(&description, &options),
            Err(errors) => ExitCode::from(tell_faults(&errors)),
        };
    }
    // What was read may have been waited for. From here on the run leaves traces, and a stop is for its guardian.
    if let Err(error) = stockade_entrypoint::block_signals() {
        notice::error(&format!("cannot hold signals back: {error}"));
        return ExitCode::from(FAILURE);
    }
    match resolved {
        Ok((description, mut options)) => {
            if json {
                options.final_status = FinalStatus::Printed;
            }
            let run_id = description.run_id.clone();
            let termination_log = options.termination_log.clone();
            let watchdog = watchdog.map_or(WATCHDOG_LIMIT, |seconds| {
                Duration::from_secs(seconds.into())
            });
            let Err(refusal) = begin(description, options, watchdog);
            notice::error(&refusal.to_string());
            tell_termination_log(&run_id, &refusal, &termination_log);
            ExitCode::from(FAILURE)
        }
        Err(errors) => refuse(&errors),
    }
}

/// Runs a run whose flags are given by another part of the program.
#[cfg(feature = "operator")]
pub(super) fn start(flags: RunFlags) -> ExitCode {
    main(Arguments {
        flags,
        quiet: false,
        json: false,
        watchdog: None,
        dry_run: false,
    })
}

/// The description as it may be shown: without its secrets.
#[cfg(feature = "operator")]
pub(super) fn public_view(
    description: &RunDescription,
    options: &SupervisorOptions,
) -> Result<serde_json::Value, String> {
    let redactor = setup::redactor(description, options);
    let bytes = spec(description, &redactor).map_err(|refusal| refusal.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Prepares the run and becomes its guardian.
fn begin(
    description: RunDescription,
    options: SupervisorOptions,
    watchdog: Duration,
) -> Result<Infallible, Refusal> {
    let unusable = |error: crate::recordings::RecordingsError| {
        Refusal::new(ErrorCode::RecordingsUnusable, chain(&error))
    };
    refuse_writable_recordings(&description, &options.recordings)?;
    let store = Store::open_or_create(&options.recordings).map_err(unusable)?;
    let run_dir = store.begin_run(&description.run_id).map_err(unusable)?;
    let lock = vacant(&run_dir)?;
    let redactor = setup::redactor(&description, &options);
    run_dir
        .place(layout::SPEC, &spec(&description, &redactor)?)
        .map_err(unusable)?;
    prepare_crash_status(&run_dir, &crash_status(&description, &redactor)?)?;
    if let Err(error) = store.point_latest_at(&description.run_id) {
        notice::error(&format!("`latest` was not renewed: {}", chain(&error)));
    }
    become_guardian(description, options, watchdog, &run_dir, &lock)
}

/// The public view of the description. It masks credentials as they are given; the redactor knows their encoded forms and
/// the shapes of tokens that nobody declared, too.
fn spec(description: &RunDescription, redactor: &Redactor) -> Result<Vec<u8>, Refusal> {
    let encode = |error: serde_json::Error| Refusal::setup(&error);
    let mut view = serde_json::to_vec(&description.public()).map_err(encode)?;
    redactor.redact_json_object(&mut view);
    let view: serde_json::Value = serde_json::from_slice(&view).map_err(encode)?;
    serde_json::to_vec_pretty(&view).map_err(encode)
}

/// Takes the lock of a directory in which no run has been.
fn vacant(run_dir: &RunDir) -> Result<RunLock, Refusal> {
    let lock = RunLock::try_acquire(run_dir).map_err(|error| match error {
        LockError::Held { .. } => {
            let message = format!(
                "run {} is running; choose another --run-id or wait for its end",
                run_dir.id()
            );
            Refusal::new(ErrorCode::RunLocked, message)
        }
        error => Refusal::new(ErrorCode::RecordingsUnusable, chain(&error)),
    })?;
    let occupancy = Occupancy::under_lock(run_dir);
    let occupancy =
        occupancy.map_err(|error| Refusal::new(ErrorCode::RecordingsUnusable, chain(&error)))?;
    match occupancy {
        Occupancy::Vacant => Ok(lock),
        Occupancy::Locked => Err(Refusal::new(
            ErrorCode::RunLocked,
            format!("run {} is running", run_dir.id()),
        )),
        Occupancy::Finished => Err(exists(run_dir)),
        Occupancy::Abandoned => {
            // Found without an end: it gets one before anybody is told that it exists.
            finalize(run_dir, &lock, &Ending::Found, None)
                .map_err(|error| Refusal::setup(&error))?;
            Err(exists(run_dir))
        }
    }
}

/// Refuses an id that a run has, for somebody who only asks. Nothing is made, locked or mended.
pub(super) fn refuse_taken_id(id: &RunId, recordings: &Path) -> Result<(), Refusal> {
    if !recordings.exists() {
        return Ok(());
    }
    let unusable = |error: crate::recordings::RecordingsError| {
        Refusal::new(ErrorCode::RecordingsUnusable, chain(&error))
    };
    let store = Store::open(recordings).map_err(unusable)?;
    let Some(run_dir) = store.open_run(id).map_err(unusable)? else {
        return Ok(());
    };
    match Occupancy::of(&run_dir).map_err(unusable)? {
        Occupancy::Vacant => Ok(()),
        Occupancy::Locked | Occupancy::Finished | Occupancy::Abandoned => Err(exists(&run_dir)),
    }
}

fn exists(run_dir: &RunDir) -> Refusal {
    let message = format!(
        "run {} has a record at {}; choose another --run-id",
        run_dir.id(),
        run_dir.path().display()
    );
    Refusal::new(ErrorCode::RunExists, message)
}

/// The workload must not be able to write the recordings, nor to move them away.
///
/// Without a mount namespace nothing hides them. With one they are masked, and a mask that lies directly in what the workload
/// may write cannot be renamed (rename(2): EBUSY for a mount point); a directory between the two could be.
pub(super) fn refuse_writable_recordings(
    description: &RunDescription,
    recordings: &Path,
) -> Result<(), Refusal> {
    let recordings = without_links(recordings);
    let workspace = (
        description.workspace.as_path(),
        description.workspace_mode.access(),
    );
    let mounts = description
        .mounts
        .iter()
        .map(|mount| (mount.source.as_path(), mount.access));
    let writable = mounts
        .chain([workspace])
        .filter(|(path, access)| *access == Access::ReadWrite && recordings.starts_with(path))
        .map(|(path, _)| path);
    for open in writable {
        let is_hidden =
            description.isolation == Isolation::Full && recordings.parent() == Some(open);
        if !is_hidden {
            let message = format!(
                "the recordings {} lie in {}, which the workload may write; name another place by --recordings",
                recordings.display(),
                open.display()
            );
            return Err(Refusal::new(ErrorCode::RecordingsUnusable, message));
        }
    }
    Ok(())
}

/// Writes the crash status without syncing it: the guardian syncs it in the case that it is needed, and no start waits for the
/// disk because of it.
fn prepare_crash_status(run_dir: &RunDir, document: &[u8]) -> Result<(), Refusal> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
    run_dir
        .open_beneath(CRASH_STATUS, flags)
        .map_err(|error| Refusal::new(ErrorCode::RecordingsUnusable, chain(&error)))?
        .write_all(document)
        .map_err(|error| Refusal::new(ErrorCode::RecordingsUnusable, error.to_string()))
}

/// The document for a run whose supervisor dies and whose `finalize` cannot even start.
fn crash_status(description: &RunDescription, redactor: &Redactor) -> Result<Vec<u8>, Refusal> {
    let message =
        "the supervisor was lost, and its record could not be finalized; run `stockade finalize`";
    let end = EarlyEnd::new(ErrorCode::SupervisorCrashed, message.to_owned());
    let (complete, _) = end.into_complete(Duration::ZERO);
    let mut fold = setup::fold(description, redactor);
    let event = crate::event::Event::Complete(Box::new(complete));
    fold.apply(0, &crate::log::Millis::now().to_rfc3339(), &event);
    let document = fold.document(crate::session::recorder::now_ms());
    document.encode().map_err(|error| Refusal::setup(&error))
}

fn become_guardian(
    description: RunDescription,
    options: SupervisorOptions,
    watchdog: Duration,
    run_dir: &RunDir,
    lock: &RunLock,
) -> Result<Infallible, Refusal> {
    let io = |error: std::io::Error| Refusal::setup(&error);
    let errno = |errno: nix::Error| Refusal::setup(&errno);
    let limits = description.timeout + description.grace + description.linger + BACKSTOP_MARGIN;
    let grace = description.grace;
    let stop_exit_code = options.stop_exit_code;
    let reads_terminal = description.interactive && std::io::stdin().is_terminal();
    let print_status = options.final_status == FinalStatus::Printed;
    let hand_over = HandOver {
        description,
        options,
    }
    .to_bytes()
    .map_err(|error| Refusal::setup(&error))?;
    // Neither descriptor is close-on-exec: they are what the guardian is born with.
    let mut spec =
        std::fs::File::from(memfd_create(c"stockade-hand-over", MFdFlags::empty()).map_err(errno)?);
    spec.write_all(&hand_over).map_err(io)?;
    let directory: OwnedFd = nix::unistd::dup(run_dir.as_fd()).map_err(errno)?;
    let lock = lock.inheritable_fd().map_err(io)?;
    let arguments = GuardianArguments {
        run_dir_fd: directory.as_raw_fd(),
        lock_fd: lock.as_raw_fd(),
        spec_fd: spec.as_raw_fd(),
        backstop: Some(limits),
        grace,
        watchdog: Some(watchdog).filter(|watchdog| !watchdog.is_zero()),
        program: None,
        crash_status: Some(CRASH_STATUS.into()),
        stop_exit_code,
        reads_terminal,
        print_status,
        supervisor_arguments: vec!["--run-id".into(), run_dir.id().as_str().into()],
    };
    let mut argv = vec![OsString::from("stockade"), OsString::from("guardian")];
    argv.extend(arguments.encode());
    let argv = c_strings(argv)?;
    let kept =
        std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept));
    let heap = HEAP_SETTINGS.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let environment = c_strings(kept.chain(heap).map(|(name, value)| {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        entry
    }))?;
    let program = CString::from(c"/proc/self/exe");
    nix::unistd::execve(&program, &argv, &environment).map_err(errno)
}

fn c_strings(texts: impl IntoIterator<Item = OsString>) -> Result<Vec<CString>, Refusal> {
    let convert =
        |text: OsString| CString::new(text.into_vec()).map_err(|error| Refusal::setup(&error));
    texts.into_iter().map(convert).collect()
}

/// A description that cannot be used: a wrong command line is only told; anything else also goes on record.
fn refuse(errors: &DescriptionErrors) -> ExitCode {
    let code = tell_faults(errors);
    match errors.error_class() {
        ErrorClass::Usage => {}
        ErrorClass::Setup => {
            let run_id = errors.run_id.clone().unwrap_or_else(RunId::mint);
            let refusal = Refusal::new(ErrorCode::SetupFailed, errors.to_string());
            match record_refusal(errors, &run_id, &refusal) {
                Ok(path) => notice::line(&format!("stockade: recorded in {}", path.display())),
                Err(error) => notice::error(&error.to_string()),
            }
            let path = termination_log_path(&|name| std::env::var_os(name));
            tell_termination_log(&run_id, &refusal, &path);
        }
    }
    ExitCode::from(code)
}

/// Writes one line for each fault, and gives the exit status that they lead to.
pub(super) fn tell_faults(errors: &DescriptionErrors) -> u8 {
    for line in errors.to_string().lines() {
        notice::error(line);
    }
    match errors.error_class() {
        ErrorClass::Usage => USAGE,
        ErrorClass::Setup => FAILURE,
    }
}

/// Gives a run that could not begin a record that says so.
fn record_refusal(
    errors: &DescriptionErrors,
    run_id: &RunId,
    refusal: &Refusal,
) -> Result<PathBuf, Refusal> {
    let unusable = |error: crate::recordings::RecordingsError| {
        Refusal::new(ErrorCode::RecordingsUnusable, chain(&error))
    };
    let path = match &errors.recordings {
        Some(path) => path.clone(),
        None => Store::default_path(&|name| std::env::var_os(name)).map_err(unusable)?,
    };
    let store = Store::open_or_create(&path).map_err(unusable)?;
    let run_dir = store.create_run(run_id).map_err(unusable)?;
    let lock = vacant(&run_dir)?;
    let ending = Ending::Failed {
        code: refusal.code,
        message: refusal.message.clone(),
    };
    finalize(&run_dir, &lock, &ending, None).map_err(|error| Refusal::setup(&error))?;
    Ok(run_dir.path().to_owned())
}

fn tell_termination_log(run_id: &RunId, refusal: &Refusal, path: &Path) {
    let message = TerminationMessage {
        run_id: run_id.clone(),
        status: Status::Failed,
        exit_code: FAILURE,
        code: Some(refusal.code),
        by: EndedBy::Supervisor,
        last_event_id: 0,
        log_head: None,
        reason: refusal.message.clone(),
        recordings_error: None,
        message: Some(refusal.message.clone()),
    };
    if let Err(error) = message.deliver(path) {
        notice::error(&format!(
            "the termination log was not written: {}",
            chain(&error)
        ));
    }
}
