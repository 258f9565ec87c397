//! A run description on its way to a control plane: a file in any of our formats, and what the command line adds, as JSON.
//!
//! Owns the conversion. What a key means is for the server, which knows what it can run; nothing here reads a file that the
//! description names. Invariant: no error quotes the file, which may hold secrets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Number, Value as Json};
use zeroize::Zeroizing;

use crate::document::{self, Format, MAX_DOCUMENT_BYTES, Node, Place, Value};
use crate::run::RunId;

/// The name of standard input.
const STDIN: &str = "-";

/// What to run.
#[derive(clap::Args)]
pub(super) struct Description {
    /// Read the run description from FILE (TOML, YAML or JSON; - is stdin); what it names lies on the server
    #[arg(value_name = "FILE")]
    file: Option<String>,

    /// Read that file as toml, yaml or json [default: by its ending, else toml]
    #[arg(long, value_name = "FORMAT", value_parser = format, requires = "file")]
    config_format: Option<Format>,

    /// Name the run: a DNS label [default: minted by the server]
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,

    /// Mark the run, so that it can be found again; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,

    /// Run COMMAND, in the place of that of the file
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn format(name: &str) -> Result<Format, &'static str> {
    match name {
        "toml" => Ok(Format::Toml),
        "yaml" => Ok(Format::Yaml),
        "json" => Ok(Format::Json),
        _ => Err("give toml, yaml or json"),
    }
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("give NAME=VALUE"),
    }
}

impl Description {
    /// The body of the request.
    ///
    /// # Errors
    /// Why the file cannot be used, for people.
    pub(super) fn json(&self) -> Result<Vec<u8>, String> {
        let mut keys = match &self.file {
            Some(file) => {
                let (shown, bytes) = read(file)?;
                let of_ending = || Format::of_path(Path::new(file));
                let format = self.config_format.or_else(of_ending);
                keys(&bytes, format.unwrap_or(Format::Toml), shown)?
            }
            None => Map::new(),
        };
        self.add(&mut keys)?;
        let body = serde_json::to_vec(&keys).map_err(|error| error.to_string())?;
        if body.len() > MAX_DOCUMENT_BYTES {
            return Err("the run description is larger than 1 MiB as JSON".to_owned());
        }
        Ok(body)
    }

    /// Puts what the command line says into the place of what the file says.
    fn add(&self, keys: &mut Map<String, Json>) -> Result<(), String> {
        if let Some(run_id) = &self.run_id {
            keys.insert("run_id".to_owned(), run_id.as_str().into());
        }
        if !self.command.is_empty() {
            keys.insert("command".to_owned(), self.command.clone().into());
        }
        if self.label.is_empty() {
            return Ok(());
        }
        let labels = keys
            .entry("labels")
            .or_insert_with(|| Json::Object(Map::new()));
        let Json::Object(labels) = labels else {
            return Err(
                "the key labels of the file is no map, so --label adds nothing to it".to_owned(),
            );
        };
        for (name, value) in &self.label {
            labels.insert(name.clone(), value.as_str().into());
        }
        Ok(())
    }
}

/// What is shown for the file, and its bytes, at most one more than a document may have.
fn read(file: &str) -> Result<(&str, Zeroizing<Vec<u8>>), String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
    let (shown, read) = if file == STDIN {
        let read = std::io::stdin()
            .lock()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes);
        ("stdin", read)
    } else {
        let read = File::open(file)
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
        (file, read)
    };
    match read {
        Ok(_) => Ok((shown, bytes)),
        Err(error) => Err(format!(
            "cannot read {shown}: {error}; give a readable TOML, YAML or JSON file of at most 1 MiB, or - for stdin"
        )),
    }
}

