//! Looking back at recordings: what happened in a run, and what differs between two.
//!
//! Owns the reading of a log into an account of bounded size, its form for people, the comparison of two runs, and the check
//! that a recording is sound. It reads
//! and never writes, so a run that goes on, one that was cut off and one of years ago are all the same to it. Invariant:
//! nothing that the workload printed reaches a terminal as anything but text.

pub mod account;
pub mod alignment;
mod busy;
pub mod comparison;
pub mod draft;
pub mod plain;
pub mod reading;
pub mod screen;
pub mod soundness;
pub mod step;
