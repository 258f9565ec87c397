//! The client of the status API and of the control plane, for people: finds a run by its name, asks it, follows it, and goes
//! on from its recording.
//!
//! Owns what a target may be called, one connection, and the cursor that survives cut connections and the end of the
//! supervisor. It never writes into a recording. Invariants: a run that cannot be reached is never taken for one that has
//! ended; a follower gives each event once and in order, or says what it could not give.

pub mod address;
pub mod connection;
pub mod error;
pub mod frames;
pub mod target;
pub mod follow;
#[cfg(feature = "operator")]
pub mod listing;
#[cfg(feature = "operator")]
pub mod plane;

pub use address::{Address, HeldSocket};
pub use connection::{Connection, Token};
pub use error::ClientError;
pub use follow::{Ending, Follower, Item};
pub use target::{Found, Liveness, Target, TargetError};
