//! Listening, accepting, and the orderly end.
//!
//! Owns the accept loops and the drain. It answers nothing itself but "too many connections".
//!
//! The end, in this order, once the shutdown is requested:
//! 1. the listeners close, and every stream that has given all there is ends;
//! 2. what is under way is finished, until all connections are done, or none made progress for
//!    [`limits::DRAIN_STALL_LIMIT`], or [`limits::DRAIN_LIMIT`] has passed in all;
//! 3. the rest is cut, and [`serve`] returns with none of its tasks left.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answering::Answering;
use super::connection::Connection;
use super::gate::Entrance;
use super::limits::{self, Limits};
use super::listener::{Listener, ListenerTrust, Names};
use super::peer;
use super::problem::{PROBLEM_JSON, Problem, ProblemCode};
use super::pulse::Progress;
use super::service::{Api, Service};

/// Parts of a drain's stall limit at which progress is looked at.
const DRAIN_LOOKS: u32 = 8;

/// A listener could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the given socket")]
pub struct ServeError {
    /// What the system said.
    source: io::Error,
}

/// How the serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that did not end by themselves and were cut.
    pub n_cut: usize,
}

/// What all connections of one call of [`serve`] share.
#[derive(Debug, Clone)]
struct Serving<S> {
    service: S,
    progress: Arc<Progress>,
    shutdown: CancellationToken,
    /// Cancelled when the drain is over.
    cut: CancellationToken,
    /// The caller's; every task is on it.
    tracker: TaskTracker,
    /// Ours; it has the same tasks, so that we can wait for them alone.
    tasks: TaskTracker,
}

/// Serves until `shutdown` is cancelled, then drains as the module says. Every task is spawned on `tracker` and has ended
/// when this returns. Must run within a tokio runtime; cutting this future short leaves connections to `tracker`.
///
/// # Errors
/// When a listener cannot be made non-blocking or registered; nothing is served then.
pub async fn serve(
    listeners: Vec<Listener>,
    api: Api,
    shutdown: CancellationToken,
    tracker: TaskTracker,
) -> Result<Drained, ServeError> {
    let service = Service::new(api, shutdown.clone());
    serve_with(listeners, service, shutdown, tracker).await
}

/// The same for whatever answers.
pub(crate) async fn serve_with<S: Answering>(
    listeners: Vec<Listener>,
    service: S,
    shutdown: CancellationToken,
    tracker: TaskTracker,
) -> Result<Drained, ServeError> {
    let listening: Vec<_> = listeners
        .into_iter()
        .map(Listening::new)
        .collect::<io::Result<_>>()
        .map_err(|source| ServeError { source })?;
    let limits = *service.limits();
    let serving = Serving {
        service,
        progress: Arc::default(),
        shutdown: shutdown.clone(),
        cut: CancellationToken::new(),
        tracker,
        tasks: TaskTracker::new(),
    };
    for listening in listening {
        let serving = serving.clone();
        let accepting = serving
            .tasks
            .track_future(listening.accept_all(serving.clone()));
        serving.tracker.spawn(accepting);
    }
    shutdown.cancelled().await;
    Ok(drain(&serving, &limits).await)
}

