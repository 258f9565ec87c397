//! Fuzzes the reader of documents: what configuration files and playbooks are read by.

#![no_main]

#[path = "../../targets/document.rs"]
mod document;

libfuzzer_sys::fuzz_target!(|input: &[u8]| document::check(input));
