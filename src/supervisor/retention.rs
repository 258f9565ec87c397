//! The pruning of earlier recordings while a run goes on.
//!
//! Owns when it happens: after the run is ready, on a thread of its own, so that no start waits for it. What may go is
//! decided in [`crate::recordings::prune`], which never touches a run that is in use, so never this one.

use std::time::{Duration, SystemTime};

use crate::description::supervisor::SupervisorOptions;
use crate::recordings::prune::{PruneReport, Retention, execute, plan};
use crate::recordings::{RecordingsError, Store};
use crate::session::workload::chain;
use tokio::task::JoinHandle;

/// How long the end of a run waits for a pruning that still goes on. What is left of it goes on with the next one.
const PRUNE_WAIT_LIMIT: Duration = Duration::from_secs(1);

/// A pruning that was begun.
#[derive(Debug)]
pub(super) struct Pruning(Option<JoinHandle<()>>);

/// Begins to prune, if the options name any limit.
pub(super) fn begin(options: &SupervisorOptions) -> Pruning {
    if options.keep.is_unlimited() {
        return Pruning(None);
    }
    let (recordings, keep) = (options.recordings.clone(), options.keep);
    let span = tracing::Span::current();
    let pruning = move || {
        let _entered = span.enter();
        match prune(&recordings, &keep) {
            Ok(report) => tell(&report),
            Err(error) => {
                tracing::warn!(error = chain(&error), "earlier recordings were not pruned");
            }
        }
    };
    Pruning(Some(tokio::task::spawn_blocking(pruning)))
}

impl Pruning {
    /// Waits for the end of the pruning, for at most [`PRUNE_WAIT_LIMIT`].
    pub(super) async fn end(self) {
        if let Some(pruning) = self.0
            && tokio::time::timeout(PRUNE_WAIT_LIMIT, pruning)
                .await
                .is_err()
        {
            tracing::info!("the pruning of earlier recordings goes on with the next run");
        }
    }
}

fn prune(recordings: &std::path::Path, keep: &Retention) -> Result<PruneReport, RecordingsError> {
    let store = Store::open(recordings)?;
    let plan = plan(&store, keep, SystemTime::now())?;
    for (path, error) in &plan.unreadable {
        tracing::warn!(path = %path.display(), error = chain(error), "a recording cannot be read and stays");
    }
    execute(&store, &plan)
}

fn tell(report: &PruneReport) {
    for (path, error) in &report.failed {
        tracing::warn!(path = %path.display(), error = chain(error), "a recording was not removed");
    }
    if !report.removed.is_empty() {
        tracing::info!(
            n_removed = report.removed.len(),
            "earlier recordings were pruned"
        );
    }
}
