//! Untyped values as they were given, each with its origin: the one form that file, environment and flags are read into.
//!
//! It checks nothing but form; what a key accepts is the validator's business.

use super::error::MAX_SHOWN_CHARS;
use super::origin::Origin;
use crate::document::{self, Entry, Node, Place};

/// A value with the place it came from.
#[derive(Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value before it is checked. It has no `Debug`: it may be a secret.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    /// A number that is no 64-bit integer, as it was written.
    OtherNumber(String),
    Text(String),
    List(Vec<Given>),
    Table(Vec<(String, Given)>),
    Null,
}

impl Given {
    pub(crate) fn text(text: impl Into<String>, origin: Origin) -> Self {
        Self {
            value: Value::Text(text.into()),
            origin,
        }
    }

    /// Takes a part of a document; `origin` turns its places into origins.
    pub(crate) fn of_node(node: Node, origin: &impl Fn(Place) -> Origin) -> Self {
        let value = match node.value {
            document::Value::Null => Value::Null,
            document::Value::Bool(bool) => Value::Bool(bool),
            document::Value::Integer(integer) => Value::Integer(integer),
            document::Value::OtherNumber(number) => Value::OtherNumber(number),
            document::Value::Text(text) => Value::Text(text),
            document::Value::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| Self::of_node(item, origin))
                    .collect(),
            ),
            document::Value::Map(entries) => Value::Table(entries_of(entries, origin)),
        };
        Self {
            value,
            origin: origin(node.place),
        }
    }

    /// The value as JSON; none when it has a number that JSON cannot hold.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        Some(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => (*bool).into(),
            Value::Integer(integer) => (*integer).into(),
            Value::OtherNumber(number) => {
                serde_json::Value::Number(serde_json::from_str(number).ok()?)
            }
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect::<Option<_>>()?,
            Value::Table(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|(name, entry)| Some((name.clone(), entry.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    /// The names of a table as they stand in an error, for one whose values are not to be shown.
    pub(crate) fn shown_names(&self) -> String {
        match &self.value {
            Value::Table(entries) => {
                let names: Vec<String> = entries.iter().map(|(name, _)| shown_name(name)).collect();
                cut(&format!("{{{}}}", names.join(", ")))
            }
            _ => super::secret::MASK.to_owned(),
        }
    }

    /// The value as it stands in an error: one line, at most 80 characters.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        self.value.render(&mut text);
        cut(&text)
    }
}

/// The entries of a map of a document; the origin of each is that of its name.
pub(crate) fn entries_of(
    entries: Vec<Entry>,
    origin: &impl Fn(Place) -> Origin,
) -> Vec<(String, Given)> {
    entries
        .into_iter()
        .map(|entry| {
            let given = Given {
                origin: origin(entry.name_place),
                ..Given::of_node(entry.node, origin)
            };
            (entry.name, given)
        })
        .collect()
}

impl Value {
    fn render(&self, out: &mut String) {
        // A long text is cut before it is escaped, so that an error about a huge value stays cheap.
        if out.len() > 4 * MAX_SHOWN_CHARS {
            return;
        }
        match self {
            Self::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
            Self::Integer(integer) => out.push_str(&integer.to_string()),
            Self::OtherNumber(number) => out.push_str(number),
            Self::Text(text) => {
                let start: String = text.chars().take(MAX_SHOWN_CHARS + 1).collect();
                out.push_str(&format!("{start:?}"));
            }
            Self::List(items) => {
                out.push('[');
                for (idx, item) in items.iter().enumerate() {
                    if idx > 0 {
                        out.push_str(", ");
                    }
                    item.value.render(out);
                }
                out.push(']');
            }
            Self::Table(entries) => {
                out.push('{');
                for (idx, (name, entry)) in entries.iter().enumerate() {
                    if idx > 0 {
                        out.push_str(", ");
                    }
                    out.push_str(&shown_name(name));
                    out.push_str(" = ");
                    entry.value.render(out);
                }
                out.push('}');
            }
            Self::Null => out.push_str("null"),
        }
    }
}

/// A name from outside as it stands in an error: quoted and escaped unless it is plain.
pub(crate) fn shown_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !name.is_empty() && name.bytes().all(is_plain) {
        cut(name)
    } else {
        let start: String = name.chars().take(MAX_SHOWN_CHARS + 1).collect();
        cut(&format!("{start:?}"))
    }
}

/// `text` cut to the longest value that an error shows.
fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN_CHARS {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(MAX_SHOWN_CHARS - 1).collect();
    start.push('…');
    start
}
