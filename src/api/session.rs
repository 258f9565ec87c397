//! `POST /session`: a token into a cookie, for the page, whose `EventSource` can send no header.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Auth;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::service::Shared;

/// What the token is good for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionReport {
    /// `read` or `control`, which includes `read`.
    scope: &'static str,
}

/// Sets a cookie that stands for the bearer token of the request.
#[utoipa::path(post, path = "/session", tag = "access", responses(
    (status = 200, description = "the cookie is set", body = SessionReport),
    (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn session(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    answer(&shared.api.auth, request.headers())
}

/// Answers with the cookie.
pub(crate) fn answer(auth: &Auth, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let Some((scope, cookie)) = auth.session_cookie(headers) else {
        return Err(Problem::new(
            ProblemCode::Unauthorized,
            "a bearer token is needed here",
        ));
    };
    let report = SessionReport {
        scope: scope.as_str(),
    };
    let headers = [
        (SET_COOKIE, cookie),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Json(report)).into_response())
}
