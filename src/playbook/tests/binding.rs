//! The values of parameters in one run.

use crate::description::{Faults, Given, Origin, Secret, Value};

use super::*;

const PLAYBOOK: &str = r#"
version: 1
name: demo
parameters:
  branch: {default: main, pattern: "[\\w./-]+"}
  retries: {type: integer, default: 3, min: 0, max: 10}
  dry: {type: boolean}
  level: {type: choice, choices: [low, high], default: low}
  token: {type: secret, required: true, pattern: ".{8,}"}
  note: {}
steps:
  - id: build
    run: make
"#;

fn given(name: &str, value: Value) -> (String, Given) {
    let origin = Origin::flag("param");
    (name.to_owned(), Given { value, origin })
}

fn bound(given: &[(String, Given)]) -> Result<BTreeMap<String, Argument>, String> {
    let mut faults = Faults::default();
    let mut read_secret = |given: &Given| match &given.value {
        Value::Text(text) => Ok(Secret::new(text.clone())),
        _ => Err((ErrorKind::Invalid, "give file:PATH, env:VAR or fd:N")),
    };
    let origin = Origin::flag("playbook");
    let arguments = bind(
        &read(PLAYBOOK),
        Some(given),
        &origin,
        &mut read_secret,
        &mut faults,
    );
    if faults.is_empty() {
        return Ok(arguments);
    }
    let lines: Vec<String> = faults
        .into_errors()
        .iter()
        .map(ToString::to_string)
        .collect();
    Err(lines.join("\n"))
}

#[test]
fn a_run_gets_what_it_gives_and_defaults_for_the_rest() {
    let token = || given("token", Value::Text("hunter2hunter2".to_owned()));
    let secret = Argument::Secret(Secret::new("hunter2hunter2".to_owned()));
    assert_eq!(
        bound(&[token()]),
        Ok(arguments([
            ("branch", text("main")),
            ("retries", Argument::Integer(3)),
            ("dry", Argument::Boolean(false)),
            ("level", text("low")),
            ("token", secret.clone()),
            ("note", text("")),
        ]))
    );
    assert_eq!(
        bound(&[
            token(),
            given("branch", Value::Text("feature/x".to_owned())),
            given("retries", Value::Text("0".to_owned())),
            given("dry", Value::Bool(true)),
            given("level", Value::Text("high".to_owned())),
            given("note", Value::Integer(7)),
        ]),
        Ok(arguments([
            ("branch", text("feature/x")),
            ("retries", Argument::Integer(0)),
            ("dry", Argument::Boolean(true)),
            ("level", text("high")),
            ("token", secret),
            ("note", text("7")),
        ]))
    );
}

#[test]
fn every_wrong_parameter_is_told_at_once_and_no_secret_is_shown() {
    let got = bound(&[
        given("branch", Value::Text("main; rm -rf /".to_owned())),
        given("retries", Value::Text("11".to_owned())),
        given("dry", Value::Text("yes".to_owned())),
        given("level", Value::Text("hihg".to_owned())),
        given("token", Value::Text("short".to_owned())),
        given("note", Value::Text("a\0b".to_owned())),
        given("tokn", Value::Text("hunter2hunter2".to_owned())),
    ]);
    let expected = r#"parameters.branch = "main; rm -rf /" from --param is invalid; give a text of which the whole matches [\w./-]+
parameters.retries = "11" from --param is out of bounds; give a whole number from 0 to 10
parameters.dry = "yes" from --param is invalid; give true or false
parameters.level = "hihg" from --param is invalid; use high
parameters.token = [secret] from --param is invalid; give a text of which the whole matches .{8,}
parameters.note = "a\0b" from --param is invalid; leave NUL out: no variable can hold it
parameters.tokn from --param is an unknown key; use token"#;
    assert_eq!(got, Err(expected.to_owned()));
    for (text, plain) in [("03", "3"), ("+3", "3"), ("-0", "0")] {
        let told = bound(&[given("retries", Value::Text(text.to_owned()))]).unwrap_err();
        let expected = format!("is invalid; give {plain}, as it is written");
        assert!(told.contains(&expected), "{told}");
    }
    assert_eq!(
        bound(&[]),
        Err("parameters.token is missing; give --param token=file:PATH".to_owned())
    );
}

#[test]
fn a_parameter_has_a_limit() {
    let at_limit = "x".repeat(MAX_PARAMETER_BYTES);
    let token = || given("token", Value::Text("hunter2hunter2".to_owned()));
    let bind_note = |note: &str| bound(&[token(), given("note", Value::Text(note.to_owned()))]);
    assert!(bind_note(&at_limit).is_ok());
    let refused = bind_note(&format!("{at_limit}x")).unwrap_err();
    assert!(
        refused.ends_with("is out of bounds; give at most 64 KiB"),
        "{refused}"
    );
}
