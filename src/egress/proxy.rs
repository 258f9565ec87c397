//! The proxy of one run: its listener, its connections and its end.
//!
//! Owns every task of it. Invariants: no more than [`MAX_CONNECTIONS`] are served at a time, the others are told so; when
//! it was ended, no connection is left and everything is on record.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::answer;
use super::connection::{self, Shared};
use super::ledger::{Ledger, Record, WINDOW};
use super::resolver::Resolver;
use super::rule::Policy;

/// Connections that are served at a time. Each has two sockets, and buffers of 150 KiB at most.
pub const MAX_CONNECTIONS: usize = 256;

/// Connections beyond that which are told so at a time; others are closed without a word.
pub const MAX_REFUSALS: usize = 16;

/// Descriptors that the proxy needs: its listener, two for each connection, those of refusals and of some lookups.
pub const DESCRIPTORS: usize = 2 * MAX_CONNECTIONS + MAX_REFUSALS + 48;

/// The reason on record of a connection beyond the limit.
const TOO_MANY: &str = "too-many-connections";

/// Pause after an accept that failed, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for the end of all tasks; they end at their next await.
pub const END_LIMIT: Duration = Duration::from_millis(200);

/// A proxy that runs; it ends when it is dropped.
#[derive(Debug)]
pub struct Egress {
    cancel: CancellationToken,
    tasks: TaskTracker,
    ledger: Ledger,
}

impl Egress {
    /// Starts it on a listener of the workload's network namespace. `own_api` is where the status API of this run listens,
    /// which no rule opens.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub fn start(
        listener: OwnedFd,
        policy: Policy,
        resolver: Resolver,
        own_api: Option<SocketAddr>,
        record: Record,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let ledger = Ledger::new(record);
        let egress = Self {
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ledger: ledger.clone(),
        };
        let shared = Arc::new(Shared {
            policy,
            resolver,
            ledger: ledger.clone(),
            own_api,
        });
        let cancel = egress.cancel.clone();
        let accepting = accept(listener, shared, cancel.clone(), egress.tasks.clone());
        let accepting = async move { cancel.run_until_cancelled(accepting).await };
        egress.tasks.spawn(accepting.in_current_span());
        let cancel = egress.cancel.clone();
        let telling = async move { cancel.run_until_cancelled(tell(ledger)).await };
        egress.tasks.spawn(telling.in_current_span());
        Ok(egress)
    }

    /// Cuts every connection and records what is not yet on record. Takes [`END_LIMIT`] at most.
    pub async fn end(self) {
        self.cancel.cancel();
        self.tasks.close();
        if tokio::time::timeout(END_LIMIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections of the egress proxy did not end in time");
        }
        self.ledger.flush();
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Tells what was added up, window after window.
async fn tell(ledger: Ledger) {
    loop {
        tokio::time::sleep(WINDOW).await;
        ledger.flush();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::debug!(%error, "a connection to the egress proxy was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        let cancel = cancel.clone();
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let serving = async move {
                cancel
                    .run_until_cancelled(connection::serve(client, &shared))
                    .await;
                drop(place);
            };
            tasks.spawn(serving.in_current_span());
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            let refusing = async move {
                cancel.run_until_cancelled(refuse(client, &shared)).await;
                drop(place);
            };
            tasks.spawn(refusing.in_current_span());
        } else {
            connection::note(&shared, TOO_MANY);
        }
    }
}

async fn refuse(mut client: TcpStream, shared: &Shared) {
    let text = format!(
        "Refused by Stockade: there are {MAX_CONNECTIONS} connections already; close some and try again.\n"
    );
    let answer = answer::plain("503 Too Many Connections", None, &text);
    connection::refuse(&mut client, shared, TOO_MANY, &answer).await;
}

#[cfg(test)]
mod tests {
    use super::super::{connection, dns, head, ledger, relay, request, resolver, response, rule};
    use super::*;

    #[test]
    fn the_documentation_has_every_limit() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sandbox.md");
        let page = std::fs::read_to_string(path).unwrap();
        let dial = connection::DIAL_LIMIT.as_secs();
        for text in [
            format!("| connections at a time | {MAX_CONNECTIONS} |"),
            format!(
                "| head of a request | {} KiB, {} fields, {} s |",
                request::MAX_HEAD_BYTES >> 10,
                head::MAX_FIELDS,
                connection::HEAD_LIMIT.as_secs()
            ),
            format!(
                "| head of a response | {} KiB |",
                response::MAX_HEAD_BYTES >> 10
            ),
            format!(
                "| lookup of a name | {} s in all",
                resolver::LOOKUP_LIMIT.as_secs()
            ),
            format!("each of at most {} servers", resolver::MAX_SERVERS),
            format!(
                "| addresses of a name that are looked at | {} of each family |",
                dns::MAX_ADDRESSES
            ),
            format!(
                "| addresses of a name that are dialled | {}, {dial} s each |",
                connection::MAX_DIALLED
            ),
            format!(
                "| connection without a byte | {} s |",
                relay::IDLE_LIMIT.as_secs()
            ),
            format!("those of the next {} s together", WINDOW.as_secs()),
            format!("beyond {} kinds", ledger::MAX_KINDS),
            format!("There are at most {} rules", rule::MAX_ENTRIES),
        ] {
            assert!(page.contains(&text), "docs/sandbox.md lacks {text}");
        }
    }
}
