//! What was decided on connections, on its way into the action log, or to a person where there is none.
//!
//! Owns the adding up of equal decisions. Never decides. Invariants: the first decision of a kind is told at once; what is
//! added up is told after [`WINDOW`] at the latest and at the end; a flood of connections, equal or different, makes a
//! bounded number of events, and the sums over all events are exact.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::meter::Meter;
use crate::event::{Event, Network, NetworkDecision};
use crate::log::ActionLog;

/// Time for which decisions of one kind are added up.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// Kinds that are told apart in one window; what is beyond is told as other hosts, by decision alone.
pub(super) const MAX_KINDS: usize = 64;

/// What makes decisions equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) decision: NetworkDecision,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) rule: Option<String>,
    pub(super) reason: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Tally {
    address: Option<IpAddr>,
    count: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.address = other.address.or(self.address);
        self.count = self.count.saturating_add(other.count);
        self.closed = self.closed.saturating_add(other.closed);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
    }

    fn event(&self, kind: Kind) -> Network {
        Network {
            decision: kind.decision,
            host: kind.host,
            port: kind.port,
            rule: kind.rule,
            reason: kind.reason.map(str::to_owned),
            address: self.address.map(|address| address.to_string()),
            count: self.count,
            closed: self.closed,
            bytes_sent: self.sent,
            bytes_received: self.received,
        }
    }
}

/// What was added up in a window.
#[derive(Debug, Default)]
struct Tallies {
    kinds: HashMap<Kind, Tally>,
    rest: HashMap<NetworkDecision, Tally>,
}

impl Tallies {
    /// Takes a decision; gives its event when it is the first of its kind.
    fn decided(&mut self, kind: Kind, tally: Tally) -> Option<Network> {
        if self.kinds.contains_key(&kind) || self.kinds.len() >= MAX_KINDS {
            self.added(kind, tally);
            return None;
        }
        let event = tally.event(kind.clone());
        self.kinds.insert(kind, Tally::default());
        Some(event)
    }

    fn added(&mut self, kind: Kind, tally: Tally) {
        let has_room = self.kinds.len() < MAX_KINDS;
        match self.kinds.get_mut(&kind) {
            Some(own) => own.add(tally),
            None if has_room => {
                self.kinds.insert(kind, tally);
            }
            None => self.rest.entry(kind.decision).or_default().add(tally),
        }
    }

    /// Ends the window; gives what was added up in it.
    fn flush(&mut self) -> Vec<Network> {
        let rest = self.rest.drain().map(|(decision, tally)| {
            let kind = Kind {
                decision,
                host: None,
                port: None,
                rule: None,
                reason: None,
            };
            // Of many hosts none is the one whose address this is.
            (
                kind,
                Tally {
                    address: None,
                    ..tally
                },
            )
        });
        let told = self.kinds.drain().chain(rest);
        told.filter(|(_, tally)| tally.count > 0 || tally.closed > 0)
            .map(|(kind, tally)| tally.event(kind))
            .collect()
    }
}

/// Where decisions go.
#[derive(Debug, Clone)]
pub enum Record {
    /// Into the log of a run.
    Log(ActionLog),
    /// To whoever is there, where there is no run; called by the task that decided, so it must not wait.
    Witness(fn(&Network)),
}

/// The way into the record.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    record: Record,
    /// Held for the time of a few additions, never across an await.
    tallies: Arc<Mutex<Tallies>>,
}

impl Ledger {
    pub(super) fn new(record: Record) -> Self {
        Self {
            record,
            tallies: Arc::default(),
        }
    }

    /// Records a decision.
    pub(super) fn decided(&self, kind: Kind, address: Option<IpAddr>) {
        let tally = Tally {
            address,
            count: 1,
            ..Tally::default()
        };
        let event = self.tallies().decided(kind, tally);
        self.append(event);
    }

    /// Records a connection that was made; what it carried is recorded when what this gives is dropped.
    pub(super) fn opened(&self, kind: Kind, address: IpAddr) -> Opened {
        self.decided(kind.clone(), Some(address));
        Opened {
            ledger: self.clone(),
            kind,
            address,
            meter: Meter::default(),
        }
    }

    /// Tells what was added up.
    pub(super) fn flush(&self) {
        let events = self.tallies().flush();
        self.append(events);
    }

    fn append(&self, events: impl IntoIterator<Item = Network>) {
        for event in events {
            match &self.record {
                Record::Log(log) => {
                    if let Err(error) = log.append_at_once(Event::Network(event)) {
                        tracing::debug!(%error, "an event was not recorded");
                    }
                }
                Record::Witness(witness) => witness(&event),
            }
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to an origin; its end is recorded when it is dropped, however it ends.
#[derive(Debug)]
pub(super) struct Opened {
    ledger: Ledger,
    kind: Kind,
    address: IpAddr,
    pub(super) meter: Meter,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let tally = Tally {
            address: Some(self.address),
            closed: 1,
            sent: self.meter.sent(),
            received: self.meter.received(),
            count: 0,
        };
        self.ledger.tallies().added(self.kind.clone(), tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(decision: NetworkDecision, host: &str) -> Kind {
        Kind {
            decision,
            host: Some(host.to_owned()),
            port: Some(443),
            rule: None,
            reason: None,
        }
    }

    fn one() -> Tally {
        Tally {
            count: 1,
            ..Tally::default()
        }
    }

    #[test]
    fn equal_decisions_are_told_once_at_once_and_then_by_their_number() {
        let mut tallies = Tallies::default();
        let denied = || kind(NetworkDecision::Deny, "a.example");
        let first = tallies.decided(denied(), one()).unwrap();
        assert_eq!((first.count, first.closed), (1, 0));
        for _ in 0..10_000 {
            assert_eq!(tallies.decided(denied(), one()), None);
        }
        let told = tallies.flush();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].count, 10_000);
        assert_eq!(tallies.flush(), []);
        assert!(tallies.decided(denied(), one()).is_some(), "a new window");
    }

    #[test]
    fn a_flood_of_different_decisions_makes_a_bounded_number_of_events_and_loses_none() {
        let mut tallies = Tallies::default();
        let mut events = Vec::new();
        for idx in 0..10_000 {
            let decision = NetworkDecision::ALL[idx % 3];
            events.extend(tallies.decided(kind(decision, &format!("h{idx}.example")), one()));
        }
        events.extend(tallies.flush());
        assert!(events.len() <= MAX_KINDS + 3, "{}", events.len());
        assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 10_000);
        let others: Vec<_> = events.iter().filter(|event| event.host.is_none()).collect();
        assert_eq!(others.len(), 3);
        assert_eq!(others[0].target(), "other hosts");
    }

    #[test]
    fn ends_add_up_to_the_bytes_that_were_carried() {
        let mut tallies = Tallies::default();
        let allowed = || kind(NetworkDecision::Allow, "a.example");
        let mut events: Vec<_> = tallies.decided(allowed(), one()).into_iter().collect();
        events.extend(tallies.flush());
        for (sent, received) in [(3, 4), (10, 20)] {
            let ended = Tally {
                closed: 1,
                sent,
                received,
                ..Tally::default()
            };
            tallies.added(allowed(), ended);
        }
        events.extend(tallies.flush());
        assert_eq!(events.len(), 2);
        let last = events.last().unwrap();
        let seen = (
            last.count,
            last.closed,
            last.bytes_sent,
            last.bytes_received,
        );
        assert_eq!(seen, (0, 2, 13, 24));
    }
}
