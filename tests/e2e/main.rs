//! End-to-end tests: the real binary, real processes, port 0, a directory of its own for each test.
//!
//! Every wait has a condition and a deadline; nothing sleeps for luck. A test that lacks a tool says so aloud and counts as
//! skipped; with `STOCKADE_TEST_REQUIRE=all` it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic that says where"
)]
#![expect(
    unreachable_pub,
    reason = "a test binary has no outside; pub marks what the harness offers to the tests"
)]

mod harness;
mod adapter;
mod guardrails;
mod output;
mod clients;
mod build;
mod command_run;
#[cfg(feature = "operator")]
mod config;
mod container;
mod docker;
mod image;
mod health;
mod crate_under_supervision;
mod group_signals;
mod audit_agent;
mod playbooks;
mod planted;
mod playbook_examples;
mod regressions;
mod crash;
mod crash_follower;
mod process_table;
mod secrets;
mod socket;
mod seed_assertions;
mod detach;
mod disk;
mod full_disk;
mod end_order;
mod artifacts;
mod overlay;
mod stop;
mod channel;
mod pause;
mod preparation;
mod presets;
mod doctor;
mod flood;
mod request_flood;
mod last_word;
mod limits;
mod vm;
mod process;
#[cfg(feature = "operator")]
mod serve;
mod services;
mod hooks;
mod misbehaving;
mod crash_finalize;
mod watchdog;
mod held;
mod damage;
mod deaths;
mod kill_matrix;
mod disk_names;
#[cfg(feature = "operator")]
mod recordings;
mod terminal;
#[cfg(feature = "operator")]
mod people;
#[cfg(feature = "operator")]
mod following;
mod results;
mod cast;
mod live;
mod init;
#[cfg(feature = "operator")]
mod replay;
mod dry_run;
mod egress;
#[cfg(feature = "operator")]
mod exec;
