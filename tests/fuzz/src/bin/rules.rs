//! Fuzzes the rules of the network.

#![no_main]

#[path = "../../targets/rules.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|input: &[u8]| rules::check(input));
