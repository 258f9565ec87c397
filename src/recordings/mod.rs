//! The recordings directory: what outlives the sandbox.
//!
//! Owns the store of all runs, the directory of one run, its lock, its claim, its artifacts, and their removal. It
//! never follows a symbolic link below the store's root, never joins a string that it has not parsed, and never
//! changes a published file in place. Invariant: a file that is replaced is at every moment, a crash included, either
//! whole and old or whole and new.
//!
//! Everything here blocks on the file system; on an async task it belongs into `spawn_blocking`.

pub mod artifact;
pub mod claim;
pub mod collect;
pub mod directory;
pub mod error;
pub mod health;
pub mod inventory;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod media_type;
pub mod path;
pub mod pattern;
pub mod pin;
pub mod prune;
pub mod run_dir;
pub mod staging;
pub mod store;
pub mod find;
pub mod termination;
mod tree;

pub use error::RecordingsError;
pub use run_dir::RunDir;
pub use store::Store;
