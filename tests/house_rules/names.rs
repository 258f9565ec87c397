//! Rules for names: what a user can meet is in the documentation, and what is there exists.

use std::collections::BTreeSet;
use std::process::Command;

use stockade::api::route::Route;
use stockade::description::keys::KEYS;
use stockade::description::variables::VARIABLES;
use stockade::event::EventType;
use stockade::run::ErrorCode;
use stockade::run::outcome::ExitRule;

use crate::tree::{Findings, pages, read, rust};

/// What must stand where: kind, page, words.
fn everything_that_a_user_can_meet() -> Vec<(&'static str, &'static str, Vec<String>)> {
    let code = |text: &str| format!("`{text}`");
    let exit_codes = ErrorCode::ALL
        .into_iter()
        .filter_map(|code| match code.exit_rule() {
            ExitRule::Fixed(number) => Some(number),
            ExitRule::OfCommand | ExitRule::OfStopSignal => None,
        })
        .chain([0, stockade::cli::USAGE, stockade::cli::FAILURE, 143]);
    let exit_codes: BTreeSet<u8> = exit_codes.collect();
    let variables = KEYS
        .iter()
        .map(|key| key.environment_name())
        .chain(VARIABLES.iter().filter_map(|v| v.name.map(str::to_owned)));
    let (commands, flags) = commands_and_flags();
    let event_types: Vec<_> = EventType::ALL.map(|t| code(t.as_str())).into();
    vec![
        (
            "route",
            "docs/api.md",
            Route::ALL.map(|route| code(route.template())).into(),
        ),
        (
            "key",
            "docs/configuration.md",
            KEYS.iter().map(|key| code(key.name)).collect(),
        ),
        (
            "variable",
            "docs/configuration.md",
            variables.map(|name| code(&name)).collect(),
        ),
        (
            "exit code",
            "docs/operations.md",
            exit_codes
                .into_iter()
                .map(|number| format!("| {number} |"))
                .collect(),
        ),
        (
            "error code",
            "docs/operations.md",
            ErrorCode::ALL.map(|c| code(c.as_str())).into(),
        ),
        ("event type", "docs/recording.md", event_types.clone()),
        ("event type", "docs/api.md", event_types),
        ("command", "docs/operations.md", commands),
        ("flag", "docs/configuration.md", flags.0),
        ("flag", "docs/operations.md", flags.1),
    ]
}

/// Commands that take flags of `run`, whose places are those of `run`; what only they have stands with the commands.
const WITH_FLAGS_OF_RUN: [&str; 2] = ["doctor", "exec"];

/// Commands of the binary, the flags of `run`, and those of the other commands, as its own help has them.
fn commands_and_flags() -> (Vec<String>, (Vec<String>, Vec<String>)) {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let top = help(&["--help"]);
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"run"), "{top}");
    let mut flags = (Vec::new(), Vec::new());
    let mut shared = Vec::new();
    for command in &commands {
        let text = help(&[command, "--help"]);
        for word in text.split_whitespace() {
            let name: String = word
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            if name.starts_with("--") && name.len() > 2 && name != "--help" {
                if *command == "run" {
                    flags.0.push(name);
                } else if WITH_FLAGS_OF_RUN.contains(command) {
                    shared.push(name);
                } else {
                    flags.1.push(name);
                }
            }
        }
    }
    shared.retain(|name| !flags.0.contains(name));
    flags.1.append(&mut shared);
    let commands = commands.iter().map(|c| format!("`stockade {c}")).collect();
    (commands, flags)
}

#[test]
fn the_docs_name_everything_that_a_user_can_meet() {
    let mut findings = Findings::new(
        "every route, key, variable, flag, command, exit code, error code and event type is in the documentation",
        "add it to the table of the page that is named",
    );
    for (kind, page, words) in everything_that_a_user_can_meet() {
        let text = read(page);
        assert!(!words.is_empty(), "no {kind} was found");
        for word in words {
            if !text.contains(&word) {
                findings.add(page, 0, &format!("{kind} {word} is missing"));
            }
        }
    }
    findings.check();
}

#[test]
fn the_docs_name_nothing_that_is_not_there() {
    let mut findings = Findings::new(
        "what the documentation names exists",
        "correct the name, or remove it",
    );
    let variables: BTreeSet<String> = KEYS
        .iter()
        .map(|key| key.environment_name())
        .chain(VARIABLES.iter().filter_map(|v| v.name.map(str::to_owned)))
        .chain(["STOCKADE_RUN_ID".to_owned(), "STOCKADE_TASK".to_owned()])
        .collect();
    let is_service_link = |name: &str| {
        ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_ADDR"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    for page in pages() {
        for (line_idx, line) in page.text.lines().enumerate() {
            for (at, _) in line.match_indices("STOCKADE_") {
                let name: String = line[at..]
                    .chars()
                    .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
                    .collect();
                let is_prefix = name == "STOCKADE_";
                if !is_prefix && !variables.contains(&name) && !is_service_link(&name) {
                    findings.add(&page.path, line_idx, &name);
                }
            }
        }
    }
    findings.check();
}

#[test]
fn every_variable_that_is_read_stands_in_the_table() {
    let mut findings = Findings::new(
        "every STOCKADE_ variable that code or tests read is in docs/configuration.md",
        "add a row to src/description/variables.rs; the table of the page is made from it",
    );
    let table = read("docs/configuration.md");
    for source in rust() {
        for (line_idx, line) in source.text.lines().enumerate() {
            for (at, _) in line.match_indices(concat!("(\"", "STOCKADE_")) {
                let before = &line[..at];
                let is_read = before.ends_with("env::var") || before.ends_with("env::var_os");
                let name = line[at + 2..].split('"').next().unwrap_or_default();
                if is_read && !table.contains(&format!("`{name}`")) {
                    findings.add(&source.path, line_idx, name);
                }
            }
        }
    }
    findings.check();
}
