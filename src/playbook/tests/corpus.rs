//! The corpus: each broken playbook has its whole error text beside it, and each good one is read.
//!
//! `STOCKADE_BLESS=1` writes what is found; the difference is for a person to judge.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::*;
use crate::description::standard::{self, WithoutValue};
use crate::document::{Node, Value};
use crate::schema::Schema;

/// Fewest broken playbooks, so that a lost directory does not pass.
const MIN_BROKEN: usize = 80;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus/playbooks")
        .join(name)
}

/// The playbooks of a directory, by name, with their format.
fn playbooks(name: &str) -> Vec<(String, PathBuf, Format)> {
    let mut playbooks: Vec<(String, PathBuf, Format)> = fs::read_dir(directory(name))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let format = Format::of_path(&path)?;
            Some((path.file_name()?.to_str()?.to_owned(), path, format))
        })
        .collect();
    playbooks.sort_by(|a, b| a.0.cmp(&b.0));
    playbooks
}

#[test]
fn every_broken_playbook_is_refused_with_its_whole_text() {
    let playbooks = playbooks("broken");
    assert!(
        playbooks.len() >= MIN_BROKEN,
        "{} playbooks",
        playbooks.len()
    );
    let mut wrong = String::new();
    let mut shown = Vec::new();
    for (name, path, format) in playbooks {
        let bytes = fs::read(&path).unwrap();
        let got = match parse(&bytes, format, &name) {
            Ok(_) => "no fault\n".to_owned(),
            Err(errors) => {
                let text = String::from_utf8_lossy(&bytes);
                for fault in &errors.faults {
                    match standard::check(fault, Some(&text)) {
                        Ok(reason) => shown.push(reason),
                        Err(complaint) => wrong.push_str(&complaint),
                    }
                }
                format!("{errors}\n")
            }
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("STOCKADE_BLESS").is_some_and(|value| value == "1") {
            fs::write(&expected, &got).unwrap();
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        if got != expected {
            wrong.push_str(&format!("{name}\n--- got\n{got}--- expected\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let n_with_value = shown.iter().filter(|reason| reason.is_none()).count();
    assert!(n_with_value >= 85, "only {n_with_value} show a value");
    for reason in [
        WithoutValue::Nothing,
        WithoutValue::Name,
        WithoutValue::Unreadable,
    ] {
        assert!(shown.contains(&Some(reason)), "none for {reason:?}");
    }
}

#[test]
fn every_good_playbook_is_read() {
    let playbooks = playbooks("good");
    assert!(playbooks.len() >= 5, "{} playbooks", playbooks.len());
    for (name, path, format) in playbooks {
        let bytes = fs::read(&path).unwrap();
        if let Err(errors) = parse(&bytes, format, &name) {
            panic!("{errors}");
        }
    }
}

/// What a document says, without places.
fn as_json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(bool) => (*bool).into(),
        Value::Integer(integer) => (*integer).into(),
        Value::OtherNumber(number) => number.parse::<f64>().unwrap().into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(as_json).collect(),
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.name.clone(), as_json(&entry.node)))
                .collect(),
        ),
    }
}

/// Broken playbooks of the right form: what is wrong is an expression, a reference, a pattern, a bound of a duration, or
/// one value beside another, which the schema does not say.
const BEYOND_THE_FORM: [&str; 40] = [
    "env-expression-open.yaml",
    "env-unknown-output.yaml",
    "env-unknown-parameter.yaml",
    "expect-absent-file-with-content.yaml",
    "expect-bad-pattern.yaml",
    "expect-secret.yaml",
    "expression-in-plain-text.yaml",
    "if-bad-pattern.yaml",
    "if-bad-place-far-on.yaml",
    "if-choice-never.yaml",
    "if-kinds-differ.yaml",
    "if-no-condition.yaml",
    "if-open-bracket.yaml",
    "if-open-text.yaml",
    "if-order-of-texts.yaml",
    "if-secret.yaml",
    "if-single-equals.yaml",
    "if-too-deep.yaml",
    "if-unknown-function.yaml",
    "if-unknown-name.yaml",
    "if-with-braces.yaml",
    "if-words-for-signs.yaml",
    "on-failure-goto-itself.yaml",
    "on-failure-goto-unknown.yaml",
    "output-unknown.yaml",
    "parameter-bad-pattern.yaml",
    "parameter-bounds-crossed.yaml",
    "parameter-choice-default.yaml",
    "parameter-default-bounds.yaml",
    "parameter-default-pattern.yaml",
    "parameter-nothing-is-wrong-then.yaml",
    "parameter-pattern-escapes-its-bounds.yaml",
    "retries-delays-crossed.yaml",
    "retries-of-checks-without-checks.yaml",
    "retries-without-max.yaml",
    "step-id-twice.yaml",
    "step-refers-forward.yaml",
    "timeout-bounds.yaml",
    "verify-of-nothing.yaml",
    "verify-pause-too-long.yaml",
];

#[test]
fn the_schema_accepts_every_good_playbook_and_refuses_every_wrong_form() {
    let schema = Schema::compile(&schema::schema()).unwrap();
    let mut n_refused = 0;
    let mut wrong = String::new();
    for directory in ["good", "broken"] {
        for (name, path, format) in playbooks(directory) {
            let bytes = fs::read(&path).unwrap();
            // What cannot be read has no form.
            let Ok(document) = document::read(&bytes, format) else {
                continue;
            };
            let checked = schema.check(&as_json(&document.root));
            let is_accepted = checked.violations.is_empty();
            n_refused += usize::from(!is_accepted);
            let may_be_accepted = directory == "good" || BEYOND_THE_FORM.contains(&name.as_str());
            if is_accepted != may_be_accepted {
                wrong.push_str(&format!("{name}: {:?}\n", checked.violations));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(n_refused >= 30, "only {n_refused} were refused");
}
