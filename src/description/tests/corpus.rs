//! The corpus of broken descriptions: `tests/corpus/config`, each file with the whole text of its errors beside it.
//!
//! `STOCKADE_BLESS=1` writes what is found; the difference is for a person to judge.

use std::path::{Path, PathBuf};

use super::cases::{blessed, cases};
use super::{current_dir, resolve_in};
use crate::description::standard::{self, WithoutValue};
use crate::description::{DescriptionErrors, Origin};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/config")
}

fn is_blessed() -> bool {
    std::env::var_os("STOCKADE_BLESS").is_some_and(|value| value == "1")
}

/// The broken files: TOML, YAML and JSON.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("toml" | "yaml" | "json"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_broken_file_gives_its_whole_error() {
    let files = files();
    assert!(files.len() >= 45, "only {} files were found", files.len());
    let mut failures = String::new();
    let mut shown = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let dir = current_dir();
        std::fs::copy(&path, dir.path().join(name)).unwrap();
        let args = format!("--config {name} --profile-dir profiles");
        let found = match resolve_in(dir.path(), &args, &[], "") {
            Ok(_) => "no error".to_owned(),
            Err(errors) => {
                let text = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&text);
                shown.extend(check_standard(&errors, Some(&text), &mut failures));
                format!("{errors}\n")
            }
        };
        let expected = path.with_file_name(format!("{name}.expected"));
        if is_blessed() {
            std::fs::write(&expected, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            failures.push_str(&format!("{name}:\n{found}instead of\n{expected}\n"));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    let n_with_value = shown.iter().filter(|reason| reason.is_none()).count();
    assert!(n_with_value >= 28, "only {n_with_value} show a value");
    for reason in [WithoutValue::Name, WithoutValue::Unreadable] {
        assert!(shown.contains(&Some(reason)), "none for {reason:?}");
    }
}

#[test]
fn every_broken_environment_and_command_line_gives_its_whole_error() {
    let path = corpus().join("cases.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    if is_blessed() {
        std::fs::write(&path, blessed(&text)).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let cases = cases(&text);
    assert!(cases.len() >= 12, "only {} cases were read", cases.len());
    let mut failures = String::new();
    for case in &cases {
        let found = case.faults();
        if let Err(errors) = case.resolved() {
            check_standard(&errors, None, &mut failures);
        }
        if found.lines().ne(case.expected.iter().copied()) {
            let found = found.replace('\n', "\n> ");
            failures.push_str(&format!("$ {}\n> {found}\n\n", case.args));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Each error names key, value, place and remedy; what is given back is why one shows no value.
fn check_standard(
    errors: &DescriptionErrors,
    text: Option<&str>,
    failures: &mut String,
) -> Vec<Option<WithoutValue>> {
    let mut shown = Vec::new();
    for error in &errors.errors {
        let file = match &error.origin {
            Origin::File { path, .. } if path != "run.toml" => text,
            _ => None,
        };
        match standard::check(error, file) {
            Ok(reason) => shown.push(reason),
            Err(complaint) => failures.push_str(&complaint),
        }
    }
    shown
}
