//! `/runs/{id}/stream`: the action log of a run, whoever gives it at the moment.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Response};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{look_failed, no_such_run, run_id};
use crate::api::events::{Serving, respond};
use crate::api::problem::{Problem, ProblemBody, ProblemCode};
use crate::serve::hub::FollowError;
use crate::serve::service::ControlPlane;

/// Streams the action log of a run: one stream over the run, its end, and its recording.
#[utoipa::path(get, path = "/runs/{id}/stream", tag = "runs", params(
    ("id" = String, Path, description = "the run"),
    ("Last-Event-ID" = Option<String>, Header, description = "id of the last event that the client has"),
), responses(
    (status = 200, description = "as `GET /events` of the status API, with its parameters", content(
        (String = "text/event-stream"), (String = "application/x-ndjson"))),
    (status = 204, description = "the client has the terminal event; nothing will ever follow"),
    (status = 400, description = "INVALID_EVENT_ID or BAD_REQUEST", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "NOT_READY: the run has no event yet", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn stream(
    State(plane): State<Arc<ControlPlane>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = run_id(id)?;
    let view = plane.registry.view(&id).await.map_err(look_failed)?;
    view.ok_or_else(no_such_run)?;
    let followed = plane.hub.follow(&id).await.map_err(|error| match error {
        FollowError::NotOpen => Problem::new(ProblemCode::NotReady, "the run has no event yet")
            .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
        FollowError::Log { .. } => Problem::internal("cannot read the log", error),
    })?;
    let draining = plane.draining.child_token();
    retire(&plane, followed.retired(), &draining);
    // With the stream ends what waits for its end.
    let ended = draining.clone().drop_guard();
    let serving = Serving {
        heartbeat: plane.limits.heartbeat,
        draining: draining.clone(),
        traffic: Arc::clone(&plane.registry.counters.traffic),
    };
    let response = respond(followed.source(), serving, &request.map(drop)).await?;
    // The mirror lives as long as a body that reads from it.
    Ok(response.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |_| {
            let _ = (&followed, &ended);
        }))
    }))
}

/// Ends a stream when its log is begun anew.
fn retire(plane: &ControlPlane, retired: &CancellationToken, draining: &CancellationToken) {
    let (retired, draining) = (retired.clone(), draining.clone());
    plane.registry.tasks.spawn(async move {
        tokio::select! {
            () = retired.cancelled() => draining.cancel(),
            () = draining.cancelled() => {}
        }
    });
}
