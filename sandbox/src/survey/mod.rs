//! What this host allows, found by doing it: each step of a sandbox alone, in a child of its own.
//!
//! Owns the closed list of trials. Never changes anything that outlives the child, and never decides what follows from a
//! refusal. Invariant: a trial that is told to hold was done; one that is not names the call that failed and its errno.

mod child;
mod trial;

pub use child::survey;
pub use trial::{Finding, Refusal, Trial};
