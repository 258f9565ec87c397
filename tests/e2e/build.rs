//! What a build has and lacks: the one with the commands for people, and the one that goes into sandboxes.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::RunBuilder;
use crate::harness::run::binary;

fn stockade(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = stockade(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_build_runs_asks_stops_and_looks_after_the_record() {
    let run = RunBuilder::sh("sleep 600").start();
    run.until_running();
    let recordings = run.directory.path().join("recordings");
    let asked = ok(&["status", "--recordings", text(&recordings)]);
    assert!(asked.contains("running for"), "{asked}");
    let stopped = ok(&["stop", "--grace", "1", "--recordings", text(&recordings)]);
    assert!(stopped.contains("RUN_TERMINATED"), "{stopped}");
    let finished = run.finish();
    let recording = finished.recording.path().to_owned();
    let verified = ok(&["verify", text(&recording)]);
    assert!(verified.starts_with("sound"), "{verified}");
    let finalized = ok(&["finalize", text(&recording)]);
    assert!(finalized.contains("had its end"), "{finalized}");
    let recordings = finished.directory.path().join("recordings");
    let pruned = ok(&[
        "prune",
        "--keep-runs",
        "1",
        "--recordings",
        text(&recordings),
    ]);
    assert!(pruned.contains("1 run kept"), "{pruned}");
}

#[test]
fn help_lists_what_this_build_has_and_nothing_else() {
    let help = ok(&["--help"]);
    for name in [
        "run", "status", "stop", "doctor", "verify", "finalize", "prune",
    ] {
        assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        assert!(ok(&["help", name]).contains("Usage"), "{name}");
    }
    for name in stockade::cli::operator::COMMANDS {
        let is_there = help.contains(&format!("\n  {name} "));
        assert_eq!(is_there, cfg!(feature = "operator"), "{name}: {help}");
    }
}

#[cfg(not(feature = "operator"))]
#[test]
fn a_command_that_this_build_lacks_says_which_build_has_it() {
    for name in stockade::cli::operator::COMMANDS {
        for arguments in [&[name, "latest"][..], &["help", name]] {
            let output = stockade(arguments);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
            assert!(stderr.contains(&format!("no command {name}")), "{stderr}");
            assert!(stderr.contains("the default build has it"), "{stderr}");
            assert!(output.stdout.is_empty());
        }
    }
    let output = stockade(&["dance"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("default build"));
}
