//! Fuzzes the readers of the egress proxy.

#![no_main]

#[path = "../../targets/proxy.rs"]
mod proxy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxy::check(input));
