//! The run's record: phases in the log, `status.json` beside it, and the one order in which a run ends.
//!
//! Owns the run's state and is the only one who changes it. Invariant (the end order): terminal event written and synced,
//! then `status.json`, then readers see the end. A reader that saw the terminal event can rely on the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::status_file::{SPARE_BYTES, StatusFile, remove_spare};
use super::workload::chain;
use crate::api::Readiness;
use crate::event::lifecycle::Listen;
use crate::event::{Complete, Diagnostic, Event, Level, RunPhase};
use crate::log::{ActionLog, AppendError, LogHealth, Millis};
use crate::recordings::RunDir;
use crate::recordings::termination::TerminationMessage;
use crate::run::{ErrorCode, Phase, State, Terminal, Transition, exit_status};
use crate::status::StatusBoard;
use crate::status::document::RecordingsHealth;

/// Longest time for each step that puts the end on the disk: half of the second that a stop keeps for it.
pub const PERSIST_STEP_LIMIT: Duration = Duration::from_millis(500);

/// Longest wait for a sync or a write while the run goes on.
pub const CHECKPOINT_LIMIT: Duration = Duration::from_secs(2);

/// Whether the terminal `status.json` is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisk {
    /// It is.
    Yes,
    /// It is not: whoever comes next has to finalize the run.
    No,
    /// It never will be: somebody removed the run's directory.
    Gone,
}

/// How a run ended, for its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit status of the process.
    pub exit_code: u8,
    /// Whether its record has its end.
    pub record: OnDisk,
}

/// Keeps the record of one run.
#[derive(Debug)]
pub struct Recorder {
    log: ActionLog,
    board: Arc<StatusBoard>,
    run_dir: Arc<RunDir>,
    status_file: StatusFile,
    termination_log: PathBuf,
    stop_exit_code: Option<u8>,
    readiness: Option<watch::Sender<Readiness>>,
    state: State,
}

impl Recorder {
    /// A recorder for a run that begins.
    ///
    /// `stop_exit_code` is the exit status of a requested stop, if it is not the usual one.
    pub fn new(
        log: ActionLog,
        board: Arc<StatusBoard>,
        run_dir: Arc<RunDir>,
        termination_log: PathBuf,
        stop_exit_code: Option<u8>,
    ) -> Self {
        Self {
            log,
            board,
            status_file: StatusFile::new(Arc::clone(&run_dir)),
            run_dir,
            termination_log,
            stop_exit_code,
            readiness: None,
            state: State::Starting,
        }
    }

    /// The action log.
    pub fn log(&self) -> &ActionLog {
        &self.log
    }

    /// The run's directory.
    pub fn run_dir(&self) -> &Arc<RunDir> {
        &self.run_dir
    }

    /// The run's state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Tells from here on who waits for the run to be ready.
    pub fn announce(&mut self, readiness: watch::Sender<Readiness>) {
        self.readiness = Some(readiness);
    }

    fn tell_readiness(&self) {
        if let Some(readiness) = &self.readiness {
            readiness.send_replace(match self.state.phase() {
                Phase::Starting => Readiness::Starting,
                Phase::Running => Readiness::Ready,
                Phase::Stopping | Phase::Finished => Readiness::Ended,
            });
        }
    }

    /// Records that the run begins, with the addresses of the status API.
    pub async fn begin(&self, listen: Listen) {
        let phase = RunPhase {
            phase: self.state.phase(),
            status: self.state.status(),
            reason: None,
            listen: Some(listen),
        };
        self.append(Event::RunPhase(phase));
        let reserve = self.status_file.reserve(CHECKPOINT_LIMIT);
        let ((), reserved) = tokio::join!(self.checkpoint(CHECKPOINT_LIMIT), reserve);
        if let Err(error) = reserved {
            tracing::warn!(error, "no space is kept for the terminal status");
        }
    }

