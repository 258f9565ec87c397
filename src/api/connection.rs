//! One connection, from its first byte to its end.
//!
//! Owns the HTTP/1.1 protocol of one stream and cuts it when a limit passes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::gate::Entrance;
use super::limits::{Limits, MAX_HEADER_BYTES};
use super::metrics::Held;
use super::pulse::{Cut, Progress, Pulse, WatchedBody, WatchedIo};
use super::service::Service;

/// How often a limit is looked at, as a part of the shortest one.
const LOOKS: u32 = 4;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) service: Service,
    pub(super) entrance: Arc<Entrance>,
    pub(super) local: Option<IpAddr>,
    pub(super) progress: Arc<Progress>,
    pub(super) shutdown: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl Connection {
    /// Serves the stream to its end: the client's, ours by shutdown, or a cut.
    pub(super) async fn run<T>(self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let metrics = Arc::clone(&self.service.api().metrics);
        let limits = self.service.api().limits;
        let _open = Held::new(&metrics.connections_open);
        let pulse = Pulse::new(self.progress);
        let answering = service_fn(|request: Request<Incoming>| {
            let (service, entrance) = (self.service.clone(), Arc::clone(&self.entrance));
            let (local, pulse) = (self.local, pulse.clone());
            pulse.begin_answer();
            async move {
                let response = service.answer(&entrance, local, request).await;
                Ok::<_, Infallible>(response.map(|body| WatchedBody::new(body, pulse)))
            }
        });
        let io = TokioIo::new(WatchedIo::new(stream, pulse.clone()));
        let connection = http1::Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            // The pulse watches headers and idleness with one timer a connection instead of one a request.
            .header_read_timeout(None)
            .serve_connection(io, answering);
        let mut connection = pin!(connection);
        let mut looks = tokio::time::interval(look_interval(&limits));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(self.shutdown.cancelled());
        let mut is_ending = false;
        loop {
            // Cancel safe: the connection and the shutdown are polled in place; a tick or cut that is lost comes again.
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        // The client's doing in most cases: it went away, or sent what is no HTTP.
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = &mut shutdown, if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled(), if is_ending => return,
                _ = looks.tick() => match pulse.overdue(&limits) {
                    None => {}
                    Some(Cut::Idle | Cut::SlowHeaders) => return,
                    Some(Cut::Stalled) => {
                        metrics.slow_readers_cut.inc();
                        tracing::info!("cut a connection that accepted no byte");
                        return;
                    }
                }
            }
        }
    }
}

fn look_interval(limits: &Limits) -> Duration {
    let shortest = limits.header.min(limits.keep_alive).min(limits.write_stall);
    (shortest / LOOKS).max(Duration::from_millis(1))
}
