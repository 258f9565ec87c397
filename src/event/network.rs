//! What the workload reached through the egress proxy, and what it did not.

use serde::{Deserialize, Serialize};

/// What was decided on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkDecision {
    /// A rule allows it, and it was made.
    Allow,
    /// It is not allowed.
    Deny,
    /// A rule allows it, and it could not be made; or it could not be understood.
    Error,
}

impl NetworkDecision {
    /// Every decision, in the order of the table in `docs/sandbox.md`.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Error];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        }
    }
}

/// Connections of one kind: those since the last event of the same kind, so that sums over all events are totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What was decided.
    pub decision: NetworkDecision,
    /// The host that was asked for, as it was decided on; null for a request without one, and for many hosts together.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The rule that allowed it.
    pub rule: Option<String>,
    /// Why it is not allowed, or not made: a stable name.
    pub reason: Option<String>,
    /// The address that was connected to last.
    pub address: Option<String>,
    /// Connections that were decided so.
    pub count: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Bytes that the workload sent on those that ended.
    pub bytes_sent: u64,
    /// Bytes that it received on them.
    pub bytes_received: u64,
}

impl Network {
    /// Host and port, for people.
    pub fn target(&self) -> String {
        match (&self.host, self.port) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.clone(),
            (None, _) => "other hosts".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_serde_forms() {
        for decision in NetworkDecision::ALL {
            assert_eq!(serde_json::to_value(decision).unwrap(), decision.as_str());
        }
    }
}
