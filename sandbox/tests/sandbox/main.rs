//! The sandbox from outside: real processes, one binary, no sleeps.
//!
//! Each forbidden act has an allowed twin beside it, so that a test cannot pass because nothing works.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy allows them in test functions only, and the harness around those fails and reports like them"
)]

mod container;
mod container_reach;
mod domain;
mod files;
mod filter;
mod groups;
mod harness;
mod identity;
mod killing;
mod launches;
mod leaks;
mod lifetime;
mod network;
mod overlay;
mod none;
mod probes;
mod refusals;
mod terminals;
mod trees;
