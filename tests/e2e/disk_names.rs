//! Names that are not run ids; runs and ports that are taken.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::crash_follower::is_terminal;
use crate::disk::{error_code, finalize, go};
use crate::harness::run::kill;
use crate::harness::{Recording, RunBuilder, until};
use crate::process_table;

#[test]
fn what_is_no_run_id_is_refused_before_a_path_is_touched() {
    let long = "a".repeat(64);
    let bad = [
        "..",
        ".",
        "",
        "%2e%2e",
        "../up",
        "a/b",
        "/abs",
        "Upper",
        "latest",
        ".stockade",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "\u{e9}",
        "a\n",
        &long,
    ];
    for id in bad {
        let builder = RunBuilder::sh("echo ran").flag(format!("--run-id={id}"));
        let before = tree(builder.workspace().parent().unwrap());
        let run = builder.finish();
        assert!([2, 125].contains(&run.code()), "{id:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{id:?}");
        assert_eq!(tree(run.directory.path()), before, "{id:?}");
    }
    let longest = "a".repeat(63);
    let builder = RunBuilder::sh("exit 0").flag(format!("--run-id={longest}"));
    let recordings = builder.recordings();
    let run = builder.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    Recording::at(recordings.join(longest)).assert_whole();
}

/// Every file below a directory, with its content and the time of its last change.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let changed = std::fs::symlink_metadata(entry.path())
                .unwrap()
                .modified()
                .unwrap();
            let content = if kind.is_file() {
                std::fs::read(entry.path()).unwrap()
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                waiting.push(entry.path());
            }
            found.insert(entry.path(), (changed, content));
        }
    }
    found
}

/// Another attempt to run in the same recordings; gives exit code and stderr.
fn again(recordings: &Path) -> (Option<i32>, String) {
    let builder = RunBuilder::sh("echo ran").with_recordings(recordings);
    let output = builder.command().output().unwrap();
    assert!(output.stdout.is_empty(), "the command ran again");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_run_that_exists_or_goes_on_is_not_touched() {
    let run = RunBuilder::sh("echo ready; until [ -e go ]; do sleep 0.02; done");
    let (workspace, recordings) = (run.workspace(), run.recordings());
    let run = run.start();
    run.until_stdout("ready");
    run.until_running();
    // The output of the command is on record, so nothing more comes of its own.
    until("the output is on record", || {
        (!run.recording().events_of("action.output").is_empty()).then_some(())
    });
    let before = tree(run.recording().path());
    let (code, said) = again(&recordings);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("RUN_LOCKED"), "{said}");
    assert_eq!(tree(run.recording().path()), before);
    // Nor may it be finalized while it goes on.
    let refused = finalize(run.recording().path());
    assert_eq!(refused.status.code(), Some(125));
    assert_eq!(tree(run.recording().path()), before);
    go(&workspace);
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let before = tree(run.recording.path());
    let (code, said) = again(&recordings);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("RUN_EXISTS"), "{said}");
    assert_eq!(tree(run.recording.path()), before);
}

#[test]
fn a_run_that_was_lost_is_first_given_its_end() {
    let run = RunBuilder::sh("echo ready; sleep 1000");
    let recordings = run.recordings();
    let run = run.start();
    run.until_stdout("ready");
    run.until_running();
    let supervisor = run.supervisor_pid();
    kill(run.guardian_pid(), Signal::SIGKILL);
    kill(supervisor, Signal::SIGKILL);
    let run = run.finish();
    assert!(!is_terminal(&run.recording.status()));
    until("nothing of the run is left", || {
        process_table::of_run(run.directory.path())
            .is_empty()
            .then_some(())
    });
    let (code, said) = again(&recordings);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("RUN_EXISTS"), "{said}");
    run.recording.assert_whole();
    assert_eq!(error_code(&run.recording), "LOST");
    let before = tree(run.recording.path());
    let (_, said) = again(&recordings);
    assert!(said.contains("RUN_EXISTS"), "{said}");
    assert_eq!(tree(run.recording.path()), before);
}

#[test]
fn a_port_that_was_asked_for_by_name_must_be_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = RunBuilder::sh("echo ran")
        .flag(format!("--listen={address}"))
        .finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert_eq!(error_code(&run.recording), "LISTEN_FAILED");
    assert!(run.stderr.contains(&address), "{}", run.stderr);
    run.recording.assert_whole();
}

#[test]
fn the_default_port_moves_on_to_the_next_free_one() {
    // Taken by us or by somebody else: it only has to be taken.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8090");
    let builder = RunBuilder::sh("exit 0");
    let arguments: Vec<OsString> = builder.command().get_args().map(Into::into).collect();
    let at = arguments
        .iter()
        .position(|argument| argument == "--listen")
        .unwrap();
    let mut command = Command::new(builder.command().get_program());
    command
        .args(&arguments[..at])
        .args(&arguments[at + 2..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", builder.workspace())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status = Recording::at(builder.recordings().join("run")).status();
    let address = status["listen"]["address"].as_str().unwrap();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    assert!((8091..=8154).contains(&port), "{address}");
}