    /// Enters the phase that a transition leads to; an illegal one changes nothing and is logged.
    pub async fn enter(&mut self, transition: Transition, reason: Option<String>) {
        match self.state.apply(transition) {
            Ok(state) => self.state = state,
            Err(error) => {
                tracing::error!(%error, "a phase was not entered");
                return;
            }
        }
        self.tell_readiness();
        let phase = RunPhase {
            phase: self.state.phase(),
            status: self.state.status(),
            reason,
            listen: None,
        };
        self.append(Event::RunPhase(phase));
        // The clock of a stop is running: it has no time for a disk that is full.
        let limit = match transition {
            Transition::StopBegan => PERSIST_STEP_LIMIT,
            _ => CHECKPOINT_LIMIT,
        };
        self.checkpoint(limit).await;
    }

    /// Puts what was appended, and the status that follows from it, on the disk while the run goes on.
    pub async fn note(&self) {
        self.checkpoint(CHECKPOINT_LIMIT).await;
    }

    /// Appends an event, without waiting for space; behind the terminal event there is nobody to tell.
    pub fn append(&self, event: Event) {
        if let Err(error) = self.log.append_at_once(event) {
            tracing::debug!(%error, "an event was not recorded");
        }
    }

    /// Records a diagnostic of the supervisor.
    pub fn diagnose(&self, level: Level, message: String) {
        self.append(Event::Log(Diagnostic {
            level,
            message,
            source: "supervisor".to_owned(),
        }));
    }

    /// Syncs the log and writes `status.json`, in this order: the status never claims events that the log lacks. Each of the
    /// two may take `limit`.
    async fn checkpoint(&self, limit: Duration) {
        if self.log.synced(self.log.last_seq(), limit).await {
            // What was late or full before is made up for; a failed log never syncs again.
            self.board.set_recordings_health(RecordingsHealth::good());
        } else {
            self.note_log_health("the log could not be synced in time");
        }
        self.write_status(limit).await;
    }

    /// Ends the run on record and lets readers see it. Bounded by a few [`PERSIST_STEP_LIMIT`]s, whatever the disk does.
    pub async fn finish(&mut self, complete: Complete) -> Ended {
        let code = complete.error.as_ref().map(|error| error.code);
        let exit_code = exit_status(code, &complete.outcome, self.stop_exit_code);
        let terminal = code.map_or(Terminal::Completed, ErrorCode::status);
        match self.state.apply(Transition::Finish(terminal)) {
            Ok(state) => self.state = state,
            Err(error) => {
                tracing::error!(%error, "the run ended twice");
                return Ended {
                    exit_code,
                    record: OnDisk::No,
                };
            }
        }
        match self.append_end(complete) {
            Ok(seq) => {
                let mut is_synced = self.log.synced(seq, PERSIST_STEP_LIMIT).await;
                if !is_synced {
                    let reason = reason_of(&self.log.health().borrow());
                    let reason = reason.as_deref();
                    self.log.abandon_files(
                        reason.unwrap_or("the terminal event could not be synced in time"),
                    );
                    // On a full disk there may be room for the end, if for nothing else.
                    is_synced = self.log.synced(seq, PERSIST_STEP_LIMIT).await;
                }
                if is_synced && *self.log.health().borrow() == LogHealth::Healthy {
                    self.board.set_recordings_health(RecordingsHealth::good());
                } else {
                    self.note_log_health("the terminal event could not be synced");
                    self.log.observed(seq, PERSIST_STEP_LIMIT).await;
                }
            }
            Err(error) => tracing::error!(%error, "the terminal event was not recorded"),
        }
        let is_on_disk = self.write_terminal_status().await;
        self.log.publish_terminal();
        if let Err(error) = self.board.publish_terminal(now_ms()) {
            tracing::error!(%error, "the terminal status was not published");
        }
        self.write_termination_log(exit_code);
        remove_spare(&self.run_dir);
        Ended {
            exit_code,
            record: match is_on_disk {
                true => OnDisk::Yes,
                false if self.is_removed() => OnDisk::Gone,
                false => OnDisk::No,
            },
        }
    }

