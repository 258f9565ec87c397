//! Every key and option with its value and its source: one list, shown as a table or as JSON.
//!
//! Values are those of the public view, in which credentials are masked; what else holds a secret is redacted here.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::flags::Explained;
use crate::description::Origin;
use crate::description::keys::{Exposure, KEYS, Key, Shape, Support};
use crate::description::option_sources::ChosenOption;
use crate::description::secret::MASK;
use crate::redact::Redactor;
use crate::supervisor::setup;

/// Longest value in the table, in characters; `--json` has the whole.
const MAX_VALUE_CHARS: usize = 60;

/// All keys and options.
#[derive(Serialize)]
pub(super) struct View {
    keys: Vec<KeyRow>,
    options: Vec<OptionRow>,
}

#[derive(Serialize)]
struct KeyRow {
    key: String,
    value: Value,
    /// What happens without a value, in words.
    #[serde(skip)]
    default: String,
    source: Source,
}

#[derive(Serialize)]
struct OptionRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'static str>,
    value: Value,
    /// What happens without a value, in words.
    #[serde(skip)]
    default: String,
    source: Source,
}

/// Where a value came from, for machines and for people.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Source {
    Default,
    File {
        path: String,
        line: usize,
        column: usize,
    },
    Environment {
        variable: String,
    },
    Flag {
        flag: String,
    },
    Arguments,
}

impl View {
    pub(super) fn of(explained: &Explained) -> Self {
        let redactor = setup::redactor(&explained.description, &explained.options);
        let public = explained.description.public();
        let origin_of = |name: &str| explained.description.origin_of(name);
        let mut keys = Vec::new();
        for key in KEYS.iter().filter(|key| key.support == Support::Honoured) {
            let value = value_of(&public, key, origin_of(key.name));
            match value {
                Value::Object(entries) if key.shape == Shape::Map && !entries.is_empty() => {
                    for (name, entry) in entries {
                        let name = format!("{}.{name}", key.name);
                        let origin = origin_of(&name);
                        keys.push(KeyRow::new(name, entry, key, origin, &redactor));
                    }
                }
                value => keys.push(KeyRow::new(
                    key.name.to_owned(),
                    value,
                    key,
                    origin_of(key.name),
                    &redactor,
                )),
            }
        }
        let options = explained.chosen.iter();
        let options = options.map(|chosen| OptionRow::new(chosen, explained, &redactor));
        Self {
            keys,
            options: options.collect(),
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn table(&self) -> String {
        let keys = self.keys.iter().map(|row| {
            [
                row.key.clone(),
                cell(&row.value, &row.default),
                row.source.text(),
            ]
        });
        let options = self.options.iter().map(|row| {
            let name = row.flag.as_deref().or(row.variable).unwrap_or_default();
            [
                name.to_owned(),
                cell(&row.value, &row.default),
                row.source.text(),
            ]
        });
        let head = |first: &str| [first, "value", "source"].map(str::to_owned);
        let keys: Vec<_> = std::iter::once(head("key")).chain(keys).collect();
        let options: Vec<_> = std::iter::once(head("option")).chain(options).collect();
        let width = |column: usize| {
            let rows = keys.iter().chain(&options);
            let widths = rows.filter_map(|row| Some(row.get(column)?.chars().count()));
            widths.max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        let line = |[name, value, source]: &[String; 3]| {
            format!("{name:first$}  {value:second$}  {source}\n")
        };
        let keys: String = keys.iter().map(line).collect();
        let options: String = options.iter().map(line).collect();
        format!("{keys}\n{options}")
    }
}

impl KeyRow {
    fn new(name: String, value: Value, key: &Key, origin: &Origin, redactor: &Redactor) -> Self {
        Self {
            key: redactor.redact_text(&name).into_owned(),
            value: redacted(value, redactor),
            default: key.default.replace('`', ""),
            source: Source::of(origin),
        }
    }
}

impl OptionRow {
    fn new(chosen: &ChosenOption, explained: &Explained, redactor: &Redactor) -> Self {
        let recordings = || explained.options.recordings.to_string_lossy().into_owned();
        let value = match (&chosen.value, chosen.variable.flag) {
            (_, Some("recordings")) => Value::String(recordings()),
            (Some(_), _) if chosen.variable.exposure == Exposure::Masked => MASK.into(),
            (Some(value), _) => value.clone().into(),
            (None, _) => Value::Null,
        };
        Self {
            flag: chosen.variable.flag.map(|flag| format!("--{flag}")),
            variable: chosen.variable.name,
            value: redacted(value, redactor),
            default: chosen.variable.default.replace('`', ""),
            source: Source::of(&chosen.origin),
        }
    }
}

impl Source {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Unset => Self::Default,
            Origin::File { path, line, column } => Self::File {
                path: path.clone(),
                line: *line,
                column: *column,
            },
            Origin::Environment(variable) => Self::Environment {
                variable: variable.clone(),
            },
            Origin::Flag(flag) => Self::Flag { flag: flag.clone() },
            Origin::Arguments => Self::Arguments,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { path, line, column } => format!("{path}:{line}:{column}"),
            Self::Environment { variable } => variable.clone(),
            Self::Flag { flag } => flag.clone(),
            Self::Arguments => "after --".to_owned(),
        }
    }
}

/// The value of a key in the public view. A run id that nobody gave is minted anew for each run, so none is shown.
fn value_of(public: &Value, key: &Key, origin: &Origin) -> Value {
    let is_minted = key.name == "run_id" && *origin == Origin::Unset;
    let value = key
        .name
        .split('.')
        .try_fold(public, |value, part| value.get(part));
    match value {
        Some(_) if is_minted => Value::Null,
        Some(value) if key.exposure == Exposure::Masked && key.shape != Shape::Map => {
            if value.is_null() {
                Value::Null
            } else {
                MASK.into()
            }
        }
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn redacted(value: Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => redactor.redact_text(&text).into_owned().into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| redacted(item, redactor))
            .collect(),
        Value::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(name, entry)| {
                    let name = redactor.redact_text(&name).into_owned();
                    (name, redacted(entry, redactor))
                })
                .collect::<Map<String, Value>>(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// A value in one cell: plain text as it is, the default in words where there is none, anything else as JSON; cut.
fn cell(value: &Value, default: &str) -> String {
    let is_plain =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c == '"');
    let text: Cow<'_, str> = match value {
        Value::Null => default.into(),
        Value::String(text) if is_plain(text) => text.into(),
        value => value.to_string().into(),
    };
    if text.chars().count() <= MAX_VALUE_CHARS {
        return text.into_owned();
    }
    let mut start: String = text.chars().take(MAX_VALUE_CHARS - 1).collect();
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_of_bounded_width() {
        for (value, expected) in [
            (Value::Null, "in words"),
            ("plain text".into(), "plain text"),
            ("".into(), r#""""#),
            ("a\nb\u{1b}[2J".into(), r#""a\nb\u001b[2J""#),
            (5.into(), "5"),
            (serde_json::json!(["a", 1]), r#"["a",1]"#),
        ] {
            assert_eq!(cell(&value, "in words"), expected);
        }
        let long = cell(&"é".repeat(1_000).into(), "");
        assert_eq!(long.chars().count(), MAX_VALUE_CHARS);
    }
}
