//! Fuzzes the terminal recording.

#![no_main]

#[path = "../../targets/cast.rs"]
mod cast;

libfuzzer_sys::fuzz_target!(|input: &[u8]| cast::check(input));
