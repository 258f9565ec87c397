//! Alive, ready, and the metrics: what machines ask to watch the control plane.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use tokio::task::spawn_blocking;

use crate::api::health::{PLAIN_TEXT, text};
use crate::api::metrics::OPENMETRICS_TEXT;
use crate::api::problem::{Problem, ProblemBody, ProblemCode};
use crate::serve::service::ControlPlane;

/// Says that the control plane is alive.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "alive: `ok`", body = String, content_type = "text/plain")))]
pub(in crate::serve) async fn healthz() -> Response<Body> {
    text("ok\n", PLAIN_TEXT)
}

/// Says whether the recordings can be used.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "ready: `ok`", body = String, content_type = "text/plain"),
        (status = 503, description = "NOT_READY", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::serve) async fn readyz(
    State(plane): State<Arc<ControlPlane>>,
) -> Result<Response<Body>, Problem> {
    let store = Arc::clone(&plane.registry.store);
    let opened = spawn_blocking(move || store.internal().map(drop)).await;
    match opened {
        Ok(Ok(())) if !plane.draining.is_cancelled() => Ok(text("ok\n", PLAIN_TEXT)),
        _ => Err(Problem::new(
            ProblemCode::NotReady,
            "the recordings cannot be used, or the control plane is about to end",
        )),
    }
}

/// Gives the metrics as OpenMetrics text, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "the metrics", body = String, content_type = "application/openmetrics-text")))]
pub(in crate::serve) async fn metrics(
    State(plane): State<Arc<ControlPlane>>,
) -> Result<Response<Body>, Problem> {
    let metrics = plane.registry.counters.encode();
    let metrics = metrics.map_err(|error| Problem::internal("cannot write the metrics", error))?;
    Ok(text(metrics, OPENMETRICS_TEXT))
}
