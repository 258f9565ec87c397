//! Fuzzes the JSON-lines adapter.

#![no_main]

#[path = "../../targets/jsonl.rs"]
mod jsonl;

libfuzzer_sys::fuzz_target!(|input: &[u8]| jsonl::check(input));
