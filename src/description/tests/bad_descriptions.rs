//! Every way to be wrong, with the whole text of the error: key, value, origin, and what would be right.

use std::path::Path;

use super::cases::{blessed, cases};
use super::resolve_args;
use crate::description::keys::{KEYS, Support};
use crate::description::{ErrorClass, standard};

/// The cases; the file says how they are written.
const CASES: &str = "src/description/tests/bad_descriptions.txt";

#[test]
fn every_fault_is_named_with_key_value_origin_and_remedy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CASES);
    let text = std::fs::read_to_string(&path).unwrap();
    if std::env::var_os("STOCKADE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, blessed(&text)).unwrap();
        return;
    }
    let cases = cases(&text);
    assert!(cases.len() >= 100, "only {} cases were read", cases.len());
    let mut failures = String::new();
    for case in cases {
        let found = case.faults();
        if let Err(errors) = case.resolved() {
            for error in &errors.errors {
                failures.extend(standard::check(error, None).err());
            }
        }
        if found.lines().ne(case.expected.iter().copied()) {
            let found = found.replace('\n', "\n> ");
            failures.push_str(&format!("$ {}\n{}> {found}\n\n", case.args, case.file));
        }
    }
    assert!(failures.is_empty(), "these gave other errors:\n{failures}");
}

#[test]
fn no_key_is_ignored() {
    for key in KEYS {
        // No key takes a list of empty lists, and no variable that is written as text takes this text.
        let value = "[[]]";
        let environment = [(&*key.environment_name(), value)];
        let errors = resolve_args("-- true", &environment, "");
        let errors = match (key.name, errors) {
            // The arguments win over the variable, a path may have any name, and a task any text.
            ("command" | "task" | "chdir" | "output_file", Ok(_)) => continue,
            (name, Ok(_)) => panic!("{name} is ignored"),
            (_, Err(errors)) => errors,
        };
        let error = &errors.errors[0];
        assert!(error.key.starts_with(key.name), "{} gave {error}", key.name);
        let is_unsupported = error.kind.code() == "UNSUPPORTED";
        if key.support != Support::Honoured {
            assert!(is_unsupported, "{} gave {error}", key.name);
        }
        assert_eq!(error.error_class(), ErrorClass::Setup);
    }
}

#[test]
fn long_values_are_refused_and_cut() {
    let long = |count: usize| "é".repeat(count);
    let shown = format!("\"{}…", long(78));
    let check = |file: String, expected: String| {
        let errors = resolve_args("--config run.toml -- true", &[], &file).unwrap_err();
        assert_eq!(errors.to_string(), expected);
    };
    check(
        format!("task = '{}'", long(10_001)),
        format!(
            "task = {shown} in run.toml:1:1 is out of bounds; give text: 1 to 10,000 characters, no NUL"
        ),
    );
    check(
        format!("labels.a = '{}'", long(257)),
        format!("labels.a = {shown} in run.toml:1:8 is out of bounds; give at most 256 characters"),
    );
    check(
        format!("labels.{} = 'x'", "n".repeat(64)),
        format!(
            "labels.{} in run.toml:1:8 is invalid; name it with 1 to 63 characters, none of them a control character",
            "n".repeat(64)
        ),
    );
    check(
        format!("env.A = '{}'", long(65_535)),
        "env.A = [secret] in run.toml:1:5 is out of bounds; give at most 131,071 bytes, the name and = included".to_owned(),
    );
    check(
        format!("credentials.A = '{}'", long(32_769)),
        "credentials.A = [secret] in run.toml:1:13 is out of bounds; give 1 byte to 64 KiB of UTF-8 without NUL".to_owned(),
    );
    let many: String = (0..65).map(|n| format!("labels.n{n} = 1\n")).collect();
    let errors = resolve_args("--config run.toml -- true", &[], &many).unwrap_err();
    let text = errors.to_string();
    assert!(
        text.ends_with("is out of bounds; give at most 64 entries, not 65"),
        "{text}"
    );
    check(
        format!("#{}", "x".repeat(1024 * 1024)),
        "config = \"run.toml\" from --config cannot be used (larger than 1 MiB); give a readable TOML, YAML or JSON file of at most 1 MiB".to_owned(),
    );
}

#[test]
fn the_command_line_is_at_fault_only_for_its_own_values() {
    let class = |args: &str, environment: &[(&str, &str)]| {
        resolve_args(args, environment, "")
            .unwrap_err()
            .error_class()
    };
    let bad = [("STOCKADE_GRACE_SECONDS", "0")];
    assert_eq!(class("--timeout 0 -- true", &[]), ErrorClass::Usage);
    assert_eq!(class("", &[]), ErrorClass::Usage);
    assert_eq!(class("-- true", &[("HOME", "")]), ErrorClass::Setup);
    assert_eq!(class("-- true", &bad), ErrorClass::Setup);
    assert_eq!(class("--timeout 0 -- true", &bad), ErrorClass::Usage);
}

#[test]
fn what_a_flag_names_and_the_host_lacks_is_a_fault_of_the_host() {
    let class = |args: &str| resolve_args(args, &[], "").unwrap_err().error_class();
    for args in [
        "--credential K=file:/run/secrets/gone -- true",
        "--config gone.toml -- true",
        "--profile gone -- true",
    ] {
        assert_eq!(class(args), ErrorClass::Setup, "{args}");
    }
    let also_wrong = "--timeout 0 --credential K=file:/run/secrets/gone -- true";
    assert_eq!(class(also_wrong), ErrorClass::Usage);
}
