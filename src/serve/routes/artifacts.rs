//! `/runs/{id}/artifacts`: what a run left, from its recording.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use tokio::task::spawn_blocking;

use super::{no_such_run, run_id};
use crate::api::artifacts::{download, manifest};
use crate::api::problem::{Problem, ProblemBody};
use crate::recordings::RunDir;
use crate::run::RunId;
use crate::serve::service::ControlPlane;

/// Lists the artifacts of a run.
#[utoipa::path(get, path = "/runs/{id}/artifacts", tag = "runs", params(("id" = String, Path, description = "the run")), responses(
    (status = 200, description = "the manifest", body = serde_json::Value),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn artifacts(
    State(plane): State<Arc<ControlPlane>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response<Body>, Problem> {
    manifest(&open(&plane, run_id(id)?).await?).await
}

/// Downloads an artifact of a run.
#[utoipa::path(get, path = "/runs/{id}/artifacts/{*path}", tag = "runs", params(
    ("id" = String, Path, description = "the run"),
    ("path" = String, Path, description = "path of the artifact, as the manifest has it"),
    ("Range" = Option<String>, Header, description = "one range of bytes"),
), responses(
    (status = 200, description = "the content", body = String, content_type = "application/octet-stream"),
    (status = 206, description = "a range of it", body = String, content_type = "application/octet-stream"),
    (status = 404, description = "NOT_FOUND", body = ProblemBody, content_type = "application/problem+json"),
    (status = 416, description = "RANGE_NOT_SATISFIABLE", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn artifact(
    State(plane): State<Arc<ControlPlane>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let Path((id, path)) = path.map_err(|_| no_such_run())?;
    let run = open(&plane, run_id(Ok(Path(id)))?).await?;
    download(&run, path, &request.into_parts().0).await
}

async fn open(plane: &ControlPlane, id: RunId) -> Result<Arc<RunDir>, Problem> {
    let store = Arc::clone(&plane.registry.store);
    let opened = spawn_blocking(move || match store.open_run(&id)? {
        Some(run) if run.is_begun()? => Ok::<_, crate::recordings::RecordingsError>(Some(run)),
        Some(_) | None => Ok(None),
    });
    match opened.await {
        Ok(Ok(Some(run))) => Ok(Arc::new(run)),
        Ok(Ok(None)) => Err(no_such_run()),
        Ok(Err(error)) => Err(Problem::internal("cannot open the recording", error)),
        Err(error) => Err(Problem::internal("cannot open the recording", error)),
    }
}
