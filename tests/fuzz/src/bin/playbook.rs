//! Fuzzes the reading of playbooks.

#![no_main]

#[path = "../../targets/playbook.rs"]
mod playbook;

libfuzzer_sys::fuzz_target!(|input: &[u8]| playbook::check(input));
