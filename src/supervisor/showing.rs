//! What the supervisor shows of the run to the person who started it.
//!
//! Owns the places where the view begins and ends. Nothing of the run waits for it but the very end, and that for
//! [`END_LIMIT`] at most.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{Record, Supervisor};
use crate::description::supervisor::{LogFormat, LogLevel};
use crate::description::{RunDescription, SupervisorOptions};
use crate::progress::mode::{Display, Doors, FinalStatus, Progress, Shown};
use crate::progress::state::Bounds;
use crate::progress::view::{self, Setting, View};
use crate::session::recorder::now_ms;

/// Longest time for the status document on stdout: its reader may be slow.
const PRINT_LIMIT: Duration = Duration::from_secs(5);

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
        };
        match view::start(setting, &record.source, self.held.clone(), tracker) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(%error, "the run cannot be shown");
                None
            }
        }
    }

    /// Shows what is left, and prints the status document where that was asked for.
    pub(super) async fn show_end(&self, view: Option<View>, record: &Record) {
        if let Some(view) = view {
            view.finish().await;
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
