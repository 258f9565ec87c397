//! From a request to its answer: gate, router, limits, common headers.
//!
//! Owns what the handlers share and the router that is made of them. It knows nothing of sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::answering::{Answering, options};
use super::auth::Auth;
use super::gate::{Entrance, Passage};
use super::limits::{Limits, MAX_WAIT};
use super::metrics::{Metrics, Traffic};
use super::problem::{Problem, ProblemCode};
use super::route::Route;
use super::{artifacts, events, health, openapi, page, pause, session, status, stop};
use crate::control::Control;
use crate::log::Source;
use crate::recordings::RunDir;
use crate::status::StatusBoard;

/// Whether the run can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The agent was not started yet.
    Starting,
    /// The log is open and the agent was started.
    Ready,
    /// The run has ended.
    Ended,
}

/// What the API answers from.
#[derive(Debug, Clone)]
pub struct Api {
    /// The action log.
    pub source: Arc<Source>,
    /// The status document.
    pub board: Arc<StatusBoard>,
    /// The way to the run session.
    pub control: Control,
    /// The run's directory, for its artifacts.
    pub run: Arc<RunDir>,
    /// Who may ask.
    pub auth: Auth,
    /// Written by the session, read by `/readyz`.
    pub readiness: watch::Receiver<Readiness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// [`Limits::default`], but for tests.
    pub limits: Limits,
}

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) api: Api,
    /// Cancelled when the API is to end: streams that have given everything end, and waits are over.
    pub(super) draining: CancellationToken,
}

/// Milliseconds since 1970, by the wall clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Answers requests; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Service {
    shared: Arc<Shared>,
    router: Router,
}

impl Service {
    pub(super) fn new(api: Api, draining: CancellationToken) -> Self {
        let shared = Arc::new(Shared { api, draining });
        let router = Route::ALL
            .into_iter()
            .fold(Router::new(), |router, route| {
                router.route(route.template(), handler(route))
            })
            .with_state(Arc::clone(&shared));
        Self { shared, router }
    }
}

impl Answering for Service {
    type Route = Route;

    fn limits(&self) -> &Limits {
        &self.shared.api.limits
    }

    fn traffic(&self) -> &Arc<Traffic> {
        &self.shared.api.metrics.traffic
    }

    fn answered(&self, route: Option<Route>, status: StatusCode) {
        self.shared.api.metrics.answered(route, status);
    }

    fn at_once(
        &self,
        entrance: &Entrance,
        local: Option<IpAddr>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Route> {
        let api = &self.shared.api;
        let (route, response) = match entrance.check(request, local, &api.auth) {
            Err(problem) => (Route::of(request.uri().path()), problem.into_response()),
            Ok(Passage::Options(route)) => (Some(route), options(route)),
            Ok(Passage::Handler(route)) => {
                // The route that is polled hardest needs nothing that the router finds out.
                let answer = match route {
                    Route::Status => status::at_once(&self.shared, request),
                    _ => None,
                };
                (Some(route), answer.ok_or(route)?.into_response())
            }
        };
        Ok(self.dress(route, response))
    }

    async fn answer(mut self, route: Route, request: Request<Incoming>) -> Response<Body> {
        let limits = &self.shared.api.limits;
        let limit = match route {
            Route::Status | Route::Events => limits.request + MAX_WAIT,
            _ => limits.request,
        };
        let response = match tokio::time::timeout(limit, self.router.call(request)).await {
            Ok(Ok(response)) => response,
            Err(_) => {
                Problem::new(ProblemCode::TimedOut, "the answer took too long").into_response()
            }
        };
        self.dress(Some(route), response)
    }
}

fn handler(route: Route) -> MethodRouter<Arc<Shared>> {
    match route {
        Route::Healthz => get(health::healthz),
        Route::Readyz => get(health::readyz),
        Route::Status => get(status::status),
        Route::Events => get(events::events),
        Route::Stop => post(stop::stop),
        Route::Pause => post(pause::pause),
        Route::Resume => post(pause::resume),
        Route::Session => post(session::session),
        Route::Artifacts => get(artifacts::artifacts),
        Route::Artifact => get(artifacts::artifact),
        Route::RecordingManifest => get(artifacts::recording_manifest),
        Route::RecordingTrace => get(artifacts::recording_trace),
        Route::RecordingScreenshot => get(artifacts::recording_screenshot),
        Route::Metrics => get(health::metrics),
        Route::Openapi => get(openapi::openapi),
        Route::Page => get(page::page),
    }
}
