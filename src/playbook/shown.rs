//! What a fault shows of the value that is wrong: on one line, of bounded length, with every control character visible.
//!
//! Invariant: of a variable or command with an expression nothing is shown but that expression, and of an expression beside
//! a secret no literal text; whatever else stands there may be a secret that somebody wrote into the file.

use super::expression::expression_around;
use super::model::{Parameter, ParameterKind};
use crate::description::secret::MASK;
use crate::document::{Node, Value};

/// Longest value in a fault, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Most characters before and behind the place that is wrong, of a text that is too long to be shown whole.
const MAX_BESIDE_CHARS: usize = 36;

/// A value in a fault: of a list how long it is, of a map its names.
pub(super) fn shown(node: &Node) -> String {
    let text = match &node.value {
        Value::List(items) if !items.is_empty() => counted(&node.value, items.len()),
        Value::Map(entries) if !entries.is_empty() => {
            let names: Vec<String> = entries
                .iter()
                .map(|entry| crate::description::shown_name(&entry.name))
                .collect();
            format!("{{{}}}", names.join(", "))
        }
        Value::List(_) => "an empty list".to_owned(),
        Value::Map(_) => "an empty map".to_owned(),
        Value::Null => node.value.kind().to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::OtherNumber(number) => number.clone(),
        Value::Text(text) => around(text, 0),
    };
    cut(text)
}

/// A list or map of which there is too much.
pub(super) fn counted(value: &Value, n_values: usize) -> String {
    format!("{} of {n_values}", value.kind())
}

/// The value of a variable: its kind only.
pub(super) fn shown_variable(node: &Node) -> String {
    match &node.value {
        Value::List(_) | Value::Map(_) | Value::Null => node.value.kind().to_owned(),
        Value::Bool(_) | Value::Integer(_) | Value::OtherNumber(_) | Value::Text(_) => {
            MASK.to_owned()
        }
    }
}

/// How much of a text with expressions a fault may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of it.
    Whole,
    /// All but the literal texts in its expressions: one of them may be compared with a secret.
    WithoutLiterals,
    /// The expression that is wrong, without literal texts: the other text is that of a variable or command.
    Expression,
}

impl Sight {
    /// Of an expectation or a condition, which may name a secret by mistake.
    pub(super) fn beside_secrets(text: &str, parameters: &[Parameter]) -> Self {
        let is_named = |parameter: &Parameter| match parameter.kind {
            ParameterKind::Secret { .. } => text.contains(&parameter.name),
            ParameterKind::Text { .. }
            | ParameterKind::Integer { .. }
            | ParameterKind::Boolean
            | ParameterKind::Choice { .. } => false,
        };
        if parameters.iter().any(is_named) {
            Self::WithoutLiterals
        } else {
            Self::Whole
        }
    }
}

/// What is wrong in a text at its character number `idx`: the expression in `${{ }}` there, else the text around it.
pub(super) fn shown_at(node: &Node, idx: usize, sight: Sight) -> String {
    let Value::Text(text) = &node.value else {
        return shown(node);
    };
    cut(match (expression_around(text, idx), sight) {
        (Some(expression), Sight::Whole) => around(expression, 0),
        (Some(expression), Sight::WithoutLiterals | Sight::Expression) => {
            around(&without_literals(expression), 0)
        }
        (None, Sight::Whole) => around(text, idx),
        (None, Sight::WithoutLiterals) => around(&without_literals(text), 0),
        (None, Sight::Expression) => MASK.to_owned(),
    })
}

/// An expression with `…` in the place of each text in quotes; one that is not closed goes to the end.
fn without_literals(expression: &str) -> String {
    let mut quote = None;
    let mut kept = String::new();
    for c in expression.chars() {
        match quote {
            Some(open) if open == c => {
                quote = None;
                kept.push(c);
            }
            Some(_) => {}
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                kept.extend([c, '…']);
            }
            None => kept.push(c),
        }
    }
    kept
}

/// A text in quotes, if need be only the part around its character number `idx`.
fn around(text: &str, idx: usize) -> String {
    let first = idx.saturating_sub(MAX_BESIDE_CHARS);
    let is_short = text.chars().nth(MAX_SHOWN_CHARS).is_none();
    if is_short || first == 0 {
        let start: String = text.chars().take(MAX_SHOWN_CHARS).collect();
        return format!("{start:?}");
    }
    let mut part: String = text
        .chars()
        .skip(first)
        .take(2 * MAX_BESIDE_CHARS)
        .collect();
    part.insert(0, '…');
    format!("{part:?}")
}

fn cut(text: String) -> String {
    if text.chars().count() <= MAX_SHOWN_CHARS {
        return text;
    }
    let mut start: String = text.chars().take(MAX_SHOWN_CHARS - 1).collect();
    start.push('…');
    start
}
