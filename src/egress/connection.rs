//! One connection of the workload to the proxy: from its first byte to its end.
//!
//! Owns the order: read, decide, resolve, check, dial, record, relay. Each connection is one request; a client that wants
//! more makes more. Invariant: nothing is dialled before every check was passed, and exactly what passed it is dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer;
use super::host::{Host, Target};
use super::ledger::{Kind, Ledger};
use super::range::special;
use super::relay::{self, ExchangeError, HeadReadError};
use super::request::{self, MAX_HEAD_BYTES, Request};
use super::resolver::{ResolveError, Resolver};
use super::rule::{Denial, Policy};
use crate::event::NetworkDecision;

/// Longest time for the head of a request.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Longest time for the connection to one address.
pub(super) const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// Addresses of a name that are dialled, one after the other.
pub(super) const MAX_DIALLED: usize = 4;

/// What every connection of a proxy shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) resolver: Resolver,
    pub(super) ledger: Ledger,
    /// Where the status API of this run listens.
    pub(super) own_api: Option<SocketAddr>,
}

/// Why there is no connection to an origin.
enum Refusal {
    Denied(Denial),
    Unresolved(ResolveError),
    Unreachable(io::Error),
}

/// Serves one connection.
pub(super) async fn serve(mut client: TcpStream, shared: &Shared) {
    let answer = match read_request(&mut client, shared).await {
        Some((request, early)) => respond(&mut client, shared, request, &early).await,
        None => return,
    };
    if let Some(answer) = answer
        && client.write_all(&answer).await.is_err()
    {
        return;
    }
    relay::close(&mut client).await;
}

/// Reads the request; answers what is none and gives nothing then.
async fn read_request(client: &mut TcpStream, shared: &Shared) -> Option<(Request, Vec<u8>)> {
    let mut waiting = Vec::new();
    let read = relay::read_head(client, &mut waiting, MAX_HEAD_BYTES);
    let head = match timeout(HEAD_LIMIT, read).await {
        Ok(Ok(head)) => head,
        // It made a connection and wanted nothing, as port scans do.
        Ok(Err(HeadReadError::End)) => return None,
        Ok(Err(error @ HeadReadError::TooLarge(_))) => {
            let text = format!("Refused by Stockade: {error}.\n");
            let answer = answer::plain("431 Request Header Fields Too Large", None, &text);
            refuse(client, shared, "bad-request", &answer).await;
            return None;
        }
        Ok(Err(HeadReadError::Malformed(error))) => {
            let answer = answer::malformed(&error);
            refuse(client, shared, "bad-request", &answer).await;
            return None;
        }
        Err(_) => {
            let text = "Refused by Stockade: the request did not come in time.\n";
            let answer = answer::plain("408 Request Timeout", None, text);
            refuse(client, shared, "slow-request", &answer).await;
            return None;
        }
    };
    match Request::parse(&head) {
        Ok(request) => Some((request, waiting)),
        Err(error) => {
            refuse(client, shared, "bad-request", &answer::malformed(&error)).await;
            None
        }
    }
}

/// Records a connection that has no target.
pub(super) fn note(shared: &Shared, reason: &'static str) {
    let kind = Kind {
        decision: NetworkDecision::Error,
        host: None,
        port: None,
        rule: None,
        reason: Some(reason),
    };
    shared.ledger.decided(kind, None);
}

/// Answers a request that has no target.
pub(super) async fn refuse(
    client: &mut TcpStream,
    shared: &Shared,
    reason: &'static str,
    answer: &[u8],
) {
    note(shared, reason);
    if client.write_all(answer).await.is_ok() {
        relay::close(client).await;
    }
}

