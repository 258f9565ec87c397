//! The bare names of the predecessor: nothing without the switch, keys with it.

use std::path::Path;

use super::resolve_args;
use crate::description::keys::{KEYS, Key};
use crate::description::seed::SEED_NAMES;

#[test]
fn bare_names_are_read_only_with_the_switch() {
    let given = [
        ("DIRECTIVE", "do"),
        ("MAX_STEPS", "9"),
        ("PROFILE", "default"),
        ("CREDENTIALS_JSON", r#"{"LOGIN": "correct-horse"}"#),
    ];
    let (run, _) = resolve_args("-- true", &given, "").unwrap();
    assert_eq!((run.task, run.max_steps), (None, 50));
    assert!(run.credentials.is_empty());
    let switched: Vec<_> = given
        .into_iter()
        .chain([("STOCKADE_SEED_ENV", "1")])
        .collect();
    let (run, _) = resolve_args("-- true", &switched, "").unwrap();
    assert_eq!((run.task.as_deref(), run.max_steps), (Some("do"), 9));
    assert_eq!(run.credentials["LOGIN"].secret.expose(), "correct-horse");
    assert_eq!(run.profile, None);
    let origin = run.origin_of("max_steps").to_string();
    assert_eq!(origin, "from the environment variable MAX_STEPS");
    let (run, _) = resolve_args("--max-steps 3 -- true", &switched, "").unwrap();
    assert_eq!(run.max_steps, 3);
}

#[test]
fn guardrails_that_both_have_are_taken_over_and_others_are_refused_by_name() {
    let resolve = |guardrails: &str| {
        let environment = [("STOCKADE_SEED_ENV", "1"), ("GUARDRAILS_JSON", guardrails)];
        resolve_args("-- true", &environment, "")
    };
    let (run, _) = resolve(r#"{"max_consecutive_errors": 4}"#).unwrap();
    let found = &run.public()["guardrails"]["max_consecutive_errors"];
    assert_eq!(found, 4);
    let (run, _) = resolve(r#"{"blocked_domains": ["*.gov", "chase.com."]}"#).unwrap();
    let found = &run.public()["guardrails"]["blocked_domains"];
    assert_eq!(*found, serde_json::json!(["gov", "chase.com"]));
    let error = resolve(r#"{"max_consecutive_errors": 4, "allowed_domains": ["a.org"]}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        "guardrails.allowed_domains = [\"a.org\"] from the environment variable GUARDRAILS_JSON is UNSUPPORTED in this build; leave it out; docs/guardrails.md lists the guardrails of this build"
    );
}

#[test]
fn the_switches_of_recording_may_be_on_and_the_cycle_has_its_other_name() {
    let resolve = |name: &'static str, value: &str| {
        let environment = [("STOCKADE_SEED_ENV", "1"), (name, value)];
        resolve_args("-- true", &environment, "").map(|(run, _)| run.public())
    };
    let all = r#"{"enabled": true, "screenshots": true, "trace": true, "upload": true, "durability": "durable"}"#;
    assert_eq!(
        resolve("RECORDING_JSON", all).unwrap()["recording"]["durability"],
        "durable"
    );
    assert_eq!(
        resolve("RECORDING_JSON", r#"{"upload": false}"#)
            .unwrap_err()
            .to_string(),
        "recording.upload = false from the environment variable RECORDING_JSON is UNSUPPORTED in this build; give true, or leave it out: the recording stays where --recordings says"
    );
    assert_eq!(
        resolve("RECORDING_JSON", r#"{"trace": "yes"}"#)
            .unwrap_err()
            .to_string(),
        "recording.trace = \"yes\" from the environment variable RECORDING_JSON is invalid; give true, or leave it out: recording.artifacts says which files are kept of those that the agent leaves"
    );
    let run = resolve("GUARDRAILS_JSON", r#"{"cycle_max_length": 2}"#).unwrap();
    assert_eq!(run["guardrails"]["stuck_cycle"], 2);
    let error = resolve("GUARDRAILS_JSON", r#"{"cycle_max_length": 9}"#).unwrap_err();
    assert!(
        error.to_string().starts_with("guardrails.stuck_cycle = 9 "),
        "{error}"
    );
}

#[test]
fn every_bare_name_has_an_effect_or_is_refused_by_name() {
    for seed in SEED_NAMES {
        let environment = [("STOCKADE_SEED_ENV", "1"), (seed.name, "\u{7f}")];
        match resolve_args("-- true", &environment, "") {
            Ok((run, _)) => {
                assert!(run.is_explicit(seed.key), "{} is ignored", seed.name);
            }
            Err(errors) => assert!(errors.to_string().contains(seed.name), "{errors}"),
        }
        let is_key = |name| Key::find(name).is_some() || Key::is_group(name);
        assert!(is_key(seed.key), "{} leads nowhere", seed.name);
    }
}

#[test]
fn the_documentation_has_every_bare_name() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    for seed in SEED_NAMES {
        let row = format!("| `{}` | `{}` |", seed.name, seed.key);
        assert!(text.contains(&row), "{row} is missing");
    }
    assert!(KEYS.len() > SEED_NAMES.len());
}
