//! The guardian from outside: real processes, real signals, a fake supervisor (`examples/guardian.rs`).
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the lints exempt tests, but not the functions that tests share; a skip must be seen"
)]

mod crash;
mod exit_code;
mod first_process;
mod footprint;
mod remains;
mod run;
mod signals;
mod stopping;
mod watchdog;
