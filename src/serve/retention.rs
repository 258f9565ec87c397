//! The pruning of recordings by a control plane, now and then.
//!
//! Owns when it happens. What may go is decided in [`crate::recordings::prune`], which never touches a run that is in use,
//! pinned or the newest; several control planes and supervisors may prune the same recordings at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::recordings::prune::{PruneReport, Retention, execute, plan};
use crate::recordings::{RecordingsError, Store};
use crate::session::workload::chain;

/// Time between two prunings. The first one is at the start.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Prunes until it is cancelled; a pruning that has begun is ended first. Returns at once where there is no limit.
pub async fn work(store: Arc<Store>, keep: Retention, cancelled: CancellationToken) {
    if keep.is_unlimited() {
        return;
    }
    loop {
        let store = Arc::clone(&store);
        if let Ok(pruned) = spawn_blocking(move || prune(&store, &keep)).await {
            tell(pruned);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

fn prune(store: &Store, keep: &Retention) -> Result<PruneReport, RecordingsError> {
    let plan = plan(store, keep, SystemTime::now())?;
    execute(store, &plan)
}

fn tell(pruned: Result<PruneReport, RecordingsError>) {
    match pruned {
        Ok(report) => {
            for (path, error) in &report.failed {
                let error = chain(error);
                tracing::warn!(path = %path.display(), error, "a recording was not removed");
            }
        }
        Err(error) => tracing::warn!(error = chain(&error), "recordings were not pruned"),
    }
}
