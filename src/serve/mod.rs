//! The control plane: runs of many sandboxes behind one API.
//!
//! ```text
//! api::server ─▶ gate ─▶ service ─▶ routes ─▶ registry ──▶ engine (does it live?)
//!                                     │          └───────▶ recordings (what is on record?)
//!                                     └──▶ hub: one upstream a run ─▶ log::Source ◀─ a cursor each client
//! reaper (every run without an end, every 5 s) ─▶ registry ─▶ stopping (what was asked to stop and did not)
//! ```
//! Owns creating, finding, following, stopping and deleting runs that live elsewhere. It keeps no state of a run: all truth is
//! in the engine and in the recordings, so any process over the same two answers the same. Invariants: what cannot be reached
//! is never told as ended; a terminal status never changes; a run that is nowhere any more gets its end on record.

pub mod absence;
pub mod admission;
pub mod creation;
pub mod evidence;
pub mod flight;
pub mod hub;
pub mod idempotency;
pub mod intent;
pub mod metrics;
pub mod reaper;
pub mod registry;
pub mod retention;
pub mod route;
mod routes;
pub mod service;
pub mod stopping;
pub mod token;
pub mod verdict;
