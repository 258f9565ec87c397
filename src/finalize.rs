//! The one repair function: gives the record of a run that could not end itself a true end.
//!
//! Owns the terminal event of such a run. It repairs the log's tail, ends what is open, appends the terminal event if there
//! is none, and writes `status.json` from the log. It is idempotent: a log that has a terminal event is never added to, and
//! its `status.json` is written from it again. A log that failed may lack the end that its supervisor still put into
//! `status.json`: then that end is appended, for a terminal status never changes. The caller holds the run's lock.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stockade_entrypoint::Cause;

use crate::description::WorkspaceMode;
use crate::event::lifecycle::Survivors;
use crate::event::{Action, ActionStarted, Complete, Diagnostic, Event, EventType, Level};
use crate::log::Millis;
use crate::log::repair::{Reopened, RepairError, Visit};
use crate::recordings::collect::changes;
use crate::recordings::lock::RunLock;
use crate::recordings::{RecordingsError, RunDir, inventory, layout};
use crate::run::{EndedBy, ErrorCode, Outcome, RunError, RunId, Sender, Status, exit_status};
use crate::status::document::{LogHead, RecordingsHealth, StatusDocument};
use crate::status::fold::{Described, StatusFold};

/// Largest `spec.json` and `stop.json` that are read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Longest wait for the end of a killed process in a control group that is to be removed.
const GROUP_LIMIT: Duration = Duration::from_secs(1);

/// Largest `status.json` that is read, in bytes.
const MAX_STATUS_BYTES: u64 = 4 * 1024 * 1024;

/// Why a run without a terminal event is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guardian saw its supervisor go.
    Witnessed {
        /// How it went.
        cause: Cause,
        /// Whether a signal had asked for the end.
        stop_requested: bool,
        /// Processes that had to be killed behind it.
        survivors: u64,
    },
    /// Only the remains were found.
    Found,
    /// The run failed before it had a supervisor.
    Failed {
        /// The reason.
        code: ErrorCode,
        /// One sentence, with the remedy.
        message: String,
    },
}

impl Visit for StatusFold {
    fn looks_at(&self, event_type: EventType) -> bool {
        Self::looks_at(event_type)
    }

    fn event(&mut self, seq: u64, at: Millis, event: Event) {
        self.apply(seq, &at.to_rfc3339(), &event);
    }

    fn passed(&mut self, seq: u64, output_bytes: u64) {
        self.advance(seq, output_bytes);
    }
}

/// What became of the record.
#[derive(Debug)]
pub struct Finalized {
    /// Whether the terminal event was already there.
    pub was_terminal: bool,
    /// Bytes that were cut from a torn tail.
    pub cut_bytes: u64,
    /// The final document.
    pub document: StatusDocument,
    /// The run's exit status.
    pub exit_code: u8,
}