    /// True when nothing leads to the run's directory any more (fstat(2): no link is left).
    fn is_removed(&self) -> bool {
        nix::sys::stat::fstat(&*self.run_dir).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Appends the terminal event; one that is too large goes without what the agent gave it.
    fn append_end(&self, complete: Complete) -> Result<u64, AppendError> {
        let mut bare = complete.clone();
        self.log
            .append_terminal(Event::Complete(Box::new(complete)))
            .or_else(|error| {
                tracing::error!(%error, "the terminal event goes without the agent's result");
                (bare.result, bare.data) = (None, None);
                bare.survivors.names.clear();
                self.log.append_terminal(Event::Complete(Box::new(bare)))
            })
    }

    fn note_log_health(&self, fallback: &str) {
        let error = reason_of(&self.log.health().borrow()).unwrap_or_else(|| fallback.to_owned());
        tracing::error!(error, "the recording is not whole");
        self.board
            .set_recordings_health(RecordingsHealth::bad(error));
    }

    /// Writes `status.json`; what failed is told.
    async fn write_status(&self, limit: Duration) {
        if let Err(error) = self.try_to_write_status(limit).await {
            tracing::error!(error, "status.json was not written");
        }
    }

    /// Writes `status.json`.
    async fn try_to_write_status(&self, limit: Duration) -> Result<(), String> {
        let written = match self.board.file_bytes(now_ms()) {
            Ok(bytes) => self.status_file.write(bytes, limit).await,
            Err(error) => Err(error.to_string()),
        };
        // What the log lacks stands on, for it stays missing; this is told on stderr.
        if let Err(error) = &written
            && reason_of(&self.log.health().borrow()).is_none()
        {
            self.board
                .set_recordings_health(RecordingsHealth::bad(error.clone()));
        }
        written
    }

    /// Writes the terminal `status.json`, into the spare file when there is no space for a new one; true when it is on disk.
    async fn write_terminal_status(&self) -> bool {
        let Err(why) = self.try_to_write_status(PERSIST_STEP_LIMIT).await else {
            return true;
        };
        let document = self.board.latest(now_ms()).without_actions();
        let fits = |bytes: &Vec<u8>| bytes.len() < SPARE_BYTES;
        let bytes = document.encode().ok().filter(fits).or_else(|| {
            let mut document = document.clone();
            (document.result, document.data) = (None, None);
            document.encode().ok()
        });
        let bytes = bytes.unwrap_or_default();
        let spare = self
            .status_file
            .write_into_spare(&bytes, PERSIST_STEP_LIMIT);
        match spare.await {
            Ok(()) => {
                tracing::error!(
                    error = why,
                    "status.json was written without its actions, into the space that was kept for it"
                );
                true
            }
            Err(error) => {
                tracing::error!(error = why, spare = error, "status.json was not written");
                false
            }
        }
    }

    fn write_termination_log(&self, exit_code: u8) {
        let document = self.board.latest(now_ms());
        let Some(message) = TerminationMessage::of(&document, exit_code) else {
            return;
        };
        if let Err(error) = message.deliver(&self.termination_log) {
            tracing::warn!(error = chain(&error), "the termination log was not written");
        }
    }
}

/// Shows readers of the status, and of stderr, how the log fares while nothing else looks: a run whose disk is full waits.
/// Runs until it is dropped or the log is gone.
pub async fn show_log_health(log: ActionLog, board: Arc<StatusBoard>) {
    let mut health = log.health();
    // Cancel safe: it only watches.
    while health.changed().await.is_ok() {
        let reason = reason_of(&health.borrow_and_update());
        match reason {
            Some(error) => {
                tracing::error!(error, "the log does not reach its files");
                board.set_recordings_health(RecordingsHealth::bad(error));
            }
            None => {
                tracing::info!("the log reaches its files again");
                board.set_recordings_health(RecordingsHealth::good());
            }
        }
    }
}

/// Why the log does not reach its files; none when it does.
fn reason_of(health: &LogHealth) -> Option<String> {
    match health {
        LogHealth::Healthy => None,
        LogHealth::Paused { error } => Some(format!("the recordings file system is full: {error}")),
        LogHealth::GivenUp { error } | LogHealth::Failed { error } => Some(error.clone()),
    }
}

/// The wall clock, milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(Millis::now().0).unwrap_or(0)
}
