//! Fuzzes presets, and policies with the places that they name.

#![no_main]

#[path = "../../targets/policy.rs"]
mod policy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| policy::check(input));
