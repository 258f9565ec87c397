//! The status API: what anyone may ask a running supervisor.
//!
//! ```text
//! Listener ─▶ serve ─▶ Connection ─▶ gate (host, origin, route, method, token) ─▶ router ─▶ handler
//!                      pulse: cut when silent or stalled                                     │
//!                                    log::Source (a cursor each), StatusBoard, RunDir, Control ◀┘
//! ```
//! Owns HTTP: routes, access, limits, forms. It never changes a run but through [`crate::control::Control`], never keeps
//! a queue for a reader, and never encodes an event or the status. Invariants: a slow client delays nobody; every wait and
//! every buffer has a limit of [`limits`]; when [`serve`] returns, none of its tasks is left.

mod all_actions;
pub(crate) mod answering;
pub(crate) mod artifacts;
pub mod auth;
mod connection;
mod cursor;
pub mod events;
mod extent;
pub(crate) mod gate;
pub mod guardrails;
pub mod egress;
pub(crate) mod health;
pub mod limits;
pub mod listener;
pub mod metrics;
mod openapi;
pub(crate) mod page;
mod pause;
mod peer;
pub mod problem;
mod pulse;
mod range;
pub mod route;
pub mod server;
pub mod service;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod stop;
mod stream;

pub use auth::{Auth, AuthError, Exposure, Scope};
pub use limits::Limits;
pub use listener::{Listener, ListenerTrust, Reach};
pub use metrics::Metrics;
pub use server::{Drained, ServeError, serve};
pub use service::{Api, Readiness};

#[cfg(test)]
mod tests;
