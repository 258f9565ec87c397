//! `stockade config`: what a run would be, without any run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::run::binary;

const SECRET: &str = "correct-horse-battery-staple";

const PROFILE: &str = "timeout_seconds = 900\nlabels.team = 'build'\n";

const FILE: &str = "profile = 'ci'
grace_seconds = 8
task = 'use correct-horse-battery-staple'
[credentials]
API_KEY = 'correct-horse-battery-staple'
[env]
COLOUR = 'no'
";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("profiles")).unwrap();
        std::fs::write(directory.path().join("profiles/ci.toml"), PROFILE).unwrap();
        std::fs::write(directory.path().join("run.toml"), FILE).unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn config(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .arg("config")
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .env("STOCKADE_PROFILE_DIR", "profiles")
            .env("STOCKADE_MAX_STEPS", "7")
            .env("STOCKADE_TOKEN", "0123456789abcdef")
            .env("STOCKADE_WORKSPACE", "work")
            .current_dir(self.path())
            .output()
            .unwrap()
    }
}

const GIVEN: [&str; 6] = ["--config", "run.toml", "--linger", "0", "--", "make"];

fn arguments<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    first.iter().chain(rest).copied().collect()
}

#[test]
fn a_valid_description_is_ok_and_nothing_is_written() {
    let place = Place::new();
    let output = place.config(&arguments(&["check"], &GIVEN));
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        stdout,
        "ok: the run description is valid, with 11 keys set\n"
    );
    assert!(!place.path().join(".local").exists());
}

#[test]
fn a_bad_description_gives_the_error_and_the_exit_status_of_run() {
    let place = Place::new();
    for (given, code, expected) in [
        (
            &["check", "--timeout", "0", "--", "true"][..],
            2,
            "stockade: timeout_seconds = \"0\" from --timeout is out of bounds; give seconds, or text such as \"10m\": 1 to 604,800 (7 days)\n",
        ),
        (
            &["show", "--profile", "absent", "--", "true"],
            125,
            "stockade: profile = \"absent\" from --profile cannot be used (no profile of that name in profiles); the profiles there are ci\n",
        ),
        (
            &["check", "--config", "bad.toml", "--", "true"],
            125,
            "stockade: grace_seconds = 0 in bad.toml:1:1 is out of bounds; give seconds, or text such as \"10m\": 1 to 3,600\n",
        ),
    ] {
        std::fs::write(place.path().join("bad.toml"), "grace_seconds = 0\n").unwrap();
        let output = place.config(given);
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(code), "{given:?}");
        assert!(output.stdout.is_empty());
        // `stockade run` keeps a record of the last one; a question leaves nothing.
        assert!(!place.path().join(".local").exists());
    }
    let inside = ["check", "--recordings", "work/deep/runs", "--", "true"];
    let output = place.config(&inside);
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("RECORDINGS_UNUSABLE"), "{stderr}");
}

#[test]
fn every_value_is_shown_with_its_source_and_no_secret() {
    let place = Place::new();
    let output = place.config(&arguments(&["show"], &GIVEN));
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| -> Vec<String> {
        let line = stdout.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {stdout}"));
        line.split("  ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    for (name, value, source) in [
        ("run_id", "minted, ordered by time", "default"),
        ("command", "[\"make\"]", "after --"),
        ("timeout_seconds", "900", "profiles/ci.toml:1:1"),
        ("labels.team", "build", "profiles/ci.toml:2:8"),
        ("grace_seconds", "8", "run.toml:2:1"),
        ("env.COLOUR", "no", "run.toml:7:1"),
        ("max_steps", "7", "STOCKADE_MAX_STEPS"),
        ("linger_seconds", "0", "--linger"),
        ("idle_timeout_seconds", "0", "default"),
        ("limits.output", "1073741824", "default"),
        ("--config", "run.toml", "--config"),
        ("STOCKADE_TOKEN", "[secret]", "STOCKADE_TOKEN"),
        (
            "--listen",
            "127.0.0.1:8090, or the next free port",
            "default",
        ),
    ] {
        assert_eq!(row(name), [name, value, source]);
    }
    for secret in [SECRET, "0123456789abcdef"] {
        assert!(!stdout.contains(secret), "{stdout}");
    }
    assert!(row("task")[1].starts_with("use [secret"), "{stdout}");
}

#[test]
fn the_json_form_has_every_source_apart() {
    let place = Place::new();
    let output = place.config(&arguments(&["show", "--json"], &GIVEN));
    assert!(output.status.success(), "{output:?}");
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = |key: &str| {
        let rows = view["keys"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == key);
        row.unwrap_or_else(|| panic!("{key} is not in {view}"))
            .clone()
    };
    assert_eq!(
        row("timeout_seconds"),
        serde_json::json!({
            "key": "timeout_seconds",
            "value": 900,
            "source": { "kind": "file", "path": "profiles/ci.toml", "line": 1, "column": 1 },
        })
    );
    assert_eq!(row("max_steps")["source"]["variable"], "STOCKADE_MAX_STEPS");
    assert_eq!(row("linger_seconds")["source"]["flag"], "--linger");
    assert_eq!(row("command")["source"]["kind"], "arguments");
    assert_eq!(row("network")["source"]["kind"], "default");
    assert_eq!(row("credentials.API_KEY")["value"]["source"], "value");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let recordings = view["options"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["flag"] == "--recordings")
        .unwrap();
    let default = place.path().join(".local/state/stockade/runs");
    assert_eq!(recordings["value"], default.to_str().unwrap());
}

#[test]
fn standard_input_describes_a_run_and_is_not_that_of_the_workload() {
    let place = Place::new();
    let mut command = Command::new(binary());
    command
        .args(["run", "--config", "-", "--config-format", "yaml"])
        .args(["--workspace", "work", "--recordings", "runs"])
        .args(["--listen", "none", "--socket", "none"])
        .env_clear()
        .env("HOME", place.path())
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = "command: [sh, -c, 'readlink /proc/self/fd/0; wc -c']\nlabels: {a: b}\n";
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/dev/null\n0\n");
}

/// What is said of a description that is read from standard input and refused.
fn fault_of_input(text: &str) -> String {
    let place = Place::new();
    let file = place.path().join("given.json");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(binary())
        .args(["config", "check", "--config", "-"])
        .args(["--config-format=json", "--", "true"])
        .env_clear()
        .env("HOME", place.path())
        .current_dir(place.path())
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_fault_of_standard_input_has_its_line_and_column() {
    assert_eq!(
        fault_of_input("{\n  \"max_steps\": 0}\n"),
        "stockade: max_steps = 0 in stdin:2:3 is out of bounds; give an integer: 1 to 1,000,000\n"
    );
}

#[test]
fn standard_input_is_not_read_twice() {
    assert_eq!(
        fault_of_input(r#"{"credentials": {"KEY": {"fd": 0}}}"#),
        "stockade: credentials.KEY = {fd = 0} in stdin:1:18 cannot be used (the description was read from it); give the secret on another descriptor\n"
    );
}