/// Why the record could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    /// The log could not be repaired or added to.
    #[error("cannot repair the log")]
    Log(#[source] RepairError),
    /// `status.json` could not be encoded.
    #[error("cannot encode status.json")]
    Encode(#[source] serde_json::Error),
    /// A file of the recording could not be read or written.
    #[error("cannot use the recording")]
    Recordings(#[source] RecordingsError),
}

/// What `stop.json` says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StopIntent {
    by: IntentBy,
    reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct IntentBy {
    signal: Option<i32>,
    sender: Option<Sender>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    labels: std::collections::BTreeMap<String, String>,
    resumed_from: Option<RunId>,
    workspace_mode: Option<WorkspaceMode>,
}

/// Repairs the record in `run_dir`; `_lock` shows that nobody else writes to it.
///
/// # Errors
/// When the log or `status.json` cannot be written. A second call goes on where the first one ended.
pub fn finalize(
    run_dir: &RunDir,
    _lock: &RunLock,
    ending: &Ending,
    stop_exit_code: Option<u8>,
) -> Result<Finalized, FinalizeError> {
    let spec: Spec = read_json(run_dir, layout::SPEC).unwrap_or_default();
    let described = Described {
        labels: spec.labels,
        resumed_from: spec.resumed_from,
    };
    let mut fold = StatusFold::with_description(run_dir.id().clone(), described);
    let mut log = Reopened::open(run_dir.as_fd(), run_dir.id().clone(), &mut fold)
        .map_err(FinalizeError::Log)?;
    let was_terminal = fold.is_terminal();
    if !was_terminal {
        let intent: Option<StopIntent> = read_json(run_dir, layout::STOP);
        for open in fold.open_actions() {
            let began = Millis::parse(&open.started_at);
            append(
                &mut log,
                &mut fold,
                &Event::Action(Box::new(cancelled(open.started, began))),
            )?;
        }
        if spec.workspace_mode == Some(WorkspaceMode::Overlay) && !has_list(run_dir) {
            let diagnostic = Diagnostic {
                level: Level::Warn,
                message: changes::NOT_TAKEN.to_owned(),
                source: "finalize".to_owned(),
            };
            append(&mut log, &mut fold, &Event::Log(diagnostic))?;
        }
        let complete = match kept_end(run_dir) {
            Some(kept) => {
                fold.set_recordings_health(kept.recordings.clone());
                end_of(kept)
            }
            None => complete(&fold, ending, intent),
        };
        append(&mut log, &mut fold, &Event::Complete(Box::new(complete)))?;
    }
    log.sync().map_err(FinalizeError::Log)?;
    if fold.recordings_health().healthy
        && let Some(missing) = log.scan.missing_in_words()
    {
        fold.set_recordings_health(RecordingsHealth::bad(missing));
    }
    fold.advance(log.scan.last_seq, 0);
    fold.set_log_head(LogHead {
        seq: log.scan.last_seq,
        head: log.scan.head.to_hex(),
    });
    let document = fold.document(crate::session::recorder::now_ms());
    let bytes = document.encode().map_err(FinalizeError::Encode)?;
    run_dir
        .write_status(&bytes)
        .map_err(FinalizeError::Recordings)?;
    remove_groups(&document);
    remove_socket(&document);
    repair_cast(run_dir);
    // What a run without a mount namespace left in /tmp when it was killed.
    if let Err(error) = crate::recordings::staging::remove_left_over(run_dir) {
        tracing::warn!(
            error = crate::session::workload::chain(&error),
            "the output directory was not removed"
        );
    }
    // Left-overs of a writer that was killed; an error here hides nothing that matters.
    let _ = run_dir.remove_stale_temporaries();
    crate::session::status_file::remove_spare(run_dir);
    // What was prepared for the case that this fails.
    let _ = nix::unistd::unlinkat(
        run_dir.as_fd(),
        crate::cli::run::CRASH_STATUS,
        nix::unistd::UnlinkatFlags::NoRemoveDir,
    );
    // Behind everything that changes a file: the manifest has the digests of what stays.
    if let Err(error) = inventory::seal(run_dir, inventory::SEAL_LIMIT) {
        tracing::warn!(
            error = crate::session::workload::chain(&error),
            "the manifest was not written"
        );
    }
    let exit_code = exit_code_of(&document, stop_exit_code);
    Ok(Finalized {
        was_terminal,
        cut_bytes: log.cut_bytes,
        document,
        exit_code,
    })
}

/// Removes the control group of a sandbox that nobody was left to take down. The run is over, so what is in it may go.
fn remove_groups(document: &StatusDocument) {
    let named = document.isolation.iter();
    let groups: Vec<PathBuf> = named
        .flat_map(|isolation| isolation.groups.iter().map(PathBuf::from))
        .collect();
    let n_removed = stockade_sandbox::remove_recorded_groups(&groups, GROUP_LIMIT);
    tracing::debug!(n_removed, "control groups of the run are gone");
}

/// Removes the Unix socket of a supervisor that could not do it: a socket of this user, behind which nobody listens.
fn remove_socket(document: &StatusDocument) {
    let named = document
        .listen
        .as_ref()
        .and_then(|listen| listen.socket.as_deref());
    let Some(path) = named.map(Path::new) else {
        return;
    };
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return;
    };
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    let is_dead = || {
        UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    if found.file_type().is_socket() && is_ours && is_dead() {
        // Whoever removed it meanwhile has done the same.
        let _ = std::fs::remove_file(path);
    }
}

/// Cuts a torn last line off the terminal recording; a recording that cannot be repaired hides nothing of the run.
fn repair_cast(run_dir: &RunDir) {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NONBLOCK;
    let repaired = run_dir
        .open_beneath(layout::TERMINAL_CAST, flags)
        .map_err(std::io::Error::other)
        .and_then(|file| crate::cast::repair::cut_torn_line(&file));
    if let Err(error) = repaired {
        tracing::debug!(%error, "the terminal recording was not repaired");
    }
}

fn append(log: &mut Reopened, fold: &mut StatusFold, event: &Event) -> Result<(), FinalizeError> {
    let (seq, at) = log.append(event).map_err(FinalizeError::Log)?;
    fold.apply(seq, &at.to_rfc3339(), event);
    Ok(())
}

/// Whether the changes of the workspace were taken.
fn has_list(run_dir: &RunDir) -> bool {
    crate::recordings::artifact::open_artifact(run_dir, changes::LIST).is_ok()
}

fn read_json<T: for<'de> Deserialize<'de>>(run_dir: &RunDir, name: &str) -> Option<T> {
    let bytes = run_dir.read(name, MAX_FILE_BYTES).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// The end that `status.json` tells, if it tells one.
fn kept_end(run_dir: &RunDir) -> Option<StatusDocument> {
    let bytes = run_dir.read(layout::STATUS, MAX_STATUS_BYTES).ok()??;
    let document = StatusDocument::decode(&bytes).ok()?;
    // The crash status that was prepared at the start knows nothing of the run; the log knows more.
    let knows_the_run = document.epoch.is_some() && document.last_event_id > 0;
    (document.status.is_terminal() && knows_the_run).then_some(document)
}

/// The terminal event that gives this document.
fn end_of(kept: StatusDocument) -> Complete {
    let error = kept.error.map(|error| RunError {
        code: ErrorCode::parse(&error.code).unwrap_or(ErrorCode::Lost),
        message: error.message,
        details: error.details,
    });
    let outcome = kept.outcome.unwrap_or_else(|| Outcome {
        exit_code: None,
        signal: None,
        by: EndedBy::Finalize,
        reason: "the status says that the run has ended, and not why".to_owned(),
        stop_signal: None,
        sender: None,
        oom: None,
    });
    Complete {
        status: kept.status,
        outcome,
        error,
        result: kept.result,
        data: kept.data,
        action_count: kept.action_count,
        duration_ms: kept.duration_ms.unwrap_or(0),
        usage: kept.usage,
        survivors: kept.survivors.unwrap_or_default(),
    }
}

fn exit_code_of(document: &StatusDocument, stop_exit_code: Option<u8>) -> u8 {
    let code = document
        .error
        .as_ref()
        .map(|error| ErrorCode::parse(&error.code).unwrap_or(ErrorCode::Lost));
    document
        .outcome
        .as_ref()
        .map_or(125, |outcome| exit_status(code, outcome, stop_exit_code))
}

/// The end of an action whose run was cut off.
fn cancelled(started: ActionStarted, began: Option<Millis>) -> Action {
    let now = Millis::now();
    Action {
        step: started.step,
        timestamp: now.to_rfc3339(),
        tool: started.tool,
        action: started.action,
        input_summary: started.input_summary,
        duration_ms: began.map(|began| now.since(began)),
        success: None,
        result_text: None,
        has_screenshot: false,
        error: None,
        call_id: started.call_id,
        parent_call_id: started.parent_call_id,
        kind: started.kind,
        exit_code: None,
        signal: None,
        truncated: None,
        artifact: None,
        tokens: None,
        cost_usd: None,
        agent_step: None,
        attempt: started.attempt,
        of: started.of,
        cancelled: true,
        usage: None,
    }
}

fn complete(fold: &StatusFold, ending: &Ending, intent: Option<StopIntent>) -> Complete {
    let (code, message) = verdict(ending, intent.as_ref());
    let is_stop = code == ErrorCode::RunTerminated;
    let by = match (code, &intent) {
        (ErrorCode::Timeout, _) => EndedBy::Deadline,
        (ErrorCode::RunTerminated, Some(intent)) if intent.by.signal.is_none() => EndedBy::Api,
        (ErrorCode::RunTerminated, _) => EndedBy::Signal,
        _ => EndedBy::Finalize,
    };
    let survivors = match ending {
        Ending::Witnessed { survivors, .. } => *survivors,
        Ending::Found | Ending::Failed { .. } => 0,
    };
    let signal = intent
        .as_ref()
        .filter(|_| is_stop)
        .and_then(|intent| intent.by.signal);
    let now_ms = crate::session::recorder::now_ms();
    Complete {
        status: Status::from(code.status()),
        outcome: Outcome {
            exit_code: None,
            signal: None,
            by,
            reason: message.clone(),
            stop_signal: signal,
            sender: intent
                .filter(|_| is_stop)
                .and_then(|intent| intent.by.sender),
            oom: None,
        },
        error: Some(RunError {
            code,
            message,
            details: None,
        }),
        result: None,
        data: None,
        action_count: fold.action_count(),
        duration_ms: fold
            .started_ms()
            .map_or(0, |started| now_ms.saturating_sub(started)),
        usage: fold.usage(),
        survivors: Survivors {
            killed: survivors,
            names: Vec::new(),
        },
    }
}

fn verdict(ending: &Ending, intent: Option<&StopIntent>) -> (ErrorCode, String) {
    let asked = |what: &str| {
        let why = intent
            .and_then(|intent| intent.reason.as_ref())
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        (
            ErrorCode::RunTerminated,
            format!("the run was asked to stop{why}, and {what}"),
        )
    };
    match ending {
        Ending::Failed { code, message } => (*code, message.clone()),
        Ending::Found if intent.is_some() => {
            asked("its supervisor was gone before it could record the end")
        }
        Ending::Found => (
            ErrorCode::Lost,
            "the run was found without an end and without anybody who saw it".to_owned(),
        ),
        Ending::Witnessed {
            cause,
            stop_requested,
            ..
        } => {
            let how = match cause {
                Cause::Exited(code) => {
                    format!("its supervisor exited with code {code} before it recorded the end")
                }
                Cause::Signaled(signal) => format!("its supervisor was killed by signal {signal}"),
                Cause::Backstop => {
                    "its supervisor was killed because it did not end in time".to_owned()
                }
                Cause::Deadline => {
                    let message = "the run passed its deadline and its supervisor did not end it";
                    return (ErrorCode::Timeout, message.to_owned());
                }
                Cause::Watchdog => {
                    "its supervisor did not answer the watchdog and was killed".to_owned()
                }
                Cause::StartFailed(errno) => {
                    let error = std::io::Error::from_raw_os_error(*errno);
                    return (
                        ErrorCode::SetupFailed,
                        format!("the supervisor could not be started: {error}"),
                    );
                }
            };
            if intent.is_some() || *stop_requested {
                asked(&how)
            } else {
                (
                    ErrorCode::SupervisorCrashed,
                    format!("the run was cut off: {how}"),
                )
            }
        }
    }
}
