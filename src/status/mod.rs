//! The status document: what a run is doing and how it ended, for those who poll.
//!
//! Owns its wire form, how it follows from the action log, and how it is published. It writes no file and appends no
//! event. Invariant: the document says nothing that the log does not say, apart from what is known of the recordings
//! themselves, of the run's description, and of what the workload takes at the moment.

pub mod bounds;
pub mod document;
pub mod fold;
pub mod gauge;
mod observer;
pub mod publisher;
#[cfg(test)]
mod sample;
pub mod text;

pub use document::StatusDocument;
pub use fold::StatusFold;
pub use publisher::StatusBoard;
