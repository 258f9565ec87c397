//! The digests of a run's files, made when its end is on disk.
//!
//! Owns when that happens: beside the linger and the drain of the status API, so that nobody who waits for the end waits for
//! them. What is listed is decided in [`crate::recordings::inventory`].

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::recordings::RunDir;
use crate::recordings::inventory::{SEAL_LIMIT, seal};
use crate::session::recorder::OnDisk;
use crate::session::workload::chain;

/// How long the exit waits for a sealing that is late: writing the manifest, on a disk that is slow.
const WAIT_LIMIT: Duration = Duration::from_millis(1_500);

/// A sealing that was begun.
#[derive(Debug)]
pub(super) struct Sealing(Option<JoinHandle<()>>);

/// Begins to seal, unless the record still has to be finalized, which seals it then, or is gone.
pub(super) fn begin(run_dir: &Arc<RunDir>, record: OnDisk) -> Sealing {
    match record {
        OnDisk::Yes => {}
        OnDisk::No | OnDisk::Gone => return Sealing(None),
    }
    let run_dir = Arc::clone(run_dir);
    let span = tracing::Span::current();
    Sealing(Some(tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        if let Err(error) = seal(&run_dir, SEAL_LIMIT) {
            tracing::warn!(error = chain(&error), "the manifest was not completed");
        }
    })))
}

impl Sealing {
    /// Waits for its end, for at most [`SEAL_LIMIT`] and a little more.
    pub(super) async fn end(self) {
        if let Some(sealing) = self.0
            && tokio::time::timeout(WAIT_LIMIT, sealing).await.is_err()
        {
            tracing::warn!("the manifest was not completed in time");
        }
    }
}
