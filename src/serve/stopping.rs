//! Stopping a run: the intent first, then whoever can be reached.
//!
//! Owns the ladder of the control plane: (1) `stop.json` is on disk, (2) the run's status API is asked, (3) else its engine
//! signals it, (4) what has not ended after the grace and a margin is killed by the engine. The last two follow from what is
//! on disk, so any control plane over the same recordings carries on a stop whose own one is gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::Method;
use tokio::task::spawn_blocking;

use super::intent::Intent;
use super::registry::{LookError, Origin, Registry, View};
use crate::control::{StopCause, StopRequest};
use crate::engine::Force;
use crate::run::RunId;
use crate::session::workload::chain;

/// Where a run stands behind a request to stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It is being taken down.
    Stopping,
    /// It had ended, with this status.
    Over(String),
    /// There is none.
    Absent,
}

/// Asks a run to stop.
///
/// # Errors
/// When the run cannot be looked at, or the intent cannot be written.
pub async fn stop(
    registry: &Arc<Registry>,
    id: &RunId,
    request: StopRequest,
) -> Result<Stopped, LookError> {
    let Some(view) = registry.view(id).await? else {
        return Ok(Stopped::Absent);
    };
    if view.is_terminal() {
        return Ok(Stopped::Over(view.status().to_owned()));
    }
    registry.counters.stops_asked.inc();
    persist_intent(registry, id, request.grace).await?;
    if let Some(bound) = &view.bound
        && !ask_run(registry, &view, &request).await
    {
        let signalled = registry.engine.end(bound, Force::Stop).await;
        if let Err(error) = signalled {
            tracing::warn!(run_id = %id, error = chain(&error), "the engine did not signal the run");
        }
    }
    Ok(Stopped::Stopping)
}

/// Carries on a stop that somebody asked for, as far as it is due: asks a run that has not heard of it, kills one that has had
/// its time. Several control planes may do so at once.
pub async fn enforce(registry: &Registry, view: &View) {
    let (Some(intent), Some(bound)) = (&view.evidence.intent, &view.bound) else {
        return;
    };
    if view.is_terminal() {
        return;
    }
    let (own, now) = (view.evidence.grace(), SystemTime::now());
    if intent.is_overdue(own, now) {
        tracing::warn!(run_id = %bound.run_id, "a run did not end in time and is killed");
        match registry.engine.end(bound, Force::Kill).await {
            Ok(()) => drop(registry.counters.stops_enforced.inc()),
            Err(error) => {
                tracing::warn!(run_id = %bound.run_id, error = chain(&error), "the engine did not kill the run");
            }
        }
        return;
    }
    let phase = view
        .document
        .get("phase")
        .and_then(serde_json::Value::as_str);
    let has_not_heard =
        view.origin == Origin::Live && matches!(phase, Some("starting" | "running"));
    if has_not_heard {
        let left = intent
            .due_at(own)
            .duration_since(now)
            .unwrap_or(Duration::ZERO);
        let request = StopRequest {
            cause: StopCause::Api,
            reason: None,
            grace: Some(left),
        };
        ask_run(registry, view, &request).await;
    }
}

async fn persist_intent(
    registry: &Registry,
    id: &RunId,
    grace: Option<Duration>,
) -> Result<(), LookError> {
    let (store, id) = (Arc::clone(&registry.store), id.clone());
    let write = move || match store.open_run(&id)? {
        Some(run) => Intent::persist(&run, grace),
        None => Ok(()),
    };
    match spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| LookError::Recordings(Arc::new(error))),
        Err(error) => Err(LookError::NoEnd {
            message: error.to_string(),
        }),
    }
}

/// True when the run heard of it.
async fn ask_run(registry: &Registry, view: &View, request: &StopRequest) -> bool {
    let Some(bound) = &view.bound else {
        return false;
    };
    let Ok((mut connection, _)) = registry.connect(bound).await else {
        return false;
    };
    let mut body = serde_json::Map::new();
    if let Some(reason) = &request.reason {
        body.insert("reason".to_owned(), reason.as_str().into());
    }
    if let Some(grace) = request.grace {
        body.insert("grace_seconds".to_owned(), grace.as_secs_f64().into());
    }
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = [("content-type", "application/json".to_owned())];
    let asked = connection.ask(Method::POST, "/stop", &headers, Bytes::from(body));
    asked.await.is_ok()
}
