//! `POST /pause` and `POST /resume`: ask the run session to let the workload stand still, and to let it go on.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::MAX_BODY_BYTES;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::Shared;
use super::stop::{check_reason, read_body};
use crate::control::{PauseAnswer, PauseRequest};
use crate::run::RunId;

/// Body of a request to pause or resume; an empty one is fine.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseBody {
    /// Why, for the record; at most 1,024 characters.
    reason: Option<String>,
}

/// Whether the workload stands still after the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PauseReport {
    /// The run.
    #[schema(value_type = String)]
    run_id: RunId,
    /// Whether it stands still.
    paused: bool,
    /// False when it was so before the request.
    changed: bool,
    /// By what it stands still: `cgroup-v2`, `cgroup-v1` or `signals`.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    /// How long it stood still before the request, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_ms: Option<u64>,
}

/// Lets the workload stand still. Idempotent.
#[utoipa::path(post, path = "/pause", tag = "run", request_body(content = PauseBody, description = "may be empty"),
    responses(
        (status = 200, description = "the workload stands still", body = PauseReport),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "FORBIDDEN or FOREIGN_ORIGIN", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "RUN_OVER", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PAUSE_FAILED", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn pause(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let reason = reason_of(&shared, request).await?;
    ask(&shared, PauseRequest::Pause { reason }).await
}

/// Lets the workload go on. Idempotent.
#[utoipa::path(post, path = "/resume", tag = "run", request_body(content = PauseBody, description = "may be empty"),
    responses(
        (status = 200, description = "the workload goes on", body = PauseReport),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "FORBIDDEN or FOREIGN_ORIGIN", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "RUN_OVER", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PAUSE_FAILED", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let reason = reason_of(&shared, request).await?;
    ask(&shared, PauseRequest::Resume { reason }).await
}

async fn reason_of(shared: &Shared, request: Request) -> Result<Option<String>, Problem> {
    let body = read_body(request.into_body(), MAX_BODY_BYTES, shared.api.limits.body).await?;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let asked: PauseBody = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body is not a request to pause or resume: {error}");
        Problem::new(ProblemCode::BadRequest, detail)
    })?;
    check_reason(asked.reason.as_deref())?;
    Ok(asked.reason)
}

async fn ask(shared: &Shared, request: PauseRequest) -> Result<Response<Body>, Problem> {
    let api = &shared.api;
    let (paused, changed, by, paused_ms) = match api.control.pause(request).await {
        PauseAnswer::Paused { by, changed } => (true, changed, Some(by), None),
        PauseAnswer::Running { paused_ms } => (false, paused_ms.is_some(), None, paused_ms),
        PauseAnswer::Over => {
            return Err(Problem::new(
                ProblemCode::RunOver,
                "the run is being taken down or has ended; GET /status says which",
            ));
        }
        PauseAnswer::Failed(why) => {
            return Err(Problem::new(ProblemCode::PauseFailed, why));
        }
    };
    let report = PauseReport {
        run_id: api.run.id().clone(),
        paused,
        changed,
        by,
        paused_ms,
    };
    Ok(Json(report).into_response())
}