/// Does what is asked for; an answer when the client has got none yet.
async fn respond(
    client: &mut TcpStream,
    shared: &Shared,
    request: Request,
    early: &[u8],
) -> Option<Vec<u8>> {
    let Request { target, kind } = request;
    let rule = match shared.policy.decide(&target) {
        Ok(rule) => rule.to_string(),
        Err(denial) => return Some(shared.denied(&target, None, &denial)),
    };
    let (mut origin, address) = match connect(shared, &target).await {
        Ok(connected) => connected,
        Err(Refusal::Denied(denial)) => {
            return Some(shared.denied(&target, Some(rule), &denial));
        }
        Err(Refusal::Unresolved(error)) => {
            shared.failed(&target, rule, "unresolved");
            let status = "502 Name Not Resolved";
            return Some(answer::unreachable(&target, status, &error.to_string()));
        }
        Err(Refusal::Unreachable(error)) => {
            shared.failed(&target, rule, "unreachable");
            let status = "502 Not Reachable";
            return Some(answer::unreachable(&target, status, &error.to_string()));
        }
    };
    let record = record(NetworkDecision::Allow, &target, Some(rule), None);
    let opened = shared.ledger.opened(record, address);
    match kind {
        request::Kind::Tunnel => {
            // Whoever breaks a tunnel off has told the other side by it.
            let _ = relay::tunnel(client, &mut origin, early, &opened.meter).await;
            None
        }
        request::Kind::Exchange(exchange) => {
            let ended = relay::exchange(client, &mut origin, exchange, early, &opened.meter).await;
            let why = match ended {
                Err(error @ (ExchangeError::Response | ExchangeError::Silence)) => error,
                Ok(()) | Err(ExchangeError::Client | ExchangeError::Cut) => return None,
            };
            let status = match why {
                ExchangeError::Silence => "504 Gateway Timeout",
                ExchangeError::Response | ExchangeError::Client | ExchangeError::Cut => {
                    "502 Bad Gateway"
                }
            };
            Some(answer::unreachable(&target, status, &why.to_string()))
        }
    }
}

/// Resolves, checks and dials.
async fn connect(shared: &Shared, target: &Target) -> Result<(TcpStream, IpAddr), Refusal> {
    let addresses = match &target.host {
        // A rule is this address: nothing else is asked.
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            let found = shared.resolver.lookup(name).await;
            admitted(&shared.policy, &found.map_err(Refusal::Unresolved)?)?
        }
    };
    let mut fault = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.into_iter().take(MAX_DIALLED) {
        if shared.is_own_api(address, target.port) {
            return Err(Refusal::Denied(Denial::OwnApi));
        }
        let dialled = TcpStream::connect(SocketAddr::new(address, target.port));
        match timeout(DIAL_LIMIT, dialled).await {
            // An address of this host that is on none of its lists: both ends are the same one.
            Ok(Ok(origin)) if shared.is_own_port(&origin, target.port) => {
                return Err(Refusal::Denied(Denial::OwnApi));
            }
            Ok(Ok(origin)) => {
                // Small pieces go at once: whoever batches has done so before.
                let _ = origin.set_nodelay(true);
                return Ok((origin, address));
            }
            Ok(Err(error)) => fault = error,
            Err(_) => fault = io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        }
    }
    Err(Refusal::Unreachable(fault))
}

/// The addresses that a name may lead to.
fn admitted(policy: &Policy, found: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
    let mut denial = None;
    let mut admitted = Vec::new();
    for address in found {
        match policy.admit(*address) {
            Ok(()) => admitted.push(*address),
            Err(special) => denial = denial.or(Some(special)),
        }
    }
    match (admitted.is_empty(), denial) {
        (false, _) => Ok(admitted),
        (true, Some(special)) => Err(Refusal::Denied(Denial::Address(special))),
        (true, None) => Err(Refusal::Unresolved(ResolveError::NoAddress)),
    }
}

fn record(
    decision: NetworkDecision,
    target: &Target,
    rule: Option<String>,
    reason: Option<&'static str>,
) -> Kind {
    Kind {
        decision,
        host: Some(target.host.to_string()),
        port: Some(target.port),
        rule,
        reason,
    }
}

impl Shared {
    fn denied(&self, target: &Target, rule: Option<String>, denial: &Denial) -> Vec<u8> {
        let kind = record(NetworkDecision::Deny, target, rule, Some(denial.code()));
        self.ledger.decided(kind, None);
        answer::denied(target, denial, &self.policy)
    }

    fn failed(&self, target: &Target, rule: String, reason: &'static str) {
        let kind = record(NetworkDecision::Error, target, Some(rule), Some(reason));
        self.ledger.decided(kind, None);
    }

    /// Whether a connection that was made leads to the status API, which listens on all addresses of this host.
    fn is_own_port(&self, origin: &TcpStream, port: u16) -> bool {
        let is_here = || match (origin.local_addr(), origin.peer_addr()) {
            (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
            (Err(_), _) | (_, Err(_)) => true,
        };
        self.own_api
            .is_some_and(|own| own.ip().is_unspecified() && own.port() == port && is_here())
    }

    /// Whether this is where the status API of the run listens, by whatever address of this host.
    fn is_own_api(&self, address: IpAddr, port: u16) -> bool {
        self.own_api.is_some_and(|own| {
            let is_here = own.ip().is_unspecified() && special(address).is_some();
            own.port() == port && (own.ip() == address || is_here || address.is_loopback())
        })
    }
}

#[cfg(test)]
mod tests;
