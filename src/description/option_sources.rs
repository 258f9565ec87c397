//! Where each option of the supervisor comes from, for those who ask what a run would do.
//!
//! It follows the one rule of the options, the flag before the variable, and checks nothing.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::origin::Origin;
use super::value::{Given, Value};
use super::variables::{Reader, VARIABLES, Variable};

/// An option of the supervisor as it was given. It has no `Debug`: the value may be a token.
#[expect(
    missing_debug_implementations,
    reason = "the value of an option may be a token"
)]
#[derive(Clone, PartialEq, Eq)]
pub struct ChosenOption {
    /// Its row in the reference.
    pub variable: &'static Variable,
    /// The text that was given; absent for the default.
    pub value: Option<String>,
    /// Who gave it.
    pub origin: Origin,
}

/// Every option of the supervisor, in the order of the reference.
pub(crate) fn chosen_options(
    flags: &BTreeMap<&'static str, Given>,
    file: Option<&Given>,
    environment: &Environment,
) -> Vec<ChosenOption> {
    VARIABLES
        .iter()
        .filter(|variable| variable.reader == Reader::Supervisor)
        .map(|variable| {
            let of_flag = variable.flag.and_then(|flag| match flag {
                "config" => file,
                flag => flags.get(flag),
            });
            if let Some(given) = of_flag {
                return ChosenOption {
                    variable,
                    value: Some(text_of(given)),
                    origin: given.origin.clone(),
                };
            }
            let in_environment = variable
                .name
                .and_then(|name| Some((name, environment.get(name)?)));
            match in_environment {
                Some((name, value)) => ChosenOption {
                    variable,
                    value: Some(value.to_string_lossy().into_owned()),
                    origin: Origin::Environment(name.to_owned()),
                },
                None => ChosenOption {
                    variable,
                    value: None,
                    origin: Origin::Unset,
                },
            }
        })
        .collect()
}

fn text_of(given: &Given) -> String {
    match &given.value {
        Value::Text(text) => text.clone(),
        Value::Bool(_)
        | Value::Integer(_)
        | Value::OtherNumber(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Null => given.shown(),
    }
}
