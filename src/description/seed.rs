//! The bare variable names of the predecessor, which are read only with `STOCKADE_SEED_ENV=1`.
//!
//! Each is another name of a key: its value is checked as if it stood in the variable of the key. Without the switch no
//! bare name has any effect, because any program may use it for something else.

use std::ffi::OsStr;

use super::environment::{self, Environment};
use super::error::ErrorKind;
use super::layers::{Faults, Layer, layer_of_table};
use super::origin::Origin;
use super::value::{Given, Value};

/// The variable that switches them on.
const SWITCH: &str = "STOCKADE_SEED_ENV";

/// The variable of the predecessor that holds secrets.
const CREDENTIALS: &str = "CREDENTIALS_JSON";

/// A bare name of the predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeedName {
    /// The name of the variable.
    pub(crate) name: &'static str,
    /// The key that it stands for, or the group of keys.
    pub(crate) key: &'static str,
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
    key: "",
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
        key: "task",
        ..TEXT
    },
    SeedName {
        name: "MODEL",
        key: "model",
        ..TEXT
    },
    SeedName {
        name: "MAX_STEPS",
        key: "max_steps",
        ..TEXT
    },
    SeedName {
        name: "THINKING",
        key: "thinking",
        ..TEXT
    },
    SeedName {
        name: "WIDTH",
        key: "browser.display_width",
        ..TEXT
    },
    SeedName {
        name: "HEIGHT",
        key: "browser.display_height",
        ..TEXT
    },
    SeedName {
        name: "PROFILE",
        key: "profile",
        unset: Some("default"),
        ..TEXT
    },
    SeedName {
        name: "START_URL",
        key: "browser.start_url",
        ..TEXT
    },
    SeedName {
        name: "PROXY_URL",
        key: "browser.proxy",
        ..TEXT
    },
    SeedName {
        name: CREDENTIALS,
        key: "credentials",
        ..JSON
    },
    SeedName {
        name: "GUARDRAILS_JSON",
        key: "guardrails",
        ..JSON
    },
    SeedName {
        name: "RECORDING_JSON",
        key: "recording",
        ..JSON
    },
    SeedName {
        name: "OUTPUT_SCHEMA_JSON",
        key: "output_schema",
        ..JSON
    },
];

/// Names inside of `GUARDRAILS_JSON` that have no counterpart here, by what they stood for.
const FOREIGN_GUARDRAILS: [&str; 6] = [
    "allowed_domains",
    "max_urls_visited",
    "allow_private_networks",
    "enable_llm_action_check",
    "stuck_window_size",
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
        let given = match seed.form {
            Form::Text => environment::text(seed.name, value, faults),
            Form::Json => json(seed.name, value, faults),
        };
        if let Some(mut given) = given {
            match seed.key {
                "guardrails" => refuse_foreign_guardrails(&mut given, faults),
                "recording" => take_out_switches(&mut given, faults),
                _ => {}
            }
            // A key may be a group, whose table is taken apart as in a file.
            let own = layer_of_table(vec![(seed.key.to_owned(), given)], faults);
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

/// What `RECORDING_JSON` switches on, and why it cannot be switched off here.
const RECORDING_SWITCHES: [(&str, &str); 4] = [
    ("enabled", "a run is always recorded"),
    ("upload", "the recording stays where --recordings says"),
    (
        "screenshots",
        "recording.artifacts says which files are kept of those that the agent leaves",
    ),
    (
        "trace",
        "recording.artifacts says which files are kept of those that the agent leaves",
    ),
];

/// Takes out the switches of the predecessor: on is what happens anyway, and off is refused, each by its name.
fn take_out_switches(given: &mut Given, faults: &mut Faults) {
    let Value::Table(entries) = &mut given.value else {
        return;
    };
    entries.retain(|(name, given)| {
        if name == "dir" {
            let expected =
                "give the directory of recordings by --recordings or STOCKADE_RECORDINGS";
            faults.add(ErrorKind::Unsupported, "recording.dir", given, expected);
            return false;
        }
        let switch = RECORDING_SWITCHES.iter().find(|(known, _)| known == name);
        if let Some((_, why)) = switch {
            let kind = match given.value {
                Value::Bool(true) => return false,
                Value::Bool(false) => ErrorKind::Unsupported,
                _ => ErrorKind::Invalid,
            };
            let key = format!("recording.{name}");
            faults.add(
                kind,
                key,
                given,
                format!("give true, or leave it out: {why}"),
            );
        }
        switch.is_none()
    });
}

/// Reads a JSON object; its text is never shown where it may hold secrets.
fn json(name: &'static str, value: &OsStr, faults: &mut Faults) -> Option<Given> {
    let origin = Origin::Environment(name.to_owned());
    let expected = "give a JSON object";
    match environment::json(value, &origin) {
        Ok(given) if matches!(given.value, Value::Table(_)) => return Some(given),
        Ok(given) if name != CREDENTIALS => {
            faults.add(ErrorKind::Invalid, name, &given, expected);
        }
        Ok(_) => faults.add_masked(ErrorKind::Invalid, name, &origin, expected),
        Err(kind) => faults.add_masked(kind, name, &origin, expected),
    }
    None
}
