//! Description files: TOML, YAML or JSON, read whole, each value with its line and column.
//!
//! It never quotes the text of the file in an error: the text may hold secrets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::ErrorKind;
use super::layers::{Faults, Layer, layer_of_table};
use super::origin::Origin;
use super::value::{Given, entries_of};
use crate::document::{self, Document, Format, MAX_DOCUMENT_BYTES, Node, Place};

/// The name by which a command line means standard input.
pub(crate) const STDIN: &str = "-";

/// What stands in a place of standard input for the path.
const SHOWN_STDIN: &str = "stdin";

const READABLE: &str = "give a readable TOML, YAML or JSON file of at most 1 MiB";

/// A file to read, and what an error about it names.
pub(crate) struct Described<'a> {
    /// The key or option that named the file.
    pub(crate) key: &'static str,
    /// What it was given.
    pub(crate) given: &'a Given,
    /// The path as people know it; places in the file are shown with it.
    pub(crate) shown_path: &'a str,
    /// The format; without one the ending of the path says it, and TOML is the last guess.
    pub(crate) format: Option<Format>,
}

/// Reads the file, which is relative to `current_dir`, into a layer. Faults leave the layer empty.
pub(crate) fn layer(described: &Described<'_>, current_dir: &Path, faults: &mut Faults) -> Layer {
    let is_stdin = described.key == "config" && described.shown_path == STDIN;
    let path = current_dir.join(described.shown_path);
    let read = if is_stdin {
        read(std::io::stdin().lock())
    } else {
        File::open(&path)
            .map_err(|error| unusable(error.to_string()))
            .and_then(read)
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(kind) => {
            faults.add(kind, described.key, described.given, READABLE);
            return Layer::default();
        }
    };
    let format = described
        .format
        .or_else(|| Format::of_path(&path))
        .unwrap_or(Format::Toml);
    let shown_path = if is_stdin {
        SHOWN_STDIN
    } else {
        described.shown_path
    };
    let origin = |place: Place| Origin::File {
        path: shown_path.to_owned(),
        line: place.line,
        column: place.column,
    };
    let key = described.key;
    match document::read(&bytes, format) {
        Ok(Document {
            root:
                Node {
                    value: document::Value::Map(entries),
                    ..
                },
            ..
        }) => layer_of_table(entries_of(entries, &origin), faults),
        // A YAML file of nothing but comments says nothing.
        Ok(document) if document.root.value == document::Value::Null => Layer::default(),
        Ok(document) => {
            let cause = format!("{} and no map of keys", document.root.value.kind());
            let expected = format!("give one key a line, as in {}", example(format));
            let origin = origin(document.root.place);
            faults.add_without_value(ErrorKind::Malformed { cause }, key, &origin, expected);
            Layer::default()
        }
        Err(error) => {
            let cause = format!("{format}: {}", error.found);
            let kind = ErrorKind::Malformed { cause };
            faults.add_without_value(kind, key, &origin(error.place), error.expected);
            Layer::default()
        }
    }
}

fn example(format: Format) -> &'static str {
    match format {
        Format::Toml => "timeout_seconds = 600",
        Format::Yaml => "timeout_seconds: 600",
        Format::Json => r#"{"timeout_seconds": 600}"#,
    }
}

fn unusable(cause: String) -> ErrorKind {
    ErrorKind::Unusable { cause }
}

/// Reads a file of at most 1 MiB.
pub(super) fn read(source: impl Read) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| unusable(error.to_string()))?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(unusable("larger than 1 MiB".to_owned()));
    }
    Ok(bytes)
}
