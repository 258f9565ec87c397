//! When two JSON values are equal: numbers by their value, objects whatever the order of their keys.

use std::collections::HashSet;

use serde_json::Value;

use super::decimal::Decimal;

pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            match (Decimal::of(left), Decimal::of(right)) {
                (Some(left), Some(right)) => left == right,
                (None, _) | (_, None) => left == right,
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, l)| right.get(name).is_some_and(|r| equal(l, r)))
        }
        (left, right) => left == right,
    }
}

/// Positions of the first two items that are equal.
pub(super) fn first_duplicate(items: &[Value]) -> Option<(usize, usize)> {
    let mut seen = HashSet::with_capacity(items.len());
    let second = items.iter().position(|item| {
        let mut text = String::new();
        write_canonical(item, &mut text);
        !seen.insert(text)
    })?;
    let duplicate = items.get(second)?;
    let first = items.iter().position(|item| equal(item, duplicate))?;
    Some((first, second))
}

/// A text that is the same for equal values, and for no others.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Number(number) => match Decimal::of(number) {
            Some(decimal) => out.push_str(&format!("{decimal:?}")),
            None => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, entry) in entries {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(entry, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}
