//! Stopping a run: the intent first, then whoever can be reached.
//!
//! Owns the ladder of the control plane: (1) `stop.json` is on disk, (2) the run's status API is asked, (3) else its engine
//! signals it, (4) what has not ended after the grace and a margin is killed by the engine. The intent has no reason in it:
//! only the run knows which words are secret, so the reason goes to the run alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::registry::{LookError, Registry, View};
use crate::api::service::now_ms;
use crate::control::StopRequest;
use crate::engine::Force;
use crate::recordings::layout;
use crate::run::RunId;
use crate::session::workload::chain;

/// Grace where neither the request nor the description tells one.
const DEFAULT_GRACE: Duration = Duration::from_secs(8);

/// Time beyond the grace before a run that was asked is killed by its engine: its own order of ending has had its time.
const KILL_MARGIN: Duration = Duration::from_secs(10);

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
    persist_intent(registry, id).await?;
    if let Some(bound) = &view.bound {
        if !ask_run(registry, &view, &request).await {
            let _ = registry
                .engine
                .end(bound, Force::Stop)
                .await
                .inspect_err(|error| {
                    tracing::warn!(error = chain(error), "the engine did not signal the run");
                });
        }
        // A request may only shorten it.
        let own = view.evidence.grace().unwrap_or(DEFAULT_GRACE);
        escalate(
            registry,
            id,
            request.grace.map_or(own, |grace| grace.min(own)),
        );
    }
    Ok(Stopped::Stopping)
}

async fn persist_intent(registry: &Registry, id: &RunId) -> Result<(), LookError> {
    let (store, id) = (Arc::clone(&registry.store), id.clone());
    let intent = json!({"requested_at_ms": now_ms(), "by": {"api": true}, "reason": null});
    let write = move || match store.open_run(&id)? {
        Some(run) => run
            .create_if_absent(layout::STOP, format!("{intent}\n").as_bytes())
            .map(|_| ()),
        None => Ok(()),
    };
    match spawn_blocking(write).await {
        Ok(written) => written.map_err(LookError::Recordings),
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

/// Kills what has not ended in time. A process that dies meanwhile loses this clock, not the intent.
fn escalate(registry: &Arc<Registry>, id: &RunId, grace: Duration) {
    let tasks = registry.tasks.clone();
    let (registry, id) = (Arc::clone(registry), id.clone());
    tasks.spawn(async move {
        tokio::time::sleep(grace + KILL_MARGIN).await;
        if let Ok(Some(view)) = registry.view(&id).await
            && !view.is_terminal()
            && let Some(bound) = &view.bound
        {
            tracing::warn!("a run did not end in time and is killed");
            let _ = registry.engine.end(bound, Force::Kill).await;
        }
    });
}
