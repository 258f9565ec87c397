//! What the egress proxy decided and carried, as counters.
//!
//! Owns one series for each decision and each direction, made at the start. Hosts are no labels: a workload chooses them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::event::{Network, NetworkDecision};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

const SENT: DirectionLabels = DirectionLabels { direction: "sent" };
const RECEIVED: DirectionLabels = DirectionLabels {
    direction: "received",
};

/// Connections by decision, and bytes of those that ended by direction.
#[derive(Debug, Clone)]
pub struct EgressCounters {
    connections: Family<DecisionLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
}

impl EgressCounters {
    /// Registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counters = Self {
            connections: Family::default(),
            bytes: Family::default(),
        };
        for decision in NetworkDecision::ALL {
            drop(counters.connections.get_or_create(&DecisionLabels {
                decision: decision.as_str(),
            }));
        }
        for direction in [SENT, RECEIVED] {
            drop(counters.bytes.get_or_create(&direction));
        }
        registry.register(
            "egress_connections",
            "Connections to the egress proxy by decision",
            counters.connections.clone(),
        );
        registry.register(
            "egress_bytes",
            "Bytes of connections that ended, as the workload sent and received them",
            counters.bytes.clone(),
        );
        counters
    }

    /// Counts what an event tells.
    pub fn count(&self, network: &Network) {
        let labels = DecisionLabels {
            decision: network.decision.as_str(),
        };
        self.connections
            .get_or_create(&labels)
            .inc_by(network.count);
        self.bytes.get_or_create(&SENT).inc_by(network.bytes_sent);
        self.bytes
            .get_or_create(&RECEIVED)
            .inc_by(network.bytes_received);
    }
}
