//! Who hears signals while the run goes on.
//!
//! Owns the two tasks that take them, from the guardian and straight. What a signal means is in [`super::signals`].

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Supervisor;
use super::signals::{self, Impatience};
use crate::control::Control;
use crate::status::StatusBoard;

impl Supervisor {
    /// Begins to take signals, on both ways, until `end`.
    pub(super) fn hear_signals(
        &self,
        control: &Control,
        impatience: &Impatience,
        board: &Arc<StatusBoard>,
        tracker: &TaskTracker,
        end: &CancellationToken,
    ) {
        let from_guardian = self.link.clone().listen(
            control.clone(),
            impatience.clone(),
            Arc::clone(board),
            self.console.clone(),
        );
        let end_of_link = end.clone();
        tracker.spawn(async move { end_of_link.run_until_cancelled(from_guardian).await });
        match signals::take(
            control.clone(),
            impatience.clone(),
            Arc::clone(board),
            self.console.clone(),
        ) {
            Ok(direct) => {
                let end = end.clone();
                tracker.spawn(async move { end.run_until_cancelled(direct).await });
            }
            Err(error) => tracing::warn!(%error, "signals to the supervisor itself are not heard"),
        }
    }
}
