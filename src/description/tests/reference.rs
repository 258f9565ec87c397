//! The reference in `docs/configuration.md` is the table in the code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::CommandFactory;

use super::CommandLine;
use crate::description::keys::{KEYS, Key, Support};
use crate::description::variables::{Reader, VARIABLES, is_service_link};

#[test]
fn the_reference_has_the_rows_of_the_tables() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let blessed = with_section(
        &with_section(&text, "keys", &key_table()),
        "variables",
        &variable_table(),
    );
    if std::env::var_os("STOCKADE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &blessed).unwrap();
        return;
    }
    assert!(
        text == blessed,
        "docs/configuration.md differs from the tables in src/description/keys.rs and variables.rs; \
         run: STOCKADE_BLESS=1 cargo test -p stockade --lib description, and commit the file.\n\
         The tables are:\n{}\n{}",
        key_table(),
        variable_table()
    );
}

#[test]
fn every_flag_stands_in_one_table_and_every_flag_of_a_table_exists() {
    let command = CommandLine::command();
    let exist: BTreeSet<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(str::to_owned)
        .collect();
    let mut named = BTreeSet::new();
    let of_keys = KEYS.iter().flat_map(|key| key.flags.iter().copied());
    let of_options = VARIABLES.iter().filter_map(|variable| variable.flag);
    for flag in of_keys.chain(of_options).filter(|flag| *flag != "--") {
        assert!(named.insert(flag.to_owned()), "--{flag} stands twice");
    }
    assert_eq!(exist, named);
    assert!(exist.iter().all(|flag| !flag.contains("port")));
}

#[test]
fn the_command_line_is_well_formed() {
    CommandLine::command().debug_assert();
}

#[test]
fn names_are_unique_and_none_looks_like_a_service_link() {
    let mut names = BTreeSet::new();
    let link = b"tcp://10.0.0.1:8090";
    for key in KEYS {
        let suffix = key.environment_name()["STOCKADE_".len()..].to_owned();
        assert!(!is_service_link(&suffix, link), "{}", key.name);
        assert_eq!(Key::find_in_environment(&suffix), Some(key));
        assert!(names.insert(key.environment_name()), "{}", key.name);
    }
    for name in VARIABLES.iter().filter_map(|variable| variable.name) {
        assert!(!is_service_link(&name["STOCKADE_".len()..], link), "{name}");
        assert!(names.insert(name.to_owned()), "{name}");
    }
}

/// `text` with what stands between the two markers of `name` replaced.
fn with_section(text: &str, name: &str, section: &str) -> String {
    let begin = format!("<!-- {name}: begin -->\n");
    let end = format!("<!-- {name}: end -->");
    let (before, rest) = text.split_once(&begin).expect("the begin marker");
    let (_, after) = rest.split_once(&end).expect("the end marker");
    format!("{before}{begin}{section}{end}{after}")
}

fn key_table() -> String {
    let mut table = String::from(
        "| key | type | bounds | default | environment | flag | what it does |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for key in KEYS {
        let name = match key.alias {
            Some(alias) => format!("`{}` (or `{alias}`)", key.name),
            None => format!("`{}`", key.name),
        };
        let flags: Vec<String> = key
            .flags
            .iter()
            .map(|flag| match *flag {
                "--" => "`-- COMMAND…`".to_owned(),
                flag => format!("`--{flag}`"),
            })
            .collect();
        let (bounds, default, purpose) = match key.support {
            Support::Honoured => (key.bounds, key.default, key.purpose.to_owned()),
            Support::Unsupported { since } => {
                let purpose = format!("UNSUPPORTED until {since}. {}", key.purpose);
                ("", "", purpose)
            }
        };
        table.push_str(&row(&[
            &name,
            key.type_text,
            bounds,
            default,
            &format!("`{}`", key.environment_name()),
            &flags.join(", "),
            &purpose,
        ]));
    }
    table
}

fn variable_table() -> String {
    let mut table = String::from(
        "| environment | flag | form | default | what it does |\n| --- | --- | --- | --- | --- |\n",
    );
    for variable in VARIABLES {
        let code = |prefix: &str, name: Option<&str>| {
            name.map_or(String::new(), |name| format!("`{prefix}{name}`"))
        };
        let default = match variable.reader {
            Reader::Supervisor => variable.default,
            Reader::Elsewhere => "",
        };
        table.push_str(&row(&[
            &code("", variable.name),
            &code("--", variable.flag),
            variable.form,
            default,
            variable.purpose,
        ]));
    }
    table
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
