//! From a request to its answer: gate, router, limits, common headers.
//!
//! Owns what the handlers share and the router that is made of them. It knows nothing of sockets.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get, post};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::creation::Creation;
use super::hub::Hub;
use super::metrics::Counters;
use super::registry::Registry;
use super::route::ServeRoute;
use super::routes::{artifacts, health, openapi, page, run, runs, stream};
use crate::api::answering::{Answering, options};
use crate::api::auth::Auth;
use crate::api::gate::{Entrance, Passage};
use crate::api::limits::{Limits, MAX_WAIT};
use crate::api::metrics::Traffic;
use crate::api::problem::{Problem, ProblemCode};
use crate::api::route::Routed as _;

/// What the handlers answer from.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where runs are found.
    pub registry: Arc<Registry>,
    /// Where runs are followed.
    pub hub: Hub,
    /// How runs are created.
    pub creation: Creation,
    /// Who may ask.
    pub auth: Auth,
    /// The limits of connections.
    pub limits: Limits,
    /// Cancelled when the control plane is to end.
    pub draining: CancellationToken,
}

/// Answers requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct ServeService {
    plane: Arc<ControlPlane>,
    router: Router,
}

impl ServeService {
    /// The service over a control plane.
    pub fn new(plane: ControlPlane) -> Self {
        let plane = Arc::new(plane);
        let router = ServeRoute::ALL
            .into_iter()
            .fold(Router::new(), |router, route| {
                router.route(route.template(), handler(route))
            })
            .with_state(Arc::clone(&plane));
        Self { plane, router }
    }

    fn counters(&self) -> &Counters {
        &self.plane.registry.counters
    }
}

impl Answering for ServeService {
    type Route = ServeRoute;

    fn limits(&self) -> &Limits {
        &self.plane.limits
    }

    fn traffic(&self) -> &Arc<Traffic> {
        &self.counters().traffic
    }

    fn answered(&self, _route: Option<ServeRoute>, status: StatusCode) {
        if status.is_server_error() {
            self.counters().answers_failed.inc();
        } else {
            self.counters().answers_given.inc();
        }
    }

    fn at_once(
        &self,
        entrance: &Entrance,
        local: Option<IpAddr>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, ServeRoute> {
        let checked = entrance.check(request, local, &self.plane.auth);
        let (route, response) = match checked {
            Err(problem) => (
                ServeRoute::of(request.uri().path()),
                problem.into_response(),
            ),
            Ok(Passage::Options(route)) => (Some(route), options(route)),
            Ok(Passage::Handler(route)) => return Err(route),
        };
        Ok(self.dress(route, response))
    }

    async fn answer(mut self, route: ServeRoute, request: Request<Incoming>) -> Response<Body> {
        // A run that is being started may take its time, and so may a stop.
        let limit = self.plane.limits.request + MAX_WAIT;
        let response = match tokio::time::timeout(limit, self.router.call(request)).await {
            Ok(Ok(response)) => response,
            Err(_) => {
                Problem::new(ProblemCode::TimedOut, "the answer took too long").into_response()
            }
        };
        self.dress(Some(route), response)
    }
}

fn handler(route: ServeRoute) -> MethodRouter<Arc<ControlPlane>> {
    match route {
        ServeRoute::Runs => get(runs::list).post(runs::create),
        ServeRoute::DryRun => post(runs::dry_run),
        ServeRoute::Run => get(run::status).delete(run::remove),
        ServeRoute::Stream => get(stream::stream),
        ServeRoute::Stop => post(run::stop),
        ServeRoute::Artifacts => get(artifacts::artifacts),
        ServeRoute::Artifact => get(artifacts::artifact),
        ServeRoute::Session => post(page::session),
        ServeRoute::Healthz => get(health::healthz),
        ServeRoute::Readyz => get(health::readyz),
        ServeRoute::Metrics => get(health::metrics),
        ServeRoute::Openapi => get(openapi::openapi),
        ServeRoute::Page => get(page::page),
    }
}
