//! Checks of single values: text, numbers, names from a closed set, paths.
//!
//! A value that is refused stands as its default until the end, where any fault refuses the whole description; so all
//! faults are found in one pass.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use super::credential_directory::CredentialDirectory;
use super::environment::Environment;
use super::error::ErrorKind;
use super::keys::Key;
use super::layers::{Faults, Layer};
use super::origin::Origin;
use super::quantity;
use super::value::{Given, Value};

/// The values that are still unchecked, and what checking them needs.
pub(crate) struct Checker<'a> {
    pub(crate) layer: Layer,
    pub(crate) faults: &'a mut Faults,
    pub(crate) environment: &'a Environment,
    pub(crate) current_dir: &'a Path,
    pub(crate) credential_directory: CredentialDirectory,
    pub(crate) stdin: StandardInput,
}

/// What standard input was used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandardInput {
    /// The description was read from it.
    Description,
    /// Nothing yet.
    Unread,
}

/// The units of a number.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Count,
    Seconds,
    Bytes,
}

impl Checker<'_> {
    /// The value of a key, which counts as looked at.
    pub(crate) fn take(&mut self, name: &str) -> Option<(&'static Key, Given)> {
        let key = Key::find(name)?;
        Some((key, self.layer.take(key)?))
    }

    /// A number within bounds.
    pub(crate) fn number(
        &mut self,
        name: &str,
        unit: Unit,
        bounds: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some((key, given)) = self.take(name) else {
            return default;
        };
        let number = match &given.value {
            Value::Integer(integer) => Ok(u64::try_from(*integer).ok()),
            Value::Text(text) => match unit {
                Unit::Count => text.parse().ok(),
                Unit::Seconds => quantity::seconds(text),
                Unit::Bytes => quantity::bytes(text),
            }
            .map(Some)
            .ok_or(()),
            _ => Err(()),
        };
        match number {
            Ok(Some(number)) if bounds.contains(&number) => return number,
            Ok(_) => self
                .faults
                .add_by_table(ErrorKind::OutOfBounds, key, &given),
            Err(()) => self.faults.add_by_table(ErrorKind::Invalid, key, &given),
        }
        default
    }

    /// One of a closed set of names; `planned` are the names that the schema has and this build does not honour.
    pub(crate) fn choice<T: DeserializeOwned>(
        &mut self,
        name: &str,
        planned: &[&str],
        default: T,
    ) -> T {
        let Some((key, given)) = self.take(name) else {
            return default;
        };
        if let Value::Text(text) = &given.value {
            let text: StrDeserializer<'_, serde::de::value::Error> =
                text.as_str().into_deserializer();
            if let Ok(chosen) = T::deserialize(text) {
                return chosen;
            }
        }
        let is_planned = match &given.value {
            Value::Text(text) => planned
                .iter()
                .any(|plan| text == plan || plan.ends_with('=') && text.starts_with(plan)),
            // Lists of layers and tables of network rules are forms of the schema, too.
            Value::List(_) | Value::Table(_) => !planned.is_empty(),
            Value::Bool(_) | Value::Integer(_) | Value::OtherNumber(_) | Value::Null => false,
        };
        let kind = if is_planned {
            ErrorKind::Unsupported
        } else {
            ErrorKind::Invalid
        };
        self.faults.add_by_table(kind, key, &given);
        default
    }

    /// A boolean; text such as a variable holds it spelt out.
    pub(crate) fn switch(&mut self, name: &str, default: bool) -> bool {
        let Some((key, given)) = self.take(name) else {
            return default;
        };
        match &given.value {
            Value::Bool(value) => return *value,
            Value::Text(text) if text == "true" => return true,
            Value::Text(text) if text == "false" => return false,
            _ => self.faults.add_by_table(ErrorKind::Invalid, key, &given),
        }
        default
    }

    /// The absolute form of a path: relative ones begin at the file that they stand in, else at the current directory.
    pub(crate) fn absolute(&self, path: &str, origin: &Origin) -> PathBuf {
        let base = match origin {
            Origin::File { path: file, .. } => {
                let file = self.current_dir.join(file);
                file.parent()
                    .map_or_else(|| file.clone(), Path::to_path_buf)
            }
            Origin::Unset | Origin::Environment(_) | Origin::Flag(_) | Origin::Arguments => {
                self.current_dir.to_path_buf()
            }
        };
        base.join(path)
    }

    /// The existing path behind `path`, with links resolved.
    pub(crate) fn existing(&self, path: &Path) -> Result<PathBuf, ErrorKind> {
        let resolved = path.canonicalize().map_err(|error| ErrorKind::Unusable {
            cause: error.to_string(),
        })?;
        match resolved.to_str() {
            Some(_) => Ok(resolved),
            None => Err(ErrorKind::Unusable {
                cause: "its real path is not UTF-8".to_owned(),
            }),
        }
    }
}

/// The text of a value: a string without NUL, which no argument, variable or path can hold.
pub(crate) fn plain_text(given: &Given) -> Option<&str> {
    match &given.value {
        Value::Text(text) if !text.contains('\0') => Some(text),
        _ => None,
    }
}

/// Whether `name` can name an environment variable: letters, digits and `_`, the first no digit.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
