//! `/openapi.json`: the specification, made from the handlers.

use axum::Json;
use axum::body::Body;
use axum::http::Response;
use axum::response::IntoResponse as _;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, SecurityRequirement};

use super::{artifacts, health, page, run, runs, stream};
use crate::api::problem::ProblemCode;

/// The specification of the control plane.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Stockade control plane",
        description = "Runs: created, found again, followed, stopped."
    ),
    paths(
        runs::create,
        runs::list,
        runs::dry_run,
        run::status,
        run::remove,
        run::stop,
        stream::stream,
        artifacts::artifacts,
        artifacts::artifact,
        page::session,
        health::healthz,
        health::readyz,
        health::metrics,
        openapi,
        page::page,
    ),
    components(schemas(ProblemCode))
)]
struct Specification;

/// Gives this specification.
#[utoipa::path(get, path = "/openapi.json", tag = "access",
    responses((status = 200, description = "the specification", body = serde_json::Value)))]
pub(in crate::serve) async fn openapi() -> Response<Body> {
    Json(specification()).into_response()
}

fn specification() -> utoipa::openapi::OpenApi {
    let mut specification = Specification::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    specification
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme("bearer", bearer);
    let none: [&str; 0] = [];
    specification.security = Some(vec![SecurityRequirement::new("bearer", none)]);
    specification
}

#[cfg(test)]
mod tests {
    use super::specification;
    use crate::api::route::Routed as _;
    use crate::serve::route::ServeRoute;

    #[test]
    fn the_specification_has_every_route() {
        let specification = specification();
        for route in ServeRoute::ALL {
            assert!(
                specification.paths.paths.contains_key(route.template()),
                "{route:?}"
            );
        }
        assert_eq!(specification.paths.paths.len(), ServeRoute::ALL.len());
    }
}
