//! Fuzzes description files.

#![no_main]

#[path = "../../targets/configuration.rs"]
mod configuration;

libfuzzer_sys::fuzz_target!(|input: &[u8]| configuration::check(input));
