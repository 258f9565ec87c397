//! Tests of the run description through its only door: flags, environment and file in, a description or all faults out.

mod bad_descriptions;
mod cases;
mod corpus;
mod guardrails;
mod playbooks;
mod precedence;
mod profiles;
mod reference;
mod schema;
mod secrets;
mod seed_names;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use tempfile::TempDir;

use super::{DescriptionErrors, RunDescription, SupervisorOptions};
use crate::cli::flags::{RunFlags, resolve};

#[derive(Parser)]
#[command(name = "run")]
struct CommandLine {
    #[command(flatten)]
    run: RunFlags,
}

type Resolved = Result<(RunDescription, SupervisorOptions), DescriptionErrors>;

/// The profiles in the directory `profiles` of every current directory: the file's name and its text.
const PROFILES: [(&str, &str); 5] = [
    (
        "ci.toml",
        "timeout_seconds = 900\nmax_steps = 7\nworkspace = '../work'\n[env]\nA = 'profile'\nB = 'profile'\n",
    ),
    ("selfish.toml", "run_id = 'r-1'\nprofile = 'ci'\n"),
    ("twice.json", "{}"),
    ("twice.toml", ""),
    ("wrong.toml", "max_steps = 0\ntiemout_seconds = 5\n"),
];

/// The playbooks in every current directory: the file's name and its text.
const PLAYBOOKS: [(&str, &str); 3] = [
    (
        "playbooks/greet.yaml",
        r#"version: 1
name: greet
tags: [greet, hello]
parameters:
  who: {default: world}
  times: {type: integer, min: 1, max: 3, default: 1}
  page: {default: "80", pattern: "[0-9@:.a-z]+"}
  token: {type: secret, required: true}
steps:
  - id: greet
    run: echo "hello $WHO"
    env: {WHO: "${{ params.who }}", TOKEN: "${{ params.token }}"}
    outputs: {said: stdout.trim()}
  - id: shout
    run: echo "$SAID!"
    env: {SAID: "${{ steps.greet.outputs.said }}"}
    expect: {http: {url: "http://127.0.0.1:${{ params.page }}/"}}
"#,
    ),
    (
        "playbooks/part.json",
        r#"{"version": 1, "name": "part", "tags": ["bye"], "steps": [{"id": "part", "run": "true"}]}"#,
    ),
    (
        "broken.yaml",
        "version: 1
name: broken
steps:
  - id: build
    env: {STOCKADE_A: x}
",
    ),
];

/// A current directory with a `work` directory, a file `plain`, a link `root` to `/` and a directory of profiles.
fn current_dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("work")).unwrap();
    std::fs::write(dir.path().join("plain"), "plain\n").unwrap();
    std::fs::write(dir.path().join("empty"), "").unwrap();
    std::fs::write(dir.path().join("latin1"), b"caf\xe9").unwrap();
    std::fs::create_dir(dir.path().join("profiles")).unwrap();
    for (name, text) in PROFILES {
        std::fs::write(dir.path().join("profiles").join(name), text).unwrap();
    }
    std::fs::create_dir(dir.path().join("playbooks")).unwrap();
    for (name, text) in PLAYBOOKS {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
    dir
}

/// Resolves a command line; `file`, if not empty, is written to `run.toml`, which the arguments may name.
fn resolve_in(dir: &Path, args: &str, environment: &[(&str, &str)], file: &str) -> Resolved {
    if !file.is_empty() {
        std::fs::write(dir.join("run.toml"), file).unwrap();
    }
    let args = std::iter::once("run").chain(args.split_whitespace());
    let flags = CommandLine::try_parse_from(args).unwrap().run;
    let defaults = [("HOME", "/home/tester")];
    let environment = environment
        .iter()
        .chain(&defaults)
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    resolve(flags, environment, dir)
}

/// Resolves a command line in a fresh current directory.
fn resolve_args(args: &str, environment: &[(&str, &str)], file: &str) -> Resolved {
    resolve_in(current_dir().path(), args, environment, file)
}
