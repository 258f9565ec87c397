//! Replays what fuzzing has found: every input in `tests/fuzz/corpus` goes through the check of its target.
//!
//! New inputs come from `tests/fuzz/run TARGET SECONDS`, which keeps one input for each piece of code that is reached.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says where"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "fuzz/targets/cast.rs"]
mod cast;
#[path = "fuzz/targets/configuration.rs"]
mod configuration;
#[path = "fuzz/targets/document.rs"]
mod document;
#[path = "fuzz/targets/jsonl.rs"]
mod jsonl;
#[path = "fuzz/targets/playbook.rs"]
mod playbook;
#[path = "fuzz/targets/policy.rs"]
mod policy;
#[path = "fuzz/targets/proxy.rs"]
mod proxy;
#[path = "fuzz/targets/rules.rs"]
mod rules;

/// Fewer inputs than this mean that the corpus was not found.
const MIN_INPUTS: usize = 20;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = format!(
        "{}/tests/fuzz/corpus/{target}.hex",
        env!("CARGO_MANIFEST_DIR")
    );
    let corpus = std::fs::read_to_string(&corpus).unwrap();
    for line in corpus.lines() {
        let input = from_hex(line);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
        assert!(outcome.is_ok(), "{target} fails for {line}");
    }
    let n_inputs = corpus.lines().count();
    assert!(n_inputs >= MIN_INPUTS, "{target}: only {n_inputs} inputs");
}

fn from_hex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line
        .bytes()
        .map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

#[test]
fn no_line_of_an_agent_is_lost_or_stops_the_run() {
    replay("jsonl", jsonl::check);
}

#[test]
fn no_description_file_breaks_the_reader_or_shows_a_secret() {
    replay("configuration", configuration::check);
}

#[test]
fn no_document_is_read_otherwise_than_it_is_written() {
    replay("document", document::check);
}

#[test]
fn every_playbook_is_read_whole_or_refused_with_its_places() {
    replay("playbook", playbook::check);
}

#[test]
fn every_terminal_recording_is_whole_lines_without_secrets_however_it_is_cut() {
    replay("cast", cast::check);
}

#[test]
fn no_policy_mounts_over_the_sandboxs_own_places() {
    replay("policy", policy::check);
}

#[test]
fn no_rule_opens_what_it_does_not_name() {
    replay("rules", rules::check);
}

#[test]
fn what_passes_the_proxy_is_read_in_one_way_only() {
    replay("proxy", proxy::check);
}