/// Waits for the tasks, then cuts the rest.
async fn drain<S>(serving: &Serving<S>, limits: &Limits) -> Drained {
    serving.tasks.close();
    let started = Instant::now();
    let mut moved_at = started;
    let mut bytes = serving.progress.bytes();
    let look_every = limits.drain_stall / DRAIN_LOOKS;
    loop {
        if tokio::time::timeout(look_every, serving.tasks.wait())
            .await
            .is_ok()
        {
            return Drained { n_cut: 0 };
        }
        let now = serving.progress.bytes();
        if now != bytes {
            (bytes, moved_at) = (now, Instant::now());
        }
        if moved_at.elapsed() >= limits.drain_stall || started.elapsed() >= limits.drain {
            break;
        }
    }
    let n_cut = serving.tasks.len();
    serving.cut.cancel();
    serving.tasks.wait().await;
    tracing::info!(n_cut, "status api cut what did not end");
    Drained { n_cut }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
struct Listening {
    socket: Socket,
    entrance: Arc<Entrance>,
    /// For a workload of any run that reaches a Unix socket: nothing without a token.
    side_entrance: Arc<Entrance>,
    /// Connections of this listener.
    n_open: Arc<AtomicUsize>,
    /// Refusals of this listener that are under way.
    n_refusing: Arc<AtomicUsize>,
}

/// A counted place; given back when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            Some(n + 1).filter(|n| *n <= max)
        });
        taken.ok().map(|_| Self(Arc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Listening {
    fn new(listener: Listener) -> io::Result<Self> {
        let trust = listener.trust();
        let (socket, names) = match listener {
            Listener::Tcp { listener, .. } => {
                listener.set_nonblocking(true)?;
                let names = Names::of_tcp(listener.local_addr()?);
                (Socket::Tcp(TcpListener::from_std(listener)?), names)
            }
            Listener::Unix { listener, .. } => {
                listener.set_nonblocking(true)?;
                (Socket::Unix(UnixListener::from_std(listener)?), Names::Any)
            }
        };
        Ok(Self {
            socket,
            entrance: Arc::new(Entrance { trust, names }),
            side_entrance: Arc::new(Entrance {
                trust: ListenerTrust::Nothing,
                names: Names::Any,
            }),
            n_open: Arc::default(),
            n_refusing: Arc::default(),
        })
    }

    /// Accepts until the shutdown. A failure makes it pause, never end.
    async fn accept_all<S: Answering>(self, serving: Serving<S>) {
        let mut pause = limits::MIN_ACCEPT_PAUSE;
        let traffic = Arc::clone(serving.service.traffic());
        loop {
            // Cancel safe: accept takes a connection or nothing.
            let accepted = tokio::select! {
                () = serving.shutdown.cancelled() => return,
                accepted = self.accept(&serving) => accepted,
            };
            let Err(error) = accepted else {
                pause = limits::MIN_ACCEPT_PAUSE;
                continue;
            };
            traffic.accept_errors.inc();
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted
            ) {
                continue;
            }
            // Descriptors or memory are used up: others must end first.
            tracing::warn!(%error, "status api cannot accept");
            tokio::select! {
                () = serving.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(limits::MAX_ACCEPT_PAUSE);
        }
    }

    async fn accept<S: Answering>(&self, serving: &Serving<S>) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let local = stream
                    .local_addr()
                    .ok()
                    .map(|address: SocketAddr| address.ip());
                let write_stall = serving.service.limits().write_stall;
                tune(&stream, write_stall);
                self.take(stream, &self.entrance, local, serving);
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let entrance = match peer::is_confined(&stream) {
                    true => &self.side_entrance,
                    false => &self.entrance,
                };
                self.take(stream, entrance, None, serving);
            }
        }
        Ok(())
    }

    fn take<S, T>(
        &self,
        stream: T,
        entrance: &Arc<Entrance>,
        local: Option<IpAddr>,
        serving: &Serving<S>,
    ) where
        S: Answering,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let max = serving.service.limits().max_connections;
        if let Some(place) = Place::take(&self.n_open, max) {
            let connection = Connection {
                service: serving.service.clone(),
                entrance: Arc::clone(entrance),
                local,
                progress: Arc::clone(&serving.progress),
                shutdown: serving.shutdown.clone(),
                cut: serving.cut.clone(),
            };
            let task = async move {
                connection.run(stream).await;
                drop(place);
            };
            serving.tracker.spawn(serving.tasks.track_future(task));
            return;
        }
        serving.service.traffic().connections_refused.inc();
        if let Some(place) = Place::take(&self.n_refusing, limits::MAX_REFUSALS) {
            let cut = serving.cut.clone();
            let service = serving.service.clone();
            let task = async move {
                tokio::select! {
                    () = refuse(stream, &service) => {}
                    () = cut.cancelled() => {}
                }
                drop(place);
            };
            serving.tracker.spawn(serving.tasks.track_future(task));
        }
    }
}

/// Answers "too many connections" and closes, reading what comes so that the answer is not lost in a reset.
async fn refuse<S, T>(mut stream: T, service: &S)
where
    S: Answering,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let problem = Problem::new(
        ProblemCode::TooManyConnections,
        "this listener has as many connections as it may have",
    );
    service.answered(None, ProblemCode::TooManyConnections.status());
    let body = serde_json::to_string(&problem.body()).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        limits::REFUSAL_RETRY_SECONDS,
        body.len(),
    );
    let exchange = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client is still there to hear it makes no difference.
    let _ = tokio::time::timeout(limits::REFUSAL_LIMIT, exchange).await;
}

/// Sets what a stream of small writes to a peer that may vanish needs; a socket without it works as well.
fn tune(stream: &TcpStream, unacknowledged: Duration) {
    use nix::sys::socket::{setsockopt, sockopt};
    let millis = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX);
    let tuned = stream.set_nodelay(true).and_then(|()| {
        // tcp(7): unacknowledged data for longer than this ends the connection. Not below the write-stall limit: a full
        // window of a reader that is only slow counts as well.
        setsockopt(stream, sockopt::TcpUserTimeout, &millis)?;
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        Ok(())
    });
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket option refused");
    }
}
