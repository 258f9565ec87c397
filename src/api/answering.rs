//! What stands behind a connection: the seam between sockets and whatever answers.
//!
//! Owns no behaviour. The status API and the control plane are two kinds of it, and listeners, connections and the drain are
//! written once over both.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ALLOW, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::gate::Entrance;
use super::limits::Limits;
use super::metrics::Traffic;
use super::route::Routed;

/// Answers requests; cheap to clone.
pub(crate) trait Answering: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// The routes that it has.
    type Route: Routed;

    /// The limits of its connections.
    fn limits(&self) -> &Limits;

    /// Where its connections are counted.
    fn traffic(&self) -> &Arc<Traffic>;

    /// Counts an answer.
    fn answered(&self, route: Option<Self::Route>, status: StatusCode);

    /// Answers a request that came by `entrance` where that takes no waiting; `local` is our end of a TCP connection.
    ///
    /// # Errors
    /// The route whose handler is to answer, for [`Answering::answer`].
    fn at_once(
        &self,
        entrance: &Entrance,
        local: Option<IpAddr>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Self::Route>;

    /// Answers a request that has passed the gate for `route`, within the route's time.
    fn answer(
        self,
        route: Self::Route,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Gives an answer the headers that all have, and counts it.
    fn dress(&self, route: Option<Self::Route>, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(SAME_SITE_ONLY, HeaderValue::from_static("same-origin"));
        self.answered(route, response.status());
        response
    }
}

/// Keeps other sites from loading our answers as scripts, images or frames.
const SAME_SITE_ONLY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The answer to `OPTIONS`.
pub(crate) fn options<R: Routed>(route: R) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(route.allow()));
    response
}
