//! The maps of the run description that hold plain text: the workload's environment and the labels.

use std::collections::BTreeMap;

use super::checker::{Checker, is_variable_name};
use super::error::ErrorKind;
use super::keys::{ENVIRONMENT_PREFIX, Key};
use super::value::{Given, Value, shown_name};

/// Largest argument or `NAME=value` that the kernel takes, in bytes: MAX_ARG_STRLEN (execve(2)) less the final NUL.
pub(crate) const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;

/// Most labels of a run, and most credentials: they are kept in memory and shown in every list of runs.
pub(crate) const MAX_ENTRIES: usize = 64;

const MAX_LABEL_NAME_CHARS: usize = 63;
const MAX_LABEL_VALUE_CHARS: usize = 256;

/// What is right for the name of a variable.
pub(crate) const VARIABLE_NAME_REMEDY: &str =
    "name it with letters, digits and _, not with a digit first, and not STOCKADE_…, which is ours";

impl Checker<'_> {
    /// The environment variables of the workload.
    pub(crate) fn environment_variables(&mut self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (name, given) in self.entries("env") {
            let key = format!("env.{}", shown_name(&name));
            if !is_variable_name(&name) || name.starts_with(ENVIRONMENT_PREFIX) {
                let kind = ErrorKind::Invalid;
                self.faults
                    .add_without_value(kind, key, &given.origin, VARIABLE_NAME_REMEDY);
                continue;
            }
            match scalar_text(&given.value) {
                Some(value) if name.len() + 1 + value.len() > MAX_ARGUMENT_BYTES => {
                    let expected = "give at most 131,071 bytes, the name and = included";
                    self.faults
                        .add(ErrorKind::OutOfBounds, key, &given, expected);
                }
                Some(value) if !value.contains('\0') => {
                    variables.insert(name, value);
                }
                _ => {
                    let expected = "give text without NUL, a number or a boolean";
                    self.faults.add(ErrorKind::Invalid, key, &given, expected);
                }
            }
        }
        variables
    }

    /// The labels of the run.
    pub(crate) fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let entries = self.bounded_entries("labels");
        for (name, given) in entries {
            let key = format!("labels.{}", shown_name(&name));
            let name_chars = name.chars().count();
            if name_chars == 0
                || name_chars > MAX_LABEL_NAME_CHARS
                || name.chars().any(char::is_control)
            {
                let expected = "name it with 1 to 63 characters, none of them a control character";
                let kind = ErrorKind::Invalid;
                self.faults
                    .add_without_value(kind, key, &given.origin, expected);
                continue;
            }
            match scalar_text(&given.value) {
                Some(value) if value.chars().count() > MAX_LABEL_VALUE_CHARS => {
                    let expected = "give at most 256 characters";
                    self.faults
                        .add(ErrorKind::OutOfBounds, key, &given, expected);
                }
                Some(value) if !value.chars().any(char::is_control) => {
                    labels.insert(name, value);
                }
                _ => {
                    let expected = "give text without control characters, a number or a boolean";
                    self.faults.add(ErrorKind::Invalid, key, &given, expected);
                }
            }
        }
        labels
    }

    /// The entries of a map, at most 64.
    pub(crate) fn bounded_entries(&mut self, name: &str) -> Vec<(String, Given)> {
        let mut entries = self.entries(name);
        if let Some((_, given)) = entries.get(MAX_ENTRIES) {
            let expected = format!("give at most {MAX_ENTRIES} entries, not {}", entries.len());
            self.faults
                .add_excess(name, entries.len(), &given.origin, expected);
            entries.truncate(MAX_ENTRIES);
        }
        entries
    }

    fn entries(&mut self, name: &str) -> Vec<(String, Given)> {
        let Some((key, given)): Option<(&Key, Given)> = self.take(name) else {
            return Vec::new();
        };
        match given.value {
            Value::Table(entries) => entries,
            _ => {
                self.faults.add_by_table(ErrorKind::Invalid, key, &given);
                Vec::new()
            }
        }
    }
}

/// Text as it is, numbers and booleans as they are written.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(integer) => Some(integer.to_string()),
        Value::OtherNumber(number) => Some(number.clone()),
        Value::Bool(bool) => Some(bool.to_string()),
        Value::List(_) | Value::Table(_) | Value::Null => None,
    }
}
