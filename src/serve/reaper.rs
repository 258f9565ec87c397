//! A look at every run without an end, now and then, so that a lost one gets its end though nobody asks.
//!
//! Owns the rounds, and the removal of sandboxes that nobody needs any more. It knows nothing that another control plane does not: a round is a list of the recordings and a look at
//! each run, and a look repairs under the run's lock, so several may do so at once. Invariant: a run whose recording has not
//! changed since it was seen to be ended is not looked at again; a sandbox goes only when its run has its end on record, or
//! when two rounds found no recording of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::registry::{LookError, Registry};
use super::stopping;
use crate::engine::{Bound, Force};
use crate::recordings::RecordingsError;
use crate::recordings::store::StoreEntry;
use crate::run::RunId;
use crate::session::workload::chain;

/// Time between two rounds.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Runs that are looked at at the same time.
const MAX_LOOKS_AT_ONCE: usize = 8;

/// Looks at all runs, again and again.
#[derive(Debug)]
pub struct Reaper {
    registry: Arc<Registry>,
    /// Runs that were seen to be ended, with the time of the last change of their directory before that look.
    ended: Mutex<HashMap<RunId, SystemTime>>,
    /// Sandboxes that had no recording in the last round.
    orphans: Mutex<HashSet<RunId>>,
}

/// What a round found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Runs that were looked at.
    pub looked_at: usize,
    /// Those that have no end yet.
    pub active: usize,
}

impl Reaper {
    /// A reaper that has seen nothing yet.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            ended: Mutex::default(),
            orphans: Mutex::default(),
        }
    }

    /// Makes rounds until it is cancelled; a look that has begun is ended first.
    pub async fn work(self, cancelled: CancellationToken) {
        loop {
            match self.round(&cancelled).await {
                Ok(round) => {
                    let active = i64::try_from(round.active).unwrap_or(i64::MAX);
                    self.registry.counters.runs_active.set(active);
                }
                Err(error) => tracing::warn!(error = chain(&error), "cannot list the recordings"),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = cancelled.cancelled() => return,
            }
        }
    }

    /// Looks at every run that was not seen to be ended.
    ///
    /// # Errors
    /// When the recordings cannot be listed. What cannot be said of one run is logged, and is no error.
    pub async fn round(&self, cancelled: &CancellationToken) -> Result<Round, RecordingsError> {
        // Before the recordings: a run that is created meanwhile is then in neither list, or in the second alone.
        let sandboxes = match self.registry.engine.sandboxes().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the engine lists no sandboxes");
                Vec::new()
            }
        };
        let store = Arc::clone(&self.registry.store);
        let Ok(listed) = spawn_blocking(move || store.list()).await else {
            return Ok(Round::default());
        };
        let listed = listed?;
        let recorded: HashSet<RunId> = listed.iter().map(|entry| entry.id.clone()).collect();
        let due = self.not_ended(listed);
        let mut round = Round {
            looked_at: due.len(),
            active: 0,
        };
        let mut looks = futures_util::stream::iter(due)
            .take_while(|_| std::future::ready(!cancelled.is_cancelled()))
            .map(|entry| self.look(entry))
            .buffer_unordered(MAX_LOOKS_AT_ONCE);
        while let Some(is_active) = looks.next().await {
            round.active += usize::from(is_active);
        }
        drop(looks);
        if !cancelled.is_cancelled() {
            self.sweep(sandboxes, &recorded).await;
        }
        Ok(round)
    }

    /// Removes the sandboxes of ended runs, and those whose recording was gone in the last round, too.
    async fn sweep(&self, sandboxes: Vec<RunId>, recorded: &HashSet<RunId>) {
        let (ended, orphans): (Vec<RunId>, Vec<RunId>) = {
            let known = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let of_interest = sandboxes
                .into_iter()
                .filter(|id| known.contains_key(id) || !recorded.contains(id));
            of_interest.partition(|id| known.contains_key(id))
        };
        let again = {
            let mut before = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            let again: Vec<RunId> = orphans
                .iter()
                .filter(|id| before.contains(id))
                .cloned()
                .collect();
            *before = orphans.into_iter().collect();
            again
        };
        for id in &again {
            tracing::warn!(run_id = %id, "a sandbox without a recording is ended");
            let bound = Bound {
                run_id: id.clone(),
                instance_id: None,
            };
            if let Err(error) = self.registry.engine.end(&bound, Force::Kill).await {
                tracing::warn!(run_id = %id, error = chain(&error), "it was not killed");
            }
        }
        for id in ended.iter().chain(&again) {
            match self.registry.engine.remove(id).await {
                Ok(()) => drop(self.registry.counters.sandboxes_removed.inc()),
                // It is about to end; the next round comes.
                Err(error) => {
                    tracing::debug!(run_id = %id, error = chain(&error), "a sandbox stays")
                }
            }
        }
    }

    /// What has to be looked at; forgets what is not there any more.
    fn not_ended(&self, listed: Vec<StoreEntry>) -> Vec<StoreEntry> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *ended);
        let mut due = Vec::new();
        for entry in listed {
            match before.remove(&entry.id) {
                Some(at) if at == entry.modified_at => {
                    ended.insert(entry.id, at);
                }
                Some(_) | None => due.push(entry),
            }
        }
        due
    }

    /// True when the run goes on.
    async fn look(&self, entry: StoreEntry) -> bool {
        let view = match self.registry.view(&entry.id).await {
            Ok(view) => view,
            Err(error) => {
                // Whoever works on it is done by the next round; an engine that does not answer was told of by the look.
                if let LookError::Recordings(error) = &error {
                    tracing::warn!(run_id = %entry.id, error = chain(error), "a recording cannot be read");
                }
                return false;
            }
        };
        if let Some(view) = view.filter(|view| !view.is_terminal()) {
            stopping::enforce(&self.registry, &view).await;
            return true;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(entry.id, entry.modified_at);
        false
    }
}

#[cfg(test)]
mod tests;
