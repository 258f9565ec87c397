//! `GET /openapi.json`: the specification, made from the handlers.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, SecurityRequirement};

use super::problem::{Problem, ProblemCode};
use super::status::JSON;
use super::{artifacts, events, health, page, pause, session, status, stop};

/// The specification of the status API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Stockade status API",
        description = "How a run is going, live and after a reconnect."
    ),
    paths(
        health::healthz,
        health::readyz,
        status::status,
        events::events,
        stop::stop,
        pause::pause,
        pause::resume,
        session::session,
        artifacts::artifacts,
        artifacts::artifact,
        artifacts::recording_manifest,
        artifacts::recording_trace,
        artifacts::recording_screenshot,
        health::metrics,
        openapi,
        page::page,
    ),
    components(schemas(ProblemCode))
)]
struct Specification;

/// Made once: it is the same for every run.
static TEXT: LazyLock<Option<Bytes>> =
    LazyLock::new(|| serde_json::to_vec(&specification()).ok().map(Bytes::from));

pub(super) fn specification() -> utoipa::openapi::OpenApi {
    let mut specification = Specification::openapi();
    specification
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    let none: [&str; 0] = [];
    // Optional: where a token is needed depends on the listener.
    specification.security = Some(vec![
        SecurityRequirement::default(),
        SecurityRequirement::new("bearer", none),
    ]);
    specification
}

/// Gives this specification.
#[utoipa::path(get, path = "/openapi.json", tag = "access",
    responses((status = 200, description = "the specification", body = serde_json::Value)))]
pub(super) async fn openapi() -> Result<Response<Body>, Problem> {
    let Some(text) = TEXT.as_ref() else {
        return Err(Problem::internal(
            "cannot encode the specification",
            "encoder failed",
        ));
    };
    let mut response = Response::new(Body::from(text.clone()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
