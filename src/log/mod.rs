//! The action log: every event of a run, numbered, chained, on disk as it happens, and readable by any number of readers.
//!
//! ```text
//! append ─▶ ActionLog ─▶ pending ─▶ Writer ─▶ events.jsonl ─▶ Syncer (fdatasync)
//!            encode,                 │
//!            redact, hash            ├▶ Tail (memory)      ┐
//!                                    └▶ bounds (published) ┴▶ Source ◀─ Reader, Reader, …
//! ```
//! Invariants: one writer; one encoding; numbers are dense from 1; readers see only what is written (or synced), and the
//! terminal event only after it was released.

pub mod action_log;
pub mod creation;
pub mod file_read;
pub mod frame;
pub mod line;
mod logged;
mod last_words;
#[cfg(feature = "operator")]
pub mod mirror;
pub mod options;
pub mod repair;
pub mod scan;
pub mod segment;
pub mod source;
pub mod stamp;
mod syncer;
pub mod tail;
pub mod verify;
mod writer;

pub use action_log::{ActionLog, AppendError, Entry, Observer, Written};
pub use creation::{CreateError, LogThreads, create};
pub use frame::{Framing, Selection, TypeSet};
pub use options::{Bounds, Durability, LogHealth, LogOptions, OnFull};
pub use source::{Next, Reader, Source};
pub use stamp::Millis;

#[cfg(test)]
mod tests;
