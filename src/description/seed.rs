//! The bare variable names of the predecessor, which are read only with `STOCKADE_SEED_ENV=1`.
//!
//! Each is another name of a key: its value is checked as if it stood in the variable of the key. Without the switch no
//! bare name has any effect, because any program may use it for something else.

use std::ffi::OsStr;

use super::environment::{self, Environment};
use super::error::ErrorKind;
use super::keys::ENVIRONMENT_PREFIX;
use super::layers::{Faults, Layer, layer_of_table};
use super::origin::Origin;
use super::value::{Given, Value};

/// The variable that switches them on.
const SWITCH: &str = "STOCKADE_SEED_ENV";

/// A bare name of the predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeedName {
    /// The name of the variable.
    pub(crate) name: &'static str,
    /// The key that it stands for; none where nothing of it is left.
    pub(crate) key: Option<&'static str>,
    /// How it is written.
    pub(crate) form: Form,
    /// The value that the predecessor sets where nobody asks for one; it counts as absent.
    pub(crate) unset: Option<&'static str>,
}

/// How a variable of the predecessor is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Plain text.
    Text,
    /// A JSON object.
    Json,
}

const TEXT: SeedName = SeedName {
    name: "",
    key: None,
    form: Form::Text,
    unset: None,
};

const JSON: SeedName = SeedName {
    form: Form::Json,
    ..TEXT
};

/// Every bare name that the predecessor gives to its sandbox, less those of other programs.
pub(crate) const SEED_NAMES: [SeedName; 13] = [
    SeedName {
        name: "DIRECTIVE",
        key: Some("task"),
        ..TEXT
    },
    SeedName {
        name: "MODEL",
        key: Some("model"),
        ..TEXT
    },
    SeedName {
        name: "MAX_STEPS",
        key: Some("max_steps"),
        ..TEXT
    },
    SeedName {
        name: "THINKING",
        key: Some("thinking"),
        ..TEXT
    },
    SeedName {
        name: "WIDTH",
        key: Some("browser.display_width"),
        ..TEXT
    },
    SeedName {
        name: "HEIGHT",
        key: Some("browser.display_height"),
        ..TEXT
    },
    SeedName {
        name: "PROFILE",
        key: Some("profile"),
        unset: Some("default"),
        ..TEXT
    },
    SeedName {
        name: "START_URL",
        key: Some("browser.start_url"),
        ..TEXT
    },
    SeedName {
        name: "PROXY_URL",
        key: Some("browser.proxy"),
        ..TEXT
    },
    SeedName {
        name: "CREDENTIALS_JSON",
        key: Some("credentials"),
        ..JSON
    },
    SeedName {
        name: "GUARDRAILS_JSON",
        key: Some("guardrails"),
        ..JSON
    },
    SeedName {
        name: "RECORDING_JSON",
        ..JSON
    },
    SeedName {
        name: "OUTPUT_SCHEMA_JSON",
        key: Some("output_schema"),
        ..JSON
    },
];

/// Names inside of `GUARDRAILS_JSON` that have no counterpart here, by what they stood for.
const FOREIGN_GUARDRAILS: [&str; 7] = [
    "allowed_domains",
    "max_urls_visited",
    "allow_private_networks",
    "enable_llm_action_check",
    "stuck_window_size",
    "cycle_max_length",
    "cycle_repeats",
];

/// Adds what the bare names give to the layer of the environment, if they are switched on.
pub(crate) fn add(environment: &Environment, layer: &mut Layer, faults: &mut Faults) {
    let Some(switch) = environment.option(SWITCH, faults) else {
        return;
    };
    match &switch.value {
        Value::Text(text) if text == "0" => return,
        Value::Text(text) if text == "1" => {}
        _ => {
            let expected = r#"give "1" to read the bare names of the predecessor, or "0""#;
            faults.add(ErrorKind::Invalid, SWITCH, &switch, expected);
            return;
        }
    }
    for seed in SEED_NAMES {
        let value = environment.get(seed.name);
        let Some(value) = value.filter(|value| seed.unset.is_none_or(|unset| *value != unset))
        else {
            continue;
        };
        let Some(key) = seed.key else {
            let origin = Origin::Environment(seed.name.to_owned());
            let expected = format!(
                "unset it; the keys of recording are other ones, such as {ENVIRONMENT_PREFIX}RECORDING_DURABILITY"
            );
            faults.add_without_value(ErrorKind::Unsupported, seed.name, &origin, expected);
            continue;
        };
        let given = match seed.form {
            Form::Text => environment::text(seed.name, value, faults),
            Form::Json => json(seed.name, value, faults),
        };
        if let Some(mut given) = given {
            if key == "guardrails" {
                refuse_foreign_guardrails(&mut given, faults);
            }
            // A key may be a group, whose table is taken apart as in a file.
            let own = layer_of_table(vec![(key.to_owned(), given)], faults);
            layer.add(own, faults);
        }
    }
}

/// Takes out the guardrails of the predecessor that this build cannot honour, each by its name.
fn refuse_foreign_guardrails(given: &mut Given, faults: &mut Faults) {
    let Value::Table(entries) = &mut given.value else {
        return;
    };
    entries.retain(|(name, given)| {
        let is_foreign = FOREIGN_GUARDRAILS.contains(&name.as_str());
        if is_foreign {
            let expected = "leave it out; docs/guardrails.md lists the guardrails of this build";
            let key = format!("guardrails.{name}");
            faults.add(ErrorKind::Unsupported, key, given, expected);
        }
        !is_foreign
    });
}

/// Reads a JSON object; its text is never shown, because it may hold secrets.
fn json(name: &'static str, value: &OsStr, faults: &mut Faults) -> Option<Given> {
    let origin = Origin::Environment(name.to_owned());
    let kind = match environment::json(value, &origin) {
        Ok(given) if matches!(given.value, Value::Table(_)) => return Some(given),
        Ok(_) => ErrorKind::Invalid,
        Err(kind) => kind,
    };
    faults.add_without_value(kind, name, &origin, "give a JSON object");
    None
}
