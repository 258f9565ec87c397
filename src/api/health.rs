//! Alive, ready, and the metrics: what machines ask to watch the supervisor.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};

use super::metrics::OPENMETRICS_TEXT;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::{Readiness, Shared};

/// Media type of the plain answers.
pub(crate) const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Says that the supervisor is alive.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "alive: `ok`", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> Response<Body> {
    text("ok\n", PLAIN_TEXT)
}

/// Says whether the log is open and the agent was started.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "ready: `ok`", body = String, content_type = "text/plain"),
        (status = 503, description = "NOT_READY: not started yet, or ended", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let readiness = *shared.api.readiness.borrow();
    match readiness {
        Readiness::Ready => Ok(text("ok\n", PLAIN_TEXT)),
        Readiness::Starting => Err(Problem::new(
            ProblemCode::NotReady,
            "the agent was not started yet",
        )),
        Readiness::Ended => Err(Problem::new(ProblemCode::NotReady, "the run has ended")),
    }
}

/// Gives the metrics as OpenMetrics text, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "the metrics", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let api = &shared.api;
    api.metrics
        .log_bytes
        .set(i64::try_from(api.source.file_bytes()).unwrap_or(i64::MAX));
    let metrics = api.metrics.encode();
    let metrics = metrics.map_err(|error| Problem::internal("cannot write the metrics", error))?;
    Ok(text(metrics, OPENMETRICS_TEXT))
}

/// A plain answer that is never stored.
pub(crate) fn text(body: impl Into<Body>, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
