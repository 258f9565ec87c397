//! The launch helper: a small process with one thread, from which every sandbox is born.
//!
//! `client` is the supervisor's side, `server` the process itself, `birth` one build in it.

mod birth;
mod client;
mod server;

pub use client::{BuildError, DestroyError, Helper};
pub use server::helper_main;
