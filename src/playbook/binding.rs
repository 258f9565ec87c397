//! The values of all parameters in one run, from what the run gives.

use std::collections::BTreeMap;

use super::arguments::{check_pattern, check_text};
use super::model::{Argument, Parameter, ParameterKind, Playbook};
use crate::description::{ErrorKind, Faults, Given, Origin, Secret, Value, closest, shown_name};

/// Reads a secret from where it was said to be: a file, a variable, a descriptor or the value itself.
pub(crate) type ReadSecret<'a> =
    dyn FnMut(&Given) -> Result<Secret, (ErrorKind, &'static str)> + 'a;

/// The value of every parameter of a run, by name; what is wrong is added to `faults`.
///
/// `playbook_origin` is where the playbook was named: there a required parameter is missing. Where what was given could not be
/// read, nothing is known to be missing, and `given` is none.
pub(crate) fn bind(
    playbook: &Playbook,
    given: Option<&[(String, Given)]>,
    playbook_origin: &Origin,
    read_secret: &mut ReadSecret<'_>,
    faults: &mut Faults,
) -> BTreeMap<String, Argument> {
    let mut arguments = BTreeMap::new();
    for (name, given) in given.unwrap_or_default() {
        let key = format!("parameters.{}", shown_name(name));
        let Some(parameter) = playbook.parameter(name) else {
            let known = || playbook.parameters.iter().map(|known| known.name.as_str());
            let expected = match closest(name, known()) {
                Some(name) => format!("use {name}"),
                None if playbook.parameters.is_empty() => "the playbook has none".to_owned(),
                None => format!("use {}", known().collect::<Vec<_>>().join(", ")),
            };
            faults.add_without_value(ErrorKind::UnknownKey, key, &given.origin, expected);
            continue;
        };
        match argument(&parameter.kind, given, read_secret) {
            Ok(argument) => {
                arguments.insert(name.clone(), argument);
            }
            Err((kind, expected)) => match &parameter.kind {
                ParameterKind::Secret { .. } => {
                    faults.add_masked(kind, key, &given.origin, expected);
                }
                ParameterKind::Text { .. }
                | ParameterKind::Integer { .. }
                | ParameterKind::Boolean
                | ParameterKind::Choice { .. } => {
                    faults.add_shown(kind, key, given.shown(), &given.origin, expected);
                }
            },
        }
    }
    for parameter in &playbook.parameters {
        let is_given =
            |given: &[(String, Given)]| given.iter().any(|(name, _)| *name == parameter.name);
        if given.is_some_and(is_given) {
            continue;
        }
        if parameter.is_required && given.is_some() {
            let key = format!("parameters.{}", parameter.name);
            let form = match &parameter.kind {
                ParameterKind::Secret { .. } => "file:PATH",
                ParameterKind::Text { .. }
                | ParameterKind::Integer { .. }
                | ParameterKind::Boolean
                | ParameterKind::Choice { .. } => "VALUE",
            };
            let expected = format!("give --param {}={form}", parameter.name);
            faults.add_without_value(ErrorKind::Missing, key, playbook_origin, expected);
        } else {
            arguments.insert(parameter.name.clone(), absent(parameter));
        }
    }
    arguments
}

/// What a parameter is when a run does not give it.
fn absent(parameter: &Parameter) -> Argument {
    if let Some(default) = &parameter.default {
        return default.clone();
    }
    match &parameter.kind {
        ParameterKind::Text { .. } | ParameterKind::Choice { .. } => Argument::Text(String::new()),
        ParameterKind::Integer { .. } => Argument::Integer(0),
        ParameterKind::Boolean => Argument::Boolean(false),
        ParameterKind::Secret { .. } => Argument::Secret(Secret::new(String::new())),
    }
}

fn argument(
    kind: &ParameterKind,
    given: &Given,
    read_secret: &mut ReadSecret<'_>,
) -> Result<Argument, (ErrorKind, String)> {
    if let ParameterKind::Secret { pattern } = kind {
        let secret = read_secret(given).map_err(|(kind, expected)| (kind, expected.to_owned()))?;
        check_pattern(pattern.as_ref(), secret.expose())?;
        return Ok(Argument::Secret(secret));
    }
    match &given.value {
        Value::Text(text) => check_text(kind, text),
        Value::Integer(integer) => check_text(kind, &integer.to_string()),
        Value::Bool(bool) => check_text(kind, &bool.to_string()),
        Value::OtherNumber(number) => check_text(kind, number),
        Value::List(_) | Value::Table(_) | Value::Null => Err((
            ErrorKind::Invalid,
            "give one text, number or boolean".to_owned(),
        )),
    }
}
