//! The one repair function: gives the record of a run that could not end itself a true end.
//!
//! Owns the terminal event of such a run. It repairs the log's tail, ends what is open, appends the terminal event if there
//! is none, and writes `status.json` from the log. It is idempotent: a log that has a terminal event is never added to, and
//! its `status.json` is written from it again. A log that failed may lack the end that its supervisor, or the guardian with
//! what was prepared for its death, still put into `status.json`: then that end is appended, for a terminal status never
//! changes. What still lives of the run is killed, counted and named before. The caller holds the run's lock.

mod kept;
mod remains;

use std::os::fd::AsFd;

use serde::Deserialize;
use stockade_entrypoint::Cause;
use stockade_sandbox::KillReport;

use crate::description::WorkspaceMode;
use crate::event::{Action, ActionStarted, Complete, Diagnostic, Event, EventType, Level};
use crate::log::Millis;
use crate::log::repair::{Reopened, RepairError, Visit};
use crate::recordings::collect::changes;
use crate::recordings::lock::RunLock;
use crate::recordings::{RecordingsError, RunDir, inventory, layout};
use crate::run::{EndedBy, ErrorCode, Outcome, RunError, RunId, Sender, Status, exit_status};
use crate::status::document::{LogHead, RecordingsHealth, StatusDocument};
use crate::status::fold::{Described, StatusFold};
use kept::Kept;

/// Largest `spec.json` and `stop.json` that are read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a run without a terminal event is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guardian saw its supervisor go.
    Witnessed {
        /// How it went.
        cause: Cause,
        /// Whether a signal had asked for the end.
        stop_requested: bool,
        /// Kills for want of memory that the kernel counted in the guardian's control group while the run lasted. In a
        /// container that is the supervisor's group too, and without control groups for the workload also its own.
        oom_kills: u64,
        /// Processes that had to be killed behind it.
        survivors: u64,
        /// Names of some of them, as those chose them.
        names: Vec<String>,
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
        let found = remains::kill_rest(run_dir, &fold.document(crate::session::recorder::now_ms()));
        if found.left > 0 {
            let diagnostic = Diagnostic {
                level: Level::Error,
                message: format!("{} processes of the run could not be ended", found.left),
                source: "finalize".to_owned(),
            };
            append(&mut log, &mut fold, &Event::Log(diagnostic))?;
        }
        let mut complete = complete(&fold, ending, intent, &found);
        if let Some(kept) = Kept::of(run_dir) {
            let (kept, health) = kept.into_end(complete);
            complete = kept;
            if let Some(health) = health {
                fold.set_recordings_health(health);
            }
        }
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
    remains::remove_groups(&document);
    remains::remove_socket(&document);
    remains::repair_cast(run_dir);
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

fn complete(
    fold: &StatusFold,
    ending: &Ending,
    intent: Option<StopIntent>,
    found: &KillReport,
) -> Complete {
    let (code, message) = verdict(ending, intent.as_ref());
    let is_stop = code == ErrorCode::RunTerminated;
    let by = match (code, &intent) {
        (ErrorCode::Timeout, _) => EndedBy::Deadline,
        (ErrorCode::RunTerminated, Some(intent)) if intent.by.signal.is_none() => EndedBy::Api,
        (ErrorCode::RunTerminated, _) => EndedBy::Signal,
        _ => EndedBy::Finalize,
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
        survivors: remains::survivors(ending, found),
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
            oom_kills,
            ..
        } => {
            let how = match cause {
                Cause::Exited(code) => {
                    format!("its supervisor exited with code {code} before it recorded the end")
                }
                Cause::Signaled(nix::libc::SIGKILL) if *oom_kills > 0 => format!(
                    "its supervisor was killed by signal 9 as memory ran out (kills for want of memory in its control group \
                     during the run: {oom_kills}); give the container more memory or the workload a lower limits.memory"
                ),
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
