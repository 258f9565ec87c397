//! Stockade: the supervisor at the door of an AI agent's sandbox.

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("stockade confines processes with Linux namespaces and runs on Linux only");

pub mod run;
pub mod event;
pub mod log;
pub mod redact;
pub mod text;
pub mod schema;
pub mod recordings;
pub mod cast;
pub mod status;
pub mod document;
pub mod preset;
pub mod description;
pub mod playbook;
pub mod agent;
pub mod guardrail;
pub mod egress;
pub mod control;
pub mod api;
pub mod client;
pub mod progress;
pub mod session;
pub mod supervisor;
#[cfg(feature = "operator")]
pub mod exec;
pub mod finalize;
#[cfg(feature = "operator")]
pub mod engine;
#[cfg(feature = "operator")]
pub mod serve;
pub mod review;
pub mod doctor;
pub mod cli;
