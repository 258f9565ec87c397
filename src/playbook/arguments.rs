//! The value of one parameter, checked against what the playbook declares.

use super::model::{Argument, ParameterKind};
use super::{MAX_PARAMETER_BYTES, pattern::Pattern};
use crate::description::{ErrorKind, Secret, closest, shown_name};

/// A value that is given as a text, as a parameter of that kind.
pub(super) fn check_text(
    kind: &ParameterKind,
    text: &str,
) -> Result<Argument, (ErrorKind, String)> {
    if text.contains('\0') {
        let expected = "leave NUL out: no variable can hold it";
        return Err((ErrorKind::Invalid, expected.to_owned()));
    }
    if text.len() > MAX_PARAMETER_BYTES {
        return Err((ErrorKind::OutOfBounds, "give at most 64 KiB".to_owned()));
    }
    match kind {
        ParameterKind::Text { pattern } => {
            check_pattern(pattern.as_ref(), text)?;
            Ok(Argument::Text(text.to_owned()))
        }
        ParameterKind::Secret { pattern } => {
            check_pattern(pattern.as_ref(), text)?;
            Ok(Argument::Secret(Secret::new(text.to_owned())))
        }
        ParameterKind::Integer { min, max } => match text.parse::<i64>() {
            // What the command would be given is not what was written.
            Ok(integer) if integer.to_string() != text => Err((
                ErrorKind::Invalid,
                format!("give {integer}, as it is written"),
            )),
            Ok(integer) if (*min..=*max).contains(&integer) => Ok(Argument::Integer(integer)),
            Ok(_) => Err((ErrorKind::OutOfBounds, bounds(*min, *max))),
            Err(_) => Err((ErrorKind::Invalid, bounds(*min, *max))),
        },
        ParameterKind::Boolean => match text {
            "true" => Ok(Argument::Boolean(true)),
            "false" => Ok(Argument::Boolean(false)),
            _ => Err((ErrorKind::Invalid, "give true or false".to_owned())),
        },
        ParameterKind::Choice { choices } => {
            if choices.iter().any(|choice| choice == text) {
                return Ok(Argument::Text(text.to_owned()));
            }
            let expected = match closest(text, choices.iter().map(String::as_str)) {
                Some(choice) => format!("use {}", shown_name(choice)),
                None => format!("use one of {}", shown_choices(choices)),
            };
            Err((ErrorKind::Invalid, expected))
        }
    }
}

pub(super) fn check_pattern(
    pattern: Option<&Pattern>,
    text: &str,
) -> Result<(), (ErrorKind, String)> {
    match pattern {
        Some(pattern) if !pattern.is_whole(text) => Err((
            ErrorKind::Invalid,
            format!("give a text of which the whole matches {}", pattern.shown()),
        )),
        _ => Ok(()),
    }
}

fn bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => "give a whole number".to_owned(),
        (i64::MIN, max) => format!("give a whole number of at most {max}"),
        (min, i64::MAX) => format!("give a whole number of at least {min}"),
        (min, max) => format!("give a whole number from {min} to {max}"),
    }
}

/// The choices of a parameter for an error: on one line, and not all if they are many.
pub(super) fn shown_choices(choices: &[String]) -> String {
    /// More would hide the error.
    const MAX_LISTED: usize = 12;
    let mut shown: Vec<String> = choices
        .iter()
        .take(MAX_LISTED)
        .map(|choice| shown_name(choice))
        .collect();
    if choices.len() > MAX_LISTED {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
