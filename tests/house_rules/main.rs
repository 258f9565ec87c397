//! The house rules that a machine can check: where unsafe code may stand, who depends on whom, how long a file may be, and
//! that the documentation names everything that a user can meet.
//!
//! A rule is a function whose name is a sentence. A failure names file, line, rule and remedy.

#![expect(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test binary has no outside, and the lints exempt tests, but not the functions that tests share"
)]

mod tree;
mod code;
mod pages;
mod names;
mod dependencies;
