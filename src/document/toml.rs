//! TOML as a located tree.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::lines::Lines;
use super::{Entry, Node, NodeBudget, Place, SyntaxError, Value, check_depth};

pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        SyntaxError::new(
            lines.place(offset),
            error.message(),
            remedy(error.message()),
        )
    })?;
    let mut reader = Reader {
        lines,
        budget: NodeBudget::new(),
    };
    let entries = reader.entries(table.get_ref(), 1, Place::START)?;
    Ok(Node {
        value: Value::Map(entries),
        place: Place::START,
    })
}

/// What would be right, by a part of what the parser says; the first one that fits.
const REMEDIES: [(&str, &str); 5] = [
    (
        "duplicate key",
        "give each key once, and each table in brackets once",
    ),
    ("comma", "put a comma between the items of a list"),
    ("must be quoted", "put the text in quotes"),
    (
        "invalid basic string",
        "close the text with a double quote on the same line",
    ),
    (
        "invalid literal string",
        "close the text with a single quote on the same line",
    ),
];

fn remedy(message: &str) -> &'static str {
    let fitting = REMEDIES.iter().find(|(part, _)| message.contains(part));
    fitting.map_or(
        "give one value a line, as in timeout_seconds = 600",
        |(_, remedy)| remedy,
    )
}

struct Reader<'a> {
    lines: Lines<'a>,
    budget: NodeBudget,
}

impl Reader<'_> {
    fn entries(
        &mut self,
        table: &DeTable<'_>,
        depth: usize,
        place: Place,
    ) -> Result<Vec<Entry>, SyntaxError> {
        check_depth(depth, place)?;
        let mut entries = Vec::with_capacity(table.len());
        for (name, value) in table {
            entries.push(Entry {
                name: name.get_ref().to_string(),
                name_place: self.lines.place(name.span().start),
                node: self.node(value, depth)?,
            });
        }
        entries.sort_by_key(|entry| entry.name_place);
        Ok(entries)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, SyntaxError> {
        let place = self.lines.place(value.span().start);
        self.budget.take(place)?;
        let value = match value.get_ref() {
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
            DeValue::Array(items) => {
                check_depth(depth + 1, place)?;
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(self.node(item, depth + 1)?);
                }
                Value::List(list)
            }
            DeValue::Table(table) => Value::Map(self.entries(table, depth + 1, place)?),
        };
        Ok(Node { value, place })
    }
}
