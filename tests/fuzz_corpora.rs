//! Replays what fuzzing has found: every input in `tests/fuzz/corpus` goes through the check of its target.
//!
//! New inputs come from `tests/fuzz/run TARGET SECONDS`, which keeps one input for each piece of code that is reached.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says where"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "fuzz/targets/configuration.rs"]
mod configuration;
#[path = "fuzz/targets/jsonl.rs"]
mod jsonl;

/// Fewer inputs than this mean that the corpus was not found.
const MIN_INPUTS: usize = 20;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
        assert!(outcome.is_ok(), "{} fails", path.display());
        inputs += 1;
    }
    assert!(inputs >= MIN_INPUTS, "{target}: only {inputs} inputs");
}

#[test]
fn no_line_of_an_agent_is_lost_or_stops_the_run() {
    replay("jsonl", jsonl::check);
}

#[test]
fn no_description_file_breaks_the_reader_or_shows_a_secret() {
    replay("configuration", configuration::check);
}
