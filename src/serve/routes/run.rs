//! `/runs/{id}`: one run's status, its stop and its removal.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{look_failed, no_such_run, run_id};
use crate::api::limits::MAX_BODY_BYTES;
use crate::api::problem::{Problem, ProblemBody, ProblemCode};
use crate::api::stop::{parse, read_body};
use crate::engine::EngineError;
use crate::recordings::prune::{OneRemoval, remove_one};
use crate::run::RunId;
use crate::serve::registry::View;
use crate::serve::service::ControlPlane;
use crate::serve::stopping::{self, Stopped};

/// What a removal is told that comes too early.
const STILL_SERVED: &str = "the run has ended and is still served; try again";

/// What is known of a run; 404 where there is none.
async fn looked_at(plane: &ControlPlane, id: &RunId) -> Result<Arc<View>, Problem> {
    let view = plane.registry.view(id).await.map_err(look_failed)?;
    view.ok_or_else(no_such_run)
}

/// Gives the status of a run, whoever has it.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "the run")), responses(
    (status = 200, description = "the status document with `source`, `stale` and `handle`", body = serde_json::Value),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "ENGINE_UNAVAILABLE: nothing is known of the run", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn status(
    State(plane): State<Arc<ControlPlane>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response<Body>, Problem> {
    let view = looked_at(&plane, &run_id(id)?).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(view.to_json())).into_response())
}

/// Asks a run to stop. Idempotent.
#[utoipa::path(post, path = "/runs/{id}/stop", tag = "runs", params(("id" = String, Path, description = "the run")),
    request_body(content = serde_json::Value, description = "`reason` and `grace_seconds`; may be empty"),
    responses(
        (status = 202, description = "the run is being taken down", body = serde_json::Value),
        (status = 200, description = "the run has finished", body = serde_json::Value),
        (status = 400, description = "BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::serve) async fn stop(
    State(plane): State<Arc<ControlPlane>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = run_id(id)?;
    let body = read_body(request.into_body(), MAX_BODY_BYTES, plane.limits.body).await?;
    let asked = parse(&body)?;
    let stopped = stopping::stop(&plane.registry, &id, asked)
        .await
        .map_err(look_failed)?;
    let (code, phase, status) = match stopped {
        Stopped::Absent => return Err(no_such_run()),
        Stopped::Stopping => (StatusCode::ACCEPTED, "stopping", None),
        Stopped::Over(status) => (StatusCode::OK, "finished", Some(status)),
    };
    let answer =
        json!({"run_id": id, "phase": phase, "status": status.as_deref().unwrap_or("running")});
    Ok((code, Json(answer)).into_response())
}

/// Deletes the recording of a run that has ended.
#[utoipa::path(delete, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "the run")), responses(
    (status = 204, description = "the recording is gone"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "RUN_ACTIVE: the run goes on, or is pinned", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "ENGINE_UNAVAILABLE: what is left of its sandbox cannot be removed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn remove(
    State(plane): State<Arc<ControlPlane>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response<Body>, Problem> {
    let id = run_id(id)?;
    let view = looked_at(&plane, &id).await?;
    let active = |detail: &'static str| Problem::new(ProblemCode::RunActive, detail);
    if !view.is_terminal() {
        return Err(active("the run goes on; stop it first"));
    }
    // What is left of it may not stand in the way of another run of that name.
    match plane.registry.engine.remove(&id).await {
        Ok(()) => {}
        Err(EngineError::Refused { .. }) => return Err(active(STILL_SERVED)),
        Err(error) => {
            return Err(Problem::internal("the engine does not answer", error)
                .with_code(ProblemCode::EngineUnavailable));
        }
    }
    let store = Arc::clone(&plane.registry.store);
    match spawn_blocking(move || remove_one(&store, &id)).await {
        Ok(Ok(None)) => Err(no_such_run()),
        Ok(Ok(Some(OneRemoval::Removed))) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Ok(Some(OneRemoval::InUse))) => Err(active(STILL_SERVED)),
        Ok(Ok(Some(OneRemoval::Pinned))) => Err(active(
            "the run is pinned; stockade pin --unpin takes the pin away",
        )),
        Ok(Err(error)) => Err(Problem::internal("cannot remove the recording", error)),
        Err(error) => Err(Problem::internal("cannot remove the recording", error)),
    }
}
