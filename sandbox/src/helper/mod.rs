//! The launch helper: a small process with one thread, from which every sandbox is born.
//!
//! `client` is the supervisor's side, `server` the process itself, `birth` one build in it, `order` what is asked of it; `own`
//! does without the process.

mod birth;
mod order;
mod client;
mod own;
mod server;

pub use client::{BestError, BuildError, DestroyError, Helper};
pub use own::OwnSandbox;
pub use server::helper_main;
