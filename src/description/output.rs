//! The keys `output_schema` and `output_file`: the result that a run has to give.
//!
//! A schema stands in the description itself, or in a file of its own that is read here. A fault in it is told with its place
//! in the schema, and where the schema stands in a description file with the line.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::origin::Origin;
use super::settings::{Access, Output};
use super::value::{Given, Value};
use crate::agent::exact::first_inexact;
use crate::recordings::path::RelativePath;
use crate::schema::{MAX_SCHEMA_BYTES, Schema, SchemaError};

const SCHEMA: &str = "output_schema";
const FILE: &str = "output_file";

const SCHEMA_REMEDY: &str = "give a JSON schema, or the path of a JSON file with one";

impl Checker<'_> {
    /// The result that is asked for; none when none is.
    pub(crate) fn output(&mut self, workspace_mode: Access) -> Option<Output> {
        let schema = self.output_schema();
        let file = self.output_file(workspace_mode);
        let is_wanted = schema.is_some() || file.is_some();
        is_wanted.then_some(Output { schema, file })
    }

    fn output_schema(&mut self) -> Option<serde_json::Value> {
        let (_, given) = self.take(SCHEMA)?;
        let json = match &given.value {
            Value::Text(text) if text.trim_start().starts_with('{') => {
                self.schema_text(&given, text)
            }
            Value::Text(_) => self.schema_file(&given),
            Value::Table(_) => {
                let json = given.to_json();
                if json.is_none() {
                    let expected = "inf and nan are no numbers of JSON";
                    self.faults
                        .add(ErrorKind::Invalid, SCHEMA, &given, expected);
                }
                json
            }
            Value::Bool(_)
            | Value::Integer(_)
            | Value::OtherNumber(_)
            | Value::List(_)
            | Value::Null => {
                self.faults
                    .add(ErrorKind::Invalid, SCHEMA, &given, SCHEMA_REMEDY);
                None
            }
        }?;
        if let Err(SchemaError { place, problem }) = Schema::compile(&json) {
            let origin = origin_at(&given, &place);
            let shown = json.pointer(&place).and_then(shown_scalar);
            let place = if place.is_empty() { "it" } else { &place };
            let expected = match shown {
                Some(shown) => format!("{place} = {shown} {problem}"),
                None => format!("{place} {problem}"),
            };
            let shown = given.shown();
            self.faults.add_shown(
                ErrorKind::Invalid,
                SCHEMA.to_owned(),
                shown,
                &origin,
                expected,
            );
            return None;
        }
        Some(json)
    }

    /// The schema in a file of its own.
    fn schema_file(&mut self, given: &Given) -> Option<serde_json::Value> {
        let path = plain_text(given).filter(|path| !path.is_empty());
        let path: Option<PathBuf> = path.map(|path| self.absolute(path, &given.origin));
        let text = match path.map(|path| read(&path)) {
            Some(Ok(text)) => text,
            Some(Err(kind)) => {
                self.faults.add(kind, SCHEMA, given, SCHEMA_REMEDY);
                return None;
            }
            None => {
                self.faults
                    .add(ErrorKind::Invalid, SCHEMA, given, SCHEMA_REMEDY);
                return None;
            }
        };
        self.schema_text(given, &text)
    }

    fn schema_text(&mut self, given: &Given, text: &str) -> Option<serde_json::Value> {
        let json = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(error) => {
                self.malformed(given, &error);
                return None;
            }
        };
        if let Some(inexact) = first_inexact(text.as_bytes()) {
            let expected = format!("{inexact}, or leave it out");
            self.faults.add(ErrorKind::Invalid, SCHEMA, given, expected);
            return None;
        }
        Some(json)
    }

    fn malformed(&mut self, given: &Given, error: &serde_json::Error) {
        let cause = format!("not JSON at {}:{}", error.line(), error.column());
        self.faults
            .add(ErrorKind::Malformed { cause }, SCHEMA, given, SCHEMA_REMEDY);
    }

    fn output_file(&mut self, workspace_mode: Access) -> Option<String> {
        let (key, given) = self.take(FILE)?;
        let path = plain_text(&given).and_then(|path| RelativePath::parse(path).ok());
        let Some(path) = path else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return None;
        };
        if workspace_mode == Access::ReadOnly {
            let expected = "it lies in the workspace, whose files stay as they are with workspace_mode = \"read-only\" and \"overlay\"; give \"read-write\", or let the result be the last line of the output";
            self.faults.add(ErrorKind::Conflict, FILE, &given, expected);
        }
        Some(path.as_str().to_owned())
    }
}

/// A value of a schema for an error: on one line, and cut; none of an object or a list, whose place says enough.
fn shown_scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => None,
        serde_json::Value::String(text) => Some(Given::text(text, Origin::Unset).shown()),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Some(value.to_string())
        }
    }
}

/// The text of a file that is no larger than a schema may be.
fn read(path: &Path) -> Result<String, ErrorKind> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_SCHEMA_BYTES).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_string(&mut text))
        .map_err(|error| ErrorKind::Unusable {
            cause: error.to_string(),
        })?;
    if text.len() > MAX_SCHEMA_BYTES {
        let cause = "larger than 256 KiB".to_owned();
        return Err(ErrorKind::Unusable { cause });
    }
    Ok(text)
}

/// The origin of what a JSON pointer leads to: the nearest that has one of its own.
fn origin_at(given: &Given, pointer: &str) -> Origin {
    let mut at = given;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match &at.value {
            Value::Table(entries) => entries
                .iter()
                .find(|(name, _)| *name == token)
                .map(|(_, entry)| entry),
            Value::List(items) => token.parse::<usize>().ok().and_then(|idx| items.get(idx)),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::OtherNumber(_)
            | Value::Text(_)
            | Value::Null => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at.origin.clone()
}
