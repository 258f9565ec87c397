//! The supervisor process: where the parts are put together.
//!
//! Owns the runtime and the order of start and end. One process runs the run session and the status API as tasks over one
//! action log. In order:
//! 1. descriptors and the hand-over of the command line are taken; the claim names this process as the run's supervisor;
//! 2. the log is created, the listeners are bound, the status API serves from memory;
//! 3. `status.json` says `starting`, and the guardian is told so;
//! 4. the sandbox is built and the session drives the agent to its end;
//! 5. the end is on disk, the guardian is told the exit status;
//! 6. the API lingers, drains and ends; the log's threads end; the process exits.

mod collecting;
pub mod descriptors;
mod driving;
pub mod early_end;
pub(crate) mod egress;
pub mod filming;
mod hearing;
pub mod link;
pub mod listeners;
pub mod observer;
pub mod policy;
mod record;
pub mod rehearsal;
pub(crate) mod report_file;
mod retention;
mod sealing;
pub mod setup;
pub mod showing;
pub mod signals;
pub mod telemetry;
pub mod warnings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::prctl;
use stockade_entrypoint::message::ToGuardian;
use stockade_entrypoint::{GUARDIAN_FD, LOCK_FD, RUN_DIR_FD, SPEC_FD, take_descriptor};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::api::{self, Exposure, Readiness};
use crate::control::Control;
use crate::description::hand_over::HandOver;
use crate::progress::held::HeldLines;
use crate::progress::mode::Display;
use crate::recordings::RunDir;
use crate::recordings::claim::ClaimAnswer;
use crate::redact::Redactor;
use crate::run::ErrorCode;
use crate::session::console::Console;
use crate::session::recorder::{OnDisk, Recorder, show_log_health};
use crate::session::workload::chain;
use descriptors::Descriptors;
use early_end::EarlyEnd;
use link::GuardianLink;
use record::Record;
use setup::Inheritance;
use signals::Impatience;

/// Threads that run tasks. Two: the run session goes on while the API is busy, and no more are paid for.
pub const WORKER_THREADS: usize = 2;

/// Threads for calls that block: file reads of readers, launches, writes of `status.json`. Each may hold a block of 256 KiB.
pub const MAX_BLOCKING_THREADS: usize = 16;

/// Longest wait for the log's threads at the end; everything is synced by then.
pub const LOG_CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Exit status when the supervisor cannot even begin.
const CANNOT_BEGIN: u8 = 125;

