//! From a request to its answer: gate, router, limits, common headers.
//!
//! Owns what the handlers share and the router that is made of them. It knows nothing of sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::auth::Auth;
use super::gate::{Entrance, Passage};
use super::limits::{Limits, MAX_WAIT};
use super::metrics::Metrics;
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
pub(super) fn now_ms() -> u64 {
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

    pub(super) fn api(&self) -> &Api {
        &self.shared.api
    }

    /// Answers a request that came by `entrance` where that takes no waiting; `local` is our end of a TCP connection.
    ///
    /// # Errors
    /// The route whose handler is to answer, for [`Service::answer`].
    pub(super) fn at_once<B>(
        &self,
        entrance: &Entrance,
        local: Option<IpAddr>,
        request: &Request<B>,
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

    /// Answers a request that has passed the gate for `route`, within the route's time.
    pub(super) async fn answer<B>(mut self, route: Route, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
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

    /// Gives an answer the headers that all have, and counts it.
    fn dress(&self, route: Option<Route>, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(SAME_SITE_ONLY, HeaderValue::from_static("same-origin"));
        self.shared.api.metrics.answered(route, response.status());
        response
    }
}

/// Keeps other sites from loading our answers as scripts, images or frames.
const SAME_SITE_ONLY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

fn options(route: Route) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(route.allow()));
    response
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
