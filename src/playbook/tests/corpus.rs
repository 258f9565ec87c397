//! The corpus: each broken playbook has its whole error text beside it, and each good one is read.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

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
    for (name, path, format) in playbooks {
        let bytes = fs::read(&path).unwrap();
        let got = match parse(&bytes, format, &name) {
            Ok(_) => "no fault\n".to_owned(),
            Err(errors) => format!("{errors}\n"),
        };
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        if got != expected {
            wrong.push_str(&format!("{name}\n--- got\n{got}--- expected\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
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
