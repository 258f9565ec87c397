//! What every fault of a playbook or description must tell: key, value, place and remedy; for the tests of both corpora.
//!
//! A fault without a value needs a reason, which follows from the fault itself. Whoever adds a kind of fault that has neither
//! is told by these tests.

use super::{DescriptionError, ErrorKind, Origin};

/// Stands in the corpora wherever a secret may; no fault may show any of it.
pub(crate) const SECRET: &str = "hunter2";

/// Longest value, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// Shortest remedy, in characters: fewer name nothing.
const MIN_REMEDY_CHARS: usize = 5;

/// Why a fault shows no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WithoutValue {
    /// Nothing is given.
    Nothing,
    /// The name is what is wrong; the key ends with it, and what it holds may be a secret.
    Name,
    /// The file cannot be read, and its text may hold secrets; what stands at the place is said in words.
    Unreadable,
}

/// Whether a fault shows its value, and if not, why.
///
/// # Errors
/// What it does not tell. `text` is the file that the fault is of.
pub(crate) fn check(
    fault: &DescriptionError,
    text: Option<&str>,
) -> Result<Option<WithoutValue>, String> {
    let shown = fault.to_string();
    let complain = |what: &str| Err(format!("{what}: {shown}\n"));
    if shown.contains(SECRET) {
        return complain("a secret");
    }
    if shown.chars().any(char::is_control) {
        return complain("a control character");
    }
    if fault.key.is_empty() {
        return complain("no key");
    }
    if fault.expected.chars().count() < MIN_REMEDY_CHARS {
        return complain("no remedy");
    }
    match (&fault.kind, &fault.origin) {
        (ErrorKind::Missing, Origin::Unset | Origin::Arguments) => {}
        (_, Origin::Unset) => return complain("no place"),
        (_, Origin::File { line, column, .. }) if *line == 0 || *column == 0 => {
            return complain("no place");
        }
        _ => {}
    }
    let Some(value) = &fault.value else {
        return match without_value(fault) {
            Some(reason) => Ok(Some(reason)),
            None => complain("neither value nor reason"),
        };
    };
    if value.is_empty() || value.chars().count() > MAX_VALUE_CHARS {
        return complain("a value that is empty or too long");
    }
    match (text, &fault.origin) {
        (Some(text), Origin::File { line, .. }) if !stands_in(value, text, *line) => {
            complain("a value that stands in no line from its place on")
        }
        _ => Ok(None),
    }
}

fn without_value(fault: &DescriptionError) -> Option<WithoutValue> {
    match &fault.kind {
        ErrorKind::Missing => Some(WithoutValue::Nothing),
        // `--env-from` of a variable that is not set.
        ErrorKind::Unusable { cause } if cause == "it is not in the environment" => {
            Some(WithoutValue::Nothing)
        }
        ErrorKind::UnknownKey => Some(WithoutValue::Name),
        ErrorKind::Invalid if fault.expected.starts_with("name it with ") => {
            Some(WithoutValue::Name)
        }
        ErrorKind::Malformed { .. } if matches!(&*fault.key, "config" | "playbook") => {
            Some(WithoutValue::Unreadable)
        }
        ErrorKind::Invalid
        | ErrorKind::OutOfBounds
        | ErrorKind::Conflict
        | ErrorKind::Unsupported
        | ErrorKind::Unusable { .. }
        | ErrorKind::Malformed { .. } => None,
    }
}

/// Whether a scalar that a fault shows is one of the file, not before the line; what else it shows is said in words.
fn stands_in(value: &str, text: &str, line: usize) -> bool {
    let Some(quoted) = value.strip_prefix('"') else {
        let is_number = value.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let is_counted = value.contains(' ');
        return !is_number || is_counted || text.contains(value);
    };
    let part = quoted
        .trim_start_matches('…')
        .split(['\\', '…', '"'])
        .next();
    let part = part.unwrap_or_default();
    let mut behind = text.lines().skip(line.saturating_sub(1));
    behind.any(|line| line.contains(part.trim_end()))
}
