//! The handlers of the control plane, one file a noun.
//!
//! Owns parameters, headers and forms of answers; what is true of a run is decided elsewhere.

pub(super) mod runs;
pub(super) mod run;
pub(super) mod stream;
pub(super) mod artifacts;
pub(super) mod health;
pub(super) mod page;
pub(super) mod openapi;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use super::registry::LookError;
use crate::api::problem::{Problem, ProblemCode};
use crate::run::RunId;

/// The run id of a path. What has another form names no run, and touches no file.
fn run_id(path: Result<Path<String>, PathRejection>) -> Result<RunId, Problem> {
    path.ok()
        .and_then(|Path(id)| id.parse().ok())
        .ok_or_else(no_such_run)
}

fn no_such_run() -> Problem {
    Problem::new(
        ProblemCode::NotFound,
        "there is no such run; GET /runs lists them",
    )
}

fn look_failed(error: LookError) -> Problem {
    match error {
        LookError::Unavailable => Problem::new(
            ProblemCode::EngineUnavailable,
            "the engine does not answer, and nothing is known of the run; try again",
        )
        .with_header(
            axum::http::header::RETRY_AFTER,
            axum::http::HeaderValue::from_static("2"),
        ),
        error @ (LookError::Recordings(_) | LookError::NoEnd { .. }) => {
            Problem::internal("cannot look at the run", error)
                .with_code(ProblemCode::EngineUnavailable)
        }
    }
}
