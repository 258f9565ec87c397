//! What the supervisor shows of the run to the person who started it.
//!
//! Owns the places where the view begins and ends. Nothing of the run waits for it but the very end, and that for
//! [`END_LIMIT`] at most.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use stockade_entrypoint::message::ToGuardian;
use tokio_util::task::TaskTracker;

use super::{Record, Supervisor};
use crate::description::supervisor::{LogFormat, LogLevel};
use crate::description::{RunDescription, SupervisorOptions};
use crate::progress::clean::summary;
use crate::progress::mode::{Display, Doors, FinalStatus, Progress, Shown};
use crate::progress::rows::{Listener, Rows};
use crate::progress::state::Bounds;
use crate::progress::view::{self, Haste, Setting, View};
use crate::run::Status;
use crate::session::recorder::now_ms;

/// Longest time for the status document on stdout: its reader may be slow.
const PRINT_LIMIT: Duration = Duration::from_secs(5);

/// Longest reason in the log line of the end, in characters.
const MAX_REASON_CHARS: usize = 320;

/// Longest time of both at the end.
pub const END_LIMIT: Duration = Duration::from_secs(16);

const _: () = assert!(END_LIMIT.as_secs() >= PRINT_LIMIT.as_secs() + view::END_LIMIT.as_secs());

/// What the options and the descriptors decide. A terminal in which the workload is talked to belongs to the workload.
pub fn display(
    options: &SupervisorOptions,
    description: &RunDescription,
    mut doors: Doors,
) -> Display {
    let mut progress = options.progress;
    if doors.stderr_is_terminal && (description.tty || description.interactive) {
        doors.can_redraw = false;
        if progress == Progress::Auto {
            progress = Progress::None;
        }
    }
    let log_lines_are_json = match options.log_format {
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    Display::plan(progress, options.final_status, log_lines_are_json, doors)
}

/// The log lines that are written: where lines for people say how the run goes, those of the level `info` do not.
pub fn log_level(options: &SupervisorOptions, shown: Shown) -> LogLevel {
    match (shown, options.log_level) {
        (Shown::Live | Shown::Plain | Shown::None, LogLevel::Info) => LogLevel::Warn,
        (_, level) => level,
    }
}

impl Supervisor {
    /// Begins to show the run.
    pub(super) fn show(&self, record: &Record, tracker: &TaskTracker) -> Option<View> {
        let description = &self.hand_over.description;
        let setting = Setting {
            display: self.display,
            bounds: Bounds {
                run_id: description.run_id.to_string(),
                timeout: description.timeout,
                max_steps: u64::from(description.max_steps),
                output_bytes: description.limits.output_bytes,
            },
            began: self.began,
            path: self.run_dir.path().to_owned(),
            rows: Rows::new(self.rows_listener()),
        };
        match view::start(setting, &record.source, self.held.clone(), tracker) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(%error, "the run cannot be shown");
                None
            }
        }
    }

    /// Tells the guardian, which outlives this process, what of the view is left on the terminal.
    fn rows_listener(&self) -> Listener {
        let link = self.link.clone();
        Box::new(move |rows| link.tell(&ToGuardian::Shows { rows }))
    }

    /// Logs the end: how, why, and where to look afterwards. Where nothing else says so, the end of a run that did not complete
    /// is no news of the level `info`: it is what a person with `--quiet`, or the log of a CI job, has to go by.
    pub(super) fn log_end(&self, exit_code: u8, record: &Record) {
        let end = record.board.latest(now_ms());
        let path = self.run_dir.path().display();
        let status = end.status.as_str();
        let code = end.error.as_ref().map(|error| error.code.as_str());
        let reason = end.error.as_ref();
        let reason = reason.map(|error| summary(&error.message, MAX_REASON_CHARS));
        let is_told = match (self.display.shown, self.display.final_status) {
            (Shown::Live | Shown::Plain, _) | (_, FinalStatus::Printed) => true,
            (Shown::Log | Shown::None, FinalStatus::Unprinted) => false,
        };
        match end.status {
            Status::Failed | Status::Timeout if !is_told => {
                tracing::error!(exit_code, status, code, reason, %path, "run has ended");
            }
            Status::Terminated if !is_told => {
                tracing::warn!(exit_code, status, code, reason, %path, "run has ended");
            }
            Status::Starting
            | Status::Running
            | Status::Completed
            | Status::Failed
            | Status::Timeout
            | Status::Terminated => {
                tracing::info!(exit_code, status, code, reason, %path, "run has ended");
            }
        }
    }

    /// Shows what is left, and prints the status document where that was asked for.
    pub(super) async fn show_end(&self, view: Option<View>, record: &Record) {
        if let Some(view) = view {
            let haste = match record.board.latest(now_ms()).status {
                Status::Terminated => Haste::Stopped,
                Status::Starting
                | Status::Running
                | Status::Completed
                | Status::Failed
                | Status::Timeout => Haste::None,
            };
            view.finish(haste).await;
        }
        match self.display.final_status {
            FinalStatus::Unprinted => {}
            FinalStatus::Printed => {
                let board = Arc::clone(&record.board);
                let print = tokio::task::spawn_blocking(move || {
                    let bytes = board.file_bytes(now_ms()).map_err(std::io::Error::other)?;
                    let mut stdout = std::io::stdout();
                    stdout.write_all(&bytes)?;
                    stdout.flush()
                });
                match tokio::time::timeout(PRINT_LIMIT, print).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => tracing::warn!(%error, "the status was not printed"),
                    Ok(Err(_)) | Err(_) => tracing::warn!("the status was not printed in time"),
                }
            }
        }
    }
}