/// The keys of a description.
fn keys(bytes: &[u8], format: Format, shown: &str) -> Result<Map<String, Json>, String> {
    let told = |place: Place, found: &str, expected: &str| {
        format!("{shown}:{place} is no run description: {format}: {found}; {expected}")
    };
    let document = document::read(bytes, format)
        .map_err(|error| told(error.place, &error.found, &error.expected))?;
    let place = document.root.place;
    let kind = document.root.value.kind();
    match json(document.root) {
        Ok(Json::Object(keys)) => Ok(keys),
        // A YAML file of nothing but comments says nothing.
        Ok(Json::Null) => Ok(Map::new()),
        Ok(_) => {
            let found = format!("{kind} and no map of keys");
            Err(told(place, &found, "give one key a line"))
        }
        Err(place) => Err(told(
            place,
            "a number that JSON cannot hold",
            "give a finite number of 64 bits",
        )),
    }
}

/// The same value as JSON; the place of a number that it cannot hold.
fn json(node: Node) -> Result<Json, Place> {
    Ok(match node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Integer(value) => value.into(),
        Value::OtherNumber(written) => {
            let whole = written.parse().ok().map(|whole: u64| whole.into());
            let parsed = || written.parse().ok().and_then(Number::from_f64);
            Json::Number(whole.or_else(parsed).ok_or(node.place)?)
        }
        Value::Text(text) => text.into(),
        Value::List(nodes) => {
            let values: Result<Vec<_>, _> = nodes.into_iter().map(json).collect();
            values?.into()
        }
        Value::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                map.insert(entry.name, json(entry.node)?);
            }
            Json::Object(map)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOML: &str = "command = [\"make\", \"test\"]\ntimeout_seconds = 90\n[limits]\ncpus = 1.5\n[labels]\nteam = \"red\"\n";
    const YAML: &str =
        "command: [make, test]\ntimeout_seconds: 90\nlimits: {cpus: 1.5}\nlabels:\n  team: red\n";
    const JSON: &str = r#"{"command":["make","test"],"timeout_seconds":90,"limits":{"cpus":1.5},"labels":{"team":"red"}}"#;

    fn description(arguments: &[&str]) -> Description {
        use clap::{Args as _, FromArgMatches as _};
        let command = Description::augment_args(clap::Command::new("submit"));
        let all = ["submit"].iter().chain(arguments).copied();
        Description::from_arg_matches(&command.get_matches_from(all)).unwrap()
    }

    #[test]
    fn the_three_formats_say_the_same() {
        let expected: Json = serde_json::from_str(JSON).unwrap();
        for (text, format) in [
            (TOML, Format::Toml),
            (YAML, Format::Yaml),
            (JSON, Format::Json),
        ] {
            let keys = keys(text.as_bytes(), format, "file").unwrap();
            assert_eq!(Json::Object(keys), expected, "{format}");
        }
        assert!(
            keys(b"# nothing\n", Format::Yaml, "file")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_no_description_is_told_by_its_place_and_never_quoted() {
        for (text, format, place) in [
            ("a = \"hunter2", Format::Toml, "file:1:"),
            ("- hunter2", Format::Yaml, "file:1:1"),
            ("{\"a\": hunter2}", Format::Json, "file:1:7"),
            ("a = 1\nb = inf # hunter2\n", Format::Toml, "file:2:5"),
        ] {
            let error = keys(text.as_bytes(), format, "file").unwrap_err();
            assert!(error.starts_with(place), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let large = vec![b' '; MAX_DOCUMENT_BYTES + 1];
        let error = keys(&large, Format::Json, "file").unwrap_err();
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.toml");
        std::fs::write(&path, TOML).unwrap();
        let asked = description(&[
            path.to_str().unwrap(),
            "--run-id",
            "fox",
            "--label",
            "team=blue",
            "--label",
            "job=a=b",
            "--",
            "make",
            "--all",
        ]);
        let body: Json = serde_json::from_slice(&asked.json().unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "command": ["make", "--all"],
                "timeout_seconds": 90,
                "limits": {"cpus": 1.5},
                "labels": {"team": "blue", "job": "a=b"},
                "run_id": "fox",
            })
        );
        let alone = description(&["--", "true"]).json().unwrap();
        assert_eq!(alone, br#"{"command":["true"]}"#);
        let large = "x".repeat(MAX_DOCUMENT_BYTES);
        let error = description(&["--", &large]).json().unwrap_err();
        assert!(error.contains("larger than 1 MiB as JSON"), "{error}");
    }
}
