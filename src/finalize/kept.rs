//! The end that `status.json` tells of a run whose log has none.
//!
//! Owns what of it stands. Invariant: status, outcome and error of a terminal status are never changed by what is appended to
//! the log.

use crate::event::Complete;
use crate::recordings::{RunDir, layout};
use crate::run::{EndedBy, ErrorCode, Outcome, RunError};
use crate::status::document::{RecordingsHealth, StatusDocument};

/// Largest `status.json` that is read, in bytes.
const MAX_STATUS_BYTES: u64 = 4 * 1024 * 1024;

/// A terminal `status.json`.
#[derive(Debug)]
pub(super) struct Kept {
    end: Complete,
    /// The health that it tells; none where it knows nothing of the run.
    health: Option<RecordingsHealth>,
}

impl Kept {
    /// What `status.json` tells; none when it tells no end.
    pub(super) fn of(run_dir: &RunDir) -> Option<Self> {
        let bytes = run_dir.read(layout::STATUS, MAX_STATUS_BYTES).ok()??;
        let document = StatusDocument::decode(&bytes).ok()?;
        if !document.status.is_terminal() {
            return None;
        }
        // One that was prepared before the run, as the crash status, knows its end and nothing else; the log knows the rest.
        let knows_the_run = document.epoch.is_some() && document.last_event_id > 0;
        let health = knows_the_run.then(|| document.recordings.clone());
        Some(Self {
            end: end_of(document),
            health,
        })
    }

    /// The terminal event that gives this end, and the health that goes with it; `log` is what the log alone would give.
    pub(super) fn into_end(self, log: Complete) -> (Complete, Option<RecordingsHealth>) {
        if self.health.is_some() {
            return (self.end, self.health);
        }
        let end = Complete {
            status: self.end.status,
            outcome: self.end.outcome,
            error: self.end.error,
            ..log
        };
        (end, None)
    }
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
