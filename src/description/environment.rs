//! The environment as a source: `STOCKADE_<KEY>`, given as a parameter and never read from the process.
//!
//! An empty variable counts as absent. Names that Kubernetes makes are passed over; every other unknown name is a fault.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::error::ErrorKind;
use super::keys::{ENVIRONMENT_PREFIX, KEYS, Key, Shape, environment_name};
use super::layers::{Faults, Layer, remedy, suggestion};
use super::origin::Origin;
use super::seed;
use super::value::Given;
use super::variables::{VARIABLES, Variable, is_service_link};
use crate::document::{self, Format};

/// The environment that the process was started with. It has no `Debug`: it holds secrets.
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// The value of a variable; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.get_even_empty(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable.
    pub(crate) fn get_even_empty(&self, name: &str) -> Option<&OsStr> {
        self.0
            .iter()
            .find(|(existing, _)| existing == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The value of an option of the supervisor as text; one that is not UTF-8 is a fault.
    pub(crate) fn option(&self, name: &'static str, faults: &mut Faults) -> Option<Given> {
        let value = self.get(name)?;
        text(name, value, faults)
    }
}

/// Reads all keys of the run description from the environment into a layer.
pub(crate) fn layer(environment: &Environment, faults: &mut Faults) -> Layer {
    let mut ours: Vec<(&OsStr, &OsStr)> = environment
        .0
        .iter()
        .filter(|(name, _)| name.as_bytes().starts_with(ENVIRONMENT_PREFIX.as_bytes()))
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
        .collect();
    ours.sort_unstable();
    let mut layer = Layer::default();
    for (name, value) in ours {
        let name = name.to_string_lossy();
        let suffix = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(&name);
        if let Some(key) = Key::find_in_environment(suffix) {
            if !value.is_empty()
                && let Some(given) = given(key, &name, value, faults)
            {
                layer.insert(key, given, faults);
            }
        } else if Variable::find(&name).is_none() && !is_service_link(suffix, value.as_bytes()) {
            unknown_variable(&name, faults);
        }
    }
    seed::add(environment, &mut layer, faults);
    layer
}

fn given(key: &Key, name: &str, value: &OsStr, faults: &mut Faults) -> Option<Given> {
    let given = text(name, value, faults)?;
    match key.shape {
        Shape::Scalar => Some(given),
        Shape::List | Shape::Map => match json(value, &given.origin) {
            Ok(read) => Some(read),
            Err(kind) => {
                let example = match key.shape {
                    Shape::List => r#"a JSON list such as ["a", "b"]"#,
                    Shape::Scalar | Shape::Map => r#"a JSON object such as {"NAME": "value"}"#,
                };
                let expected = format!("write {example}; {}", remedy(key));
                faults.add(kind, key.name, &given, expected);
                None
            }
        },
    }
}

/// Reads a variable that is written as JSON; every part of it has the same origin. The error never quotes it.
pub(crate) fn json(value: &OsStr, origin: &Origin) -> Result<Given, ErrorKind> {
    let read = document::read(value.as_bytes(), Format::Json);
    let document = read.map_err(|error| ErrorKind::Malformed {
        cause: format!("not JSON at column {}: {}", error.place.column, error.found),
    })?;
    Ok(Given::of_node(document.root, &|_| origin.clone()))
}

/// Reads a variable as text; one that is not UTF-8 is a fault.
pub(crate) fn text(name: &str, value: &OsStr, faults: &mut Faults) -> Option<Given> {
    let origin = Origin::Environment(name.to_owned());
    match value.to_str() {
        Some(text) => Some(Given::text(text, origin)),
        None => {
            let shown = "bytes that are not UTF-8".to_owned();
            let (kind, name) = (ErrorKind::Invalid, name.to_owned());
            faults.add_shown(kind, name, shown, &origin, "give UTF-8 text");
            None
        }
    }
}

fn unknown_variable(name: &str, faults: &mut Faults) {
    let of_keys: Vec<String> = KEYS
        .iter()
        .flat_map(Key::names)
        .map(environment_name)
        .collect();
    let known = of_keys
        .iter()
        .map(String::as_str)
        .chain(VARIABLES.iter().filter_map(|variable| variable.name));
    // The common prefix would make every name look similar.
    let suffix = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let known = known.filter_map(|name| name.strip_prefix(ENVIRONMENT_PREFIX));
    let otherwise = match suffix.ends_with("PORT") {
        true => "the port is given by --listen or STOCKADE_LISTEN=ADDRESS:PORT; unset it",
        false => "docs/configuration.md lists all variables; unset it",
    };
    let expected = suggestion(suffix, known, otherwise).replace(
        "did you mean ",
        &format!("did you mean {ENVIRONMENT_PREFIX}"),
    );
    let origin = Origin::Environment(name.to_owned());
    faults.add_without_value(ErrorKind::UnknownKey, name, &origin, expected);
}
