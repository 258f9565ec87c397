//! `/`: the page that lists runs, and `/session`, by which it gets its cookie.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;

use crate::api::page::show;
use crate::api::problem::{Problem, ProblemBody};
use crate::api::session::answer;
use crate::serve::service::ControlPlane;

const PAGE: &str = include_str!("../page.html");

/// Gives the page.
#[utoipa::path(get, path = "/", tag = "access",
    responses((status = 200, description = "the page", body = String, content_type = "text/html")))]
pub(in crate::serve) async fn page() -> Result<Response<Body>, Problem> {
    show(PAGE)
}

/// Sets a cookie that stands for the bearer token of the request.
#[utoipa::path(post, path = "/session", tag = "access", responses(
    (status = 200, description = "the cookie is set", body = serde_json::Value),
    (status = 401, description = "UNAUTHORIZED", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::serve) async fn session(
    State(plane): State<Arc<ControlPlane>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    answer(&plane.auth, request.headers())
}

#[cfg(test)]
mod tests {
    use super::PAGE;

    #[test]
    fn the_page_is_self_contained_and_writes_text_only() {
        for foreign in [
            "http://",
            "https://",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        assert_eq!(PAGE.matches("{{nonce}}").count(), 2);
    }
}
