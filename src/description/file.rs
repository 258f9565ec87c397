//! The description file: TOML, read whole, each value with its line and column.
//!
//! It never quotes the text of the file in an error: the text may hold secrets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ErrorKind;
use super::layers::{Faults, Layer, layer_of_table};
use super::origin::Origin;
use super::value::{Given, Value};

/// Largest description file, in bytes: far more than any description, and little enough to be read at every start.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// A file to read, and what an error about it names.
pub(crate) struct Described<'a> {
    /// The key or option that named the file.
    pub(crate) key: &'static str,
    /// What it was given.
    pub(crate) given: &'a Given,
    /// The path as people know it; places in the file are shown with it.
    pub(crate) shown_path: &'a str,
}

/// Reads the file at `path` into a layer. Faults leave the layer empty.
pub(crate) fn layer(path: &Path, described: &Described<'_>, faults: &mut Faults) -> Layer {
    let Described {
        key,
        given: shown,
        shown_path,
    } = *described;
    let extension = path.extension().and_then(|extension| extension.to_str());
    if let Some(format @ ("yaml" | "yml" | "json")) = extension {
        let expected =
            format!("write the description in TOML, in a .toml file and not in .{format}");
        faults.add(ErrorKind::Unsupported, key, shown, expected);
        return Layer::default();
    }
    let text = match read(path) {
        Ok(text) => text,
        Err(kind) => {
            faults.add(
                kind,
                key,
                shown,
                "give a readable TOML file of at most 1 MiB",
            );
            return Layer::default();
        }
    };
    let places = Places::new(shown_path, &text);
    match DeTable::parse(&text) {
        Ok(table) => layer_of_table(places.entries(table.get_ref()), faults),
        Err(error) => {
            let place = error.span().map_or(0, |span| span.start);
            let cause = error.message().to_owned();
            let expected = "give one value a line, as in timeout_seconds = 600";
            faults.add_without_value(
                ErrorKind::Malformed { cause },
                key,
                &places.origin(place),
                expected,
            );
            Layer::default()
        }
    }
}

fn read(path: &Path) -> Result<String, ErrorKind> {
    let unusable = |cause: String| ErrorKind::Unusable { cause };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| unusable(error.to_string()))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(unusable("larger than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| unusable("not UTF-8".to_owned()))
}

/// The positions of a text: turns byte offsets into lines and columns.
struct Places<'a> {
    path: String,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(path: &str, text: &'a str) -> Self {
        let after_newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|idx| idx + 1);
        Self {
            path: path.to_owned(),
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let line_start = line
            .checked_sub(1)
            .and_then(|idx| self.line_starts.get(idx))
            .copied()
            .unwrap_or(0);
        let before = self.text.get(line_start..offset).unwrap_or("");
        Origin::File {
            path: self.path.clone(),
            line,
            column: before.chars().count() + 1,
        }
    }

    fn entries(&self, table: &DeTable<'_>) -> Vec<(String, Given)> {
        table
            .iter()
            .map(|(name, value)| {
                let given = Given {
                    value: self.value(value),
                    origin: self.origin(name.span().start),
                };
                (name.get_ref().to_string(), given)
            })
            .collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => Value::OtherNumber(integer.to_string()),
                }
            }
            DeValue::Float(float) => Value::OtherNumber(float.to_string()),
            DeValue::Boolean(bool) => Value::Bool(*bool),
            DeValue::Datetime(datetime) => Value::Text(datetime.to_string()),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Given {
                        value: self.value(item),
                        origin: self.origin(item.span().start),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.entries(table)),
        }
    }
}
