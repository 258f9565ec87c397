//! The egress proxy: the only way out of a network namespace, and only to what rules name.
//!
//! Owns the rules, the reading of requests, the resolving and dialling, and the record of what was decided. It listens on a
//! socket that was made inside the workload's network namespace and dials in the supervisor's. Never looks into a tunnel.
//! Invariants: there is one parse, so what is decided on is what is resolved, dialled and told to the origin; what is
//! dialled is the very address that was checked; what no rule names is denied.
//!
//! ```text
//!   workload ──127.0.0.1:3128──▶ head ─▶ request ─▶ rule ─▶ resolver ─▶ range ─▶ dial ─▶ relay ──▶ origin
//!   (own namespace)               400      400       403      502        403      502    │  (host's namespace)
//!                                                     └─────────── ledger ◀──────────────┘
//! ```

pub mod host;
pub mod range;
pub mod rule;
pub mod body;
pub mod head;
pub mod request;
pub mod response;
pub mod dns;
pub mod resolver;
mod ledger;
mod answer;
mod meter;
mod relay;
mod connection;
pub mod proxy;

pub use ledger::Record;
pub use proxy::Egress;
pub use rule::{AllowList, BlockList, Policy};