/// The supervisor's main function; `arguments` are those behind the word `supervisor`.
///
/// Everything it needs is in inherited descriptors; the arguments name them, for people who look at the process list.
pub fn main(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let began = std::time::Instant::now();
    let inheritance = match take_inheritance() {
        Ok(inheritance) => inheritance,
        Err(error) => {
            crate::cli::notice::error(&format!("the supervisor cannot begin: {error}"));
            return ExitCode::from(CANNOT_BEGIN);
        }
    };
    // It was executed as `/proc/self/exe`, which is no name for whoever looks at a list of processes; without one it works, too.
    let _ = prctl::set_name(c"stockade");
    // Nobody may look into this process: it holds the secrets.
    if let Err(error) = prctl::set_dumpable(false) {
        crate::cli::notice::error(&format!("the supervisor stays dumpable: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::cli::notice::error(&format!("the supervisor cannot begin: {error}"));
            return ExitCode::from(CANNOT_BEGIN);
        }
    };
    let exit_code = runtime.block_on(supervise(inheritance, Instant::from_std(began)));
    // A blocking call that hangs (a disk that is gone) must not hold the exit.
    runtime.shutdown_background();
    ExitCode::from(exit_code)
}

fn take_inheritance() -> Result<Inheritance, Box<dyn std::error::Error>> {
    let guardian = take_descriptor(GUARDIAN_FD)?;
    let run_dir = take_descriptor(RUN_DIR_FD)?;
    let spec = take_descriptor(SPEC_FD)?;
    // Held for as long as this process lives, so that the lock is free only when both are gone.
    let lock = take_descriptor(LOCK_FD)?;
    Inheritance::read(guardian, run_dir, spec, lock).map_err(Into::into)
}

/// Runs the run; gives the exit status of the process.
async fn supervise(inheritance: Inheritance, began: Instant) -> u8 {
    let Inheritance {
        hand_over,
        guardian,
        run_dir,
        lock: _lock,
        program,
        inherited,
        doors,
    } = inheritance;
    let redactor = setup::redactor(&hand_over.description, &hand_over.options);
    let display = showing::display(&hand_over.options, &hand_over.description, doors);
    let held = HeldLines::default();
    telemetry::install(
        hand_over.options.log_format,
        showing::log_level(&hand_over.options, display.shown),
        &redactor,
        &held,
    );
    let link = match GuardianLink::new(guardian) {
        Ok(link) => link,
        Err(error) => {
            tracing::error!(%error, "the guardian cannot be reached");
            return CANNOT_BEGIN;
        }
    };
    if inherited.traceparent.is_none() && std::env::var_os("TRACEPARENT").is_some() {
        tracing::warn!("TRACEPARENT is not of the form of W3C Trace Context, and is passed over");
    }
    let span = tracing::info_span!("run", run_id = %hand_over.description.run_id, traceparent = inherited.traceparent);
    let console = Console::of(&hand_over.description);
    let supervisor = Supervisor {
        console,
        exposure: Exposure::default(),
        hand_over,
        link,
        run_dir: Arc::new(run_dir),
        redactor,
        program,
        inherited,
        display,
        held,
        began,
    };
    let answers = supervisor.link.clone().answer();
    // Cancel safe: the answers end with the run, and what is asked then is answered by the exit.
    tokio::select! {
        biased;
        never = answers => match never {},
        exit_code = supervisor.run().instrument(span) => exit_code,
    }
}

struct Supervisor {
    hand_over: HandOver,
    link: GuardianLink,
    run_dir: Arc<RunDir>,
    redactor: Redactor,
    program: std::path::PathBuf,
    inherited: crate::session::environment::Inherited,
    display: Display,
    held: HeldLines,
    began: Instant,
    console: Console,
    exposure: Exposure,
}

impl Supervisor {
    async fn run(self) -> u8 {
        let run_id = self.hand_over.description.run_id.clone();
        match setup::claim(&self.run_dir) {
            Ok(ClaimAnswer::Taken) => {}
            Ok(ClaimAnswer::Refused(_)) => {
                tracing::error!(
                    code = ErrorCode::RunExists.as_str(),
                    "the run has a supervisor already"
                );
                self.finished(CANNOT_BEGIN);
                return CANNOT_BEGIN;
            }
            Err(error) => return self.unusable(&error),
        }
        let record = match self.open_record() {
            Ok(record) => record,
            Err(error) => return self.unusable(&error),
        };
        tracing::info!(path = %self.run_dir.path().display(), "run begins");
        let (control, calls) = Control::channel();
        let over = CancellationToken::new();
        let impatience = Impatience::new(over.clone());
        let tracker = TaskTracker::new();
        let end_tasks = CancellationToken::new();
        self.hear_signals(&control, &impatience, &record.board, &tracker, &end_tasks);
        let view = self.show(&record, &tracker);
        let health = show_log_health(record.log.clone(), Arc::clone(&record.board));
        let end_of_health = end_tasks.clone();
        tracker.spawn(
            async move { end_of_health.run_until_cancelled(health).await }.in_current_span(),
        );
        let options = &self.hand_over.options;
        let recorder = Recorder::new(
            record.log.clone(),
            Arc::clone(&record.board),
            Arc::clone(&self.run_dir),
            options.termination_log.clone(),
            options.stop_exit_code,
        );
        let description = &self.hand_over.description;
        let own_network = policy::has_own_network(description);
        let sight = setup::sight(description);
        let shutdown = CancellationToken::new();
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let mut serving = None;
        let mut pruning = None;
        let mut socket_file = None;
        let bound = listeners::bind(
            &options.listen,
            &options.socket,
            &run_id,
            own_network,
            &sight,
        );
        let ended = match bound {
            Ok(bound) => {
                socket_file = bound.socket_file;
                let n_egress = egress::descriptors(description);
                let descriptors = Descriptors::of_this_process(bound.listeners.len(), n_egress);
                match self.api(&record, control, readiness, descriptors) {
                    Ok(api) => {
                        let serve =
                            api::serve(bound.listeners, api, shutdown.clone(), tracker.clone());
                        serving = Some(tracker.spawn(serve.in_current_span()));
                        // Behind the spawn: whether we are alive can be asked while the disk is slow.
                        recorder.begin(bound.listen.clone()).await;
                        if bound.listen.address.is_some() || bound.listen.socket.is_some() {
                            tracing::info!(
                                address = bound.listen.address,
                                socket = bound.listen.socket,
                                "status api listens"
                            );
                        }
                        self.link.tell(&ToGuardian::Ready);
                        pruning = Some(retention::begin(&self.hand_over.options));
                        self.session(recorder, calls, ready, descriptors, &bound.listen, &record)
                            .await
                    }
                    Err(error) => {
                        self.end_early(recorder, EarlyEnd::new(ErrorCode::ListenFailed, error))
                            .await
                    }
                }
            }
            Err(error) => {
                self.end_early(
                    recorder,
                    EarlyEnd::new(ErrorCode::ListenFailed, chain(&error)),
                )
                .await
            }
        };
        let exit_code = ended.exit_code;
        let sealing = sealing::begin(&self.run_dir, ended.record);
        match ended.record {
            OnDisk::Yes => self.finished(exit_code),
            OnDisk::Gone => {
                tracing::error!("the run's directory was removed, and the record with it");
                self.finished(exit_code);
            }
            // The guardian was not told, and so will have the run finalized.
            OnDisk::No => tracing::error!("the end of the run is not on record"),
        }
        self.log_end(exit_code, &record);
        self.show_end(view, &record).await;
        let linger = self.hand_over.description.linger;
        if serving.is_some() && !linger.is_zero() {
            // Over at the first signal.
            let _ = tokio::time::timeout(linger, over.cancelled()).await;
        }
        shutdown.cancel();
        if let Some(serving) = serving {
            match serving.await {
                Ok(Ok(drained)) => tracing::debug!(n_cut = drained.n_cut, "status api has ended"),
                Ok(Err(error)) => {
                    tracing::error!(error = chain(&error), "status api did not serve")
                }
                Err(error) => tracing::error!(%error, "status api ended by a panic"),
            }
        }
        drop(socket_file);
        sealing.end().await;
        if let Some(pruning) = pruning {
            pruning.end().await;
        }
        end_tasks.cancel();
        tracker.close();
        tracker.wait().await;
        record.log.close();
        let threads = record.threads;
        if tokio::time::timeout(
            LOG_CLOSE_LIMIT,
            tokio::task::spawn_blocking(move || threads.join()),
        )
        .await
        .is_err()
        {
            tracing::warn!("the log's threads did not end in time");
        }
        exit_code
    }

    /// The recordings cannot be used: stderr, the termination log and the exit status are all there is.
    fn unusable(&self, error: &str) -> u8 {
        // What failed names itself; the probe knows what to do about it. It is no check before the start, because claim and
        // log need the same of the directory, and it would double the syncs that the first answer waits for.
        let probed = crate::recordings::health::probe(&self.run_dir, self.run_dir.path());
        let advice = probed.err().map(|advice| chain(&advice));
        let error = advice.as_deref().unwrap_or(error);
        tracing::error!(
            code = ErrorCode::RecordingsUnusable.as_str(),
            error,
            "the recordings cannot be used"
        );
        if setup::report_unusable(&self.hand_over, &self.run_dir, error) == OnDisk::Yes {
            self.finished(CANNOT_BEGIN);
        }
        CANNOT_BEGIN
    }

    fn finished(&self, exit_code: u8) {
        self.link.tell(&ToGuardian::Finished {
            exit_code: Some(exit_code),
        });
    }
}
