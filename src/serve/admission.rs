//! How many runs may go on at once.
//!
//! Owns the count, which is taken from the recordings anew for each request, so every control plane over them counts the same.
//! Invariant: of requests to one control plane no more are let in than may go on; several control planes may together let in
//! one more each, for each counts before the other has written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use super::evidence::Evidence;
use super::verdict::Recorded;
use crate::api::problem::{Problem, ProblemCode};
use crate::recordings::{RecordingsError, Store};
use crate::run::RunId;

/// Most runs at once where nobody says otherwise.
pub const DEFAULT_MAX_RUNS: u16 = 256;

/// What a refused caller is told to wait, in seconds.
const RETRY_SECONDS: u16 = 5;

/// Runs that were seen to be ended, with the time of the last change of their directory.
type Ended = HashMap<RunId, SystemTime>;

/// Lets runs in.
#[derive(Debug)]
pub struct Admission {
    max_runs: u16,
    ended: Arc<Mutex<Ended>>,
}

/// A place for one run. It is held until the run is in the recordings, so that the next request counts it.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, not read")] OwnedMutexGuard<Ended>);

impl Admission {
    /// At most `max_runs` at once.
    pub fn new(max_runs: u16) -> Self {
        Self {
            max_runs,
            ended: Arc::default(),
        }
    }

    /// Waits for requests that came before, and lets this one in. A run that is there already needs no place: what repeats a
    /// request, or takes an id that is taken, is for the creation to answer.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` when as many runs go on as may; when the recordings cannot be listed.
    pub async fn turn(&self, store: &Arc<Store>, id: &RunId) -> Result<Turn, Problem> {
        let (store, max_runs, id) = (Arc::clone(store), self.max_runs, id.clone());
        let mut ended = Arc::clone(&self.ended).lock_owned().await;
        let counted = spawn_blocking(move || {
            let is_full = is_full(&store, &mut ended, max_runs, &id)?;
            Ok::<_, RecordingsError>((is_full, ended))
        });
        match counted.await {
            Ok(Ok((false, ended))) => Ok(Turn(ended)),
            Ok(Ok((true, _))) => Err(Problem::new(
                ProblemCode::QuotaExceeded,
                format!("{max_runs} runs go on, and no more may; wait, stop one, or ask for more by `stockade serve --max-runs`"),
            )
            .with_header(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS))),
            Ok(Err(error)) => Err(Problem::internal("cannot list the recordings", error)),
            Err(error) => Err(Problem::internal("cannot list the recordings", error)),
        }
    }
}

/// Whether there is no place for the run `id`.
fn is_full(
    store: &Store,
    ended: &mut Ended,
    max_runs: u16,
    id: &RunId,
) -> Result<bool, RecordingsError> {
    let mut before = std::mem::take(ended);
    let mut n_active = 0_u16;
    let mut is_there = false;
    for entry in store.list()? {
        let is_known = before.remove(&entry.id) == Some(entry.modified_at);
        // One that cannot be read goes on for all that is known.
        let recorded = || Evidence::of(store, &entry.id).map(|evidence| evidence.recorded);
        let recorded = match is_known {
            true => Ok(Recorded::Terminal),
            false => recorded(),
        };
        is_there |= entry.id == *id && !matches!(recorded, Ok(Recorded::Nothing));
        match recorded {
            Ok(Recorded::Terminal) => drop(ended.insert(entry.id, entry.modified_at)),
            Ok(Recorded::Nothing) => {}
            Ok(Recorded::Begun | Recorded::Asked(_)) | Err(_) => {
                n_active = n_active.saturating_add(1);
            }
        }
    }
    Ok(!is_there && n_active >= max_runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::layout;

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open_or_create(root.path()).unwrap());
        (root, store)
    }

    fn id(id: &str) -> RunId {
        id.parse().unwrap()
    }

    fn begin(store: &Store, id: &str) {
        let run = store.create_run(&self::id(id)).unwrap();
        run.write_atomic(layout::SPEC, b"{}").unwrap();
    }

    #[tokio::test]
    async fn as_many_runs_go_on_as_may_and_an_ended_one_makes_room() {
        let (root, store) = store();
        std::fs::create_dir(root.path().join("foreign")).unwrap();
        let admission = Admission::new(2);
        for name in ["one", "two"] {
            let _turn = admission.turn(&store, &id(name)).await.unwrap();
            begin(&store, name);
        }
        let refused = admission.turn(&store, &id("three")).await.unwrap_err();
        assert_eq!(refused.code(), ProblemCode::QuotaExceeded);
        let one = store.open_run(&id("one")).unwrap().unwrap();
        one.write_atomic(layout::STATUS, br#"{"status":"completed"}"#)
            .unwrap();
        drop(admission.turn(&store, &id("three")).await.unwrap());
        // A run of the same name that goes on again is counted again.
        one.write_atomic(layout::STATUS, br#"{"status":"running"}"#)
            .unwrap();
        admission.turn(&store, &id("three")).await.unwrap_err();
        std::fs::remove_dir_all(root.path().join("two")).unwrap();
        drop(admission.turn(&store, &id("three")).await.unwrap());
    }

    #[tokio::test]
    async fn a_run_that_is_there_needs_no_place() {
        let (root, store) = store();
        let admission = Admission::new(1);
        begin(&store, "one");
        drop(admission.turn(&store, &id("one")).await.unwrap());
        // A directory of this name is not a run.
        std::fs::create_dir(root.path().join("two")).unwrap();
        admission.turn(&store, &id("two")).await.unwrap_err();
    }

    #[tokio::test]
    async fn of_many_requests_at_once_no_more_are_let_in_than_may_go_on() {
        let (_root, store) = store();
        let admission = Admission::new(3);
        let asked = (0..8).map(|n| {
            let (store, admission) = (&store, &admission);
            async move {
                let name = format!("run-{n}");
                let turn = admission.turn(store, &id(&name)).await;
                if turn.is_ok() {
                    begin(store, &name);
                }
                turn.is_ok()
            }
        });
        let let_in = futures_util::future::join_all(asked).await;
        assert_eq!(let_in.iter().filter(|is_in| **is_in).count(), 3);
    }
}
