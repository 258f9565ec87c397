//! One connection, from its first byte to its end.
//!
//! Owns the HTTP/1.1 protocol of one stream and cuts it when a limit passes.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, Either, ready};
use futures_util::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::answering::Answering;
use super::gate::Entrance;
use super::limits::{Limits, MAX_HEADER_BYTES};
use super::metrics::Held;
use super::pulse::{Cut, Progress, Pulse, WatchedBody, WatchedIo};

/// How often a limit is looked at, as a part of the shortest one.
const LOOKS: u32 = 4;

#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) entrance: Arc<Entrance>,
    pub(super) local: Option<IpAddr>,
    pub(super) progress: Arc<Progress>,
    pub(super) shutdown: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl<S: Answering> Connection<S> {
    /// Serves the stream to its end: the client's, ours by shutdown, or a cut.
    pub(super) async fn run<T>(self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let traffic = Arc::clone(self.service.traffic());
        let limits = *self.service.limits();
        let _open = Held::new(&traffic.connections_open);
        let look_every = look_interval(&limits);
        let pulse = Pulse::new(self.progress, look_every);
        let answering = service_fn(|request: Request<Incoming>| {
            pulse.begin_answer();
            let watched = pulse.clone();
            let watch = |response: Response<Body>| {
                Ok::<_, Infallible>(response.map(|body| WatchedBody::new(body, watched)))
            };
            // What needs no waiting is answered in place: no clone of what all connections share, no future, no timer.
            match self.service.at_once(&self.entrance, self.local, &request) {
                Ok(response) => Either::Left(ready(watch(response))),
                Err(route) => {
                    let service = self.service.clone();
                    Either::Right(Box::pin(async move {
                        watch(service.answer(route, request).await)
                    }))
                }
            }
        });
        let io = TokioIo::new(WatchedIo::new(stream, pulse.clone()));
        let connection = http1::Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            // The pulse watches headers and idleness with one timer a connection instead of one a request.
            .header_read_timeout(None)
            .serve_connection(io, answering);
        let mut connection = pin!(connection);
        // A future of this set is polled only when it was woken: a request pays neither for the timer nor for the shutdown.
        let mut signs = FuturesUnordered::<BoxFuture<'_, Sign>>::new();
        signs.push(Box::pin(look_after(look_every)));
        signs.push(Box::pin(async {
            self.shutdown.cancelled().await;
            Sign::Shutdown
        }));
        loop {
            // Cancel safe: the connection and the set are polled in place.
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        if has_timed_out(&error) {
                            // The kernel saw first what the pulse looks for: it has the same limit.
                            traffic.slow_readers_cut.inc();
                        }
                        // The client's doing in most cases: it went away, or sent what is no HTTP.
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
                Some(sign) = signs.next() => match sign {
                    Sign::Shutdown => {
                        connection.as_mut().graceful_shutdown();
                        signs.push(Box::pin(async {
                            self.cut.cancelled().await;
                            Sign::Cut
                        }));
                    }
                    Sign::Cut => return,
                    Sign::Look => match pulse.look(&limits) {
                        None => signs.push(Box::pin(look_after(look_every))),
                        Some(Cut::Idle | Cut::SlowHeaders) => return,
                        Some(Cut::Stalled) => {
                            traffic.slow_readers_cut.inc();
                            tracing::info!("cut a connection that accepted no byte");
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// What the connection's task is woken for, beside the connection itself.
enum Sign {
    /// The API is to end.
    Shutdown,
    /// The drain is over.
    Cut,
    /// It is time to look at the pulse.
    Look,
}

/// Whether the kernel gave the connection up because what was sent stayed unacknowledged, tcp(7).
fn has_timed_out(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

async fn look_after(interval: Duration) -> Sign {
    tokio::time::sleep(interval).await;
    Sign::Look
}

fn look_interval(limits: &Limits) -> Duration {
    let shortest = limits.header.min(limits.keep_alive).min(limits.write_stall);
    (shortest / LOOKS).max(Duration::from_millis(1))
}
