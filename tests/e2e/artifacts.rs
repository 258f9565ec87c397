//! Artifacts: what the workload leaves is kept within limits, and nothing of the host comes with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::run::kill;
use crate::harness::{Recording, RunBuilder, SmallDisk, until};

const SECRET: &str = "correct-horse-battery-staple";

/// A tree with good files and everything that a hostile program could leave.
const HOSTILE: &str = r#"
    cd "$STOCKADE_OUTPUT_DIR"
    echo report > report.txt
    mkdir -p deep/er && echo data > deep/er/data.json
    ln -s /etc/shadow shadow
    ln -s /etc etc
    ln -s ../../../../etc/passwd up
    mkfifo fifo
    truncate -s 1T sparse
    printf 'key=%s' "$API_KEY" > secret.txt
    (head -c 70000 /dev/zero; printf %s "$API_KEY") > buried.bin
    printf x > "$(printf 'two\nlines')"
    name=$(printf '%0255d' 0); printf long > "$name"
    mkdir -p locked && chmod 000 locked
    ln report.txt report-again.txt
    i=0; while [ $i -lt 60 ]; do mkdir d && cd d; i=$((i+1)); done; echo deep > file
"#;

/// Path of every `artifact` event with its reason, if it was withheld.
fn told(recording: &Recording) -> BTreeMap<String, Option<String>> {
    recording
        .events_of("artifact")
        .iter()
        .map(|event| {
            let path = event["path"].as_str().unwrap().to_owned();
            (path, event["withheld"].as_str().map(str::to_owned))
        })
        .collect()
}

fn artifact(recording: &Recording, path: &str) -> Option<Vec<u8>> {
    std::fs::read(recording.path().join("artifacts").join(path)).ok()
}

fn manifest(recording: &Recording) -> Value {
    let bytes = std::fs::read(recording.path().join("manifest.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() || !path.is_dir() {
            files.push(path);
        } else {
            files.extend(files_below(&path));
        }
    }
    files
}

fn assert_hostile_tree_is_tamed(recording: &Recording) {
    let told = told(recording);
    let long = "0".repeat(255);
    for kept in ["report.txt", "report-again.txt", "deep/er/data.json", &long] {
        assert_eq!(told[kept], None, "{kept}");
        assert!(artifact(recording, kept).is_some(), "{kept}");
    }
    for (path, reason) in [
        ("shadow", "link"),
        ("etc", "link"),
        ("up", "link"),
        ("fifo", "special"),
        ("sparse", "too-large"),
        ("secret.txt", "secret"),
        ("buried.bin", "secret"),
        ("two\\nlines", "name"),
    ] {
        assert_eq!(told[path].as_deref(), Some(reason), "{path}");
        assert!(artifact(recording, path).is_none(), "{path}");
    }
    assert!(
        told.values()
            .any(|reason| reason.as_deref() == Some("too-deep"))
    );
    let listed = manifest(recording);
    let listed = listed["artifacts"].as_array().unwrap();
    let n_kept = told.values().filter(|reason| reason.is_none()).count();
    assert_eq!(listed.len(), n_kept);
    let report = listed
        .iter()
        .find(|entry| entry["path"] == "report.txt")
        .unwrap();
    assert_eq!(report["size"], 7);
    assert_eq!(report["sha256"].as_str().unwrap().len(), 64);
    for file in files_below(recording.path()) {
        assert!(!file.is_symlink(), "{}", file.display());
        let content = std::fs::read(&file).unwrap();
        let is_found = content
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
        assert!(!is_found, "the secret is in {}", file.display());
    }
    recording.assert_whole();
}

fn hostile(isolation: &str) -> RunBuilder {
    RunBuilder::sh(HOSTILE)
        .flag(format!("--isolation={isolation}"))
        .flag("--credential=API_KEY=env:GIVEN")
        .env("GIVEN", SECRET)
}

#[test]
fn a_hostile_tree_leaves_only_its_good_files() {
    let run = hostile("full").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_hostile_tree_is_tamed(&run.recording);
    let told = [
        "artifact secret.txt is withheld: secret",
        "artifact report.txt (7 B)",
    ];
    assert!(
        told.iter().all(|line| run.stderr.contains(line)),
        "{}",
        run.stderr
    );
}

#[test]
fn without_isolation_the_output_directory_is_in_tmp_and_is_gone_at_the_end() {
    let run = RunBuilder::sh(&format!("echo \"$STOCKADE_OUTPUT_DIR\"\n{HOSTILE}"))
        .flag("--isolation=none")
        .flag("--credential=API_KEY=env:GIVEN")
        .env("GIVEN", SECRET)
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_hostile_tree_is_tamed(&run.recording);
    let directory = run.stdout.lines().next().unwrap();
    assert!(
        directory.starts_with("/tmp/stockade-output-"),
        "{directory}"
    );
    assert!(!Path::new(directory).exists(), "{}", run.stderr);
    assert!(!run.recording.path().join(".output").exists());
}

#[test]
fn an_output_directory_that_a_killed_supervisor_left_is_removed() {
    let run = RunBuilder::sh("mkdir -p \"$STOCKADE_OUTPUT_DIR/a/b\"; echo made; sleep 1000")
        .flag("--isolation=none")
        .start();
    run.until_stdout("made");
    let note = run.recording().path().join(".output");
    let directory = PathBuf::from(std::fs::read_to_string(&note).unwrap());
    assert!(directory.join("a/b").exists());
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    until("the output directory is gone", || {
        (!directory.exists()).then_some(())
    });
    assert!(!note.exists());
}

#[test]
fn patterns_choose_files_of_the_workspace_and_limits_bound_them() {
    let script = "mkdir -p target/deep; for n in 1 2 3; do echo $n > target/$n.xml; done; \
                  echo x > target/deep/4.xml; ln -s /etc/passwd target/5.xml; echo no > other.txt";
    let run = RunBuilder::sh(script)
        .flag("--artifact=target/*.xml")
        .env("STOCKADE_RECORDING_ARTIFACT_FILES", "2")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let expected = [
        ("workspace/target/1.xml", None),
        ("workspace/target/2.xml", None),
        ("workspace/target/3.xml", Some("too-many")),
        ("workspace/target/5.xml", Some("link")),
    ];
    let expected = expected.map(|(path, reason)| (path.to_owned(), reason.map(str::to_owned)));
    assert_eq!(told(&run.recording), BTreeMap::from(expected));
    assert!(artifact(&run.recording, "workspace/target/1.xml").is_some());
    run.recording.assert_whole();
}

#[test]
fn a_file_with_a_secret_is_kept_only_where_the_description_says_so() {
    let run = RunBuilder::sh("printf %s \"$API_KEY\" > \"$STOCKADE_OUTPUT_DIR/key\"")
        .flag("--credential=API_KEY=env:GIVEN")
        .env("GIVEN", SECRET)
        .env("STOCKADE_RECORDING_ARTIFACT_SECRETS", "flag")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let event = &run.recording.events_of("artifact")[0];
    assert_eq!(event["has_secret"], true);
    assert_eq!(artifact(&run.recording, "key").unwrap(), SECRET.as_bytes());
}

#[test]
fn with_no_files_wanted_there_is_no_output_directory() {
    let run = RunBuilder::sh("test -z \"${STOCKADE_OUTPUT_DIR+set}\" && test ! -e /output")
        .env("STOCKADE_RECORDING_ARTIFACT_FILES", "0")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
}

#[test]
fn a_run_that_is_stopped_keeps_what_it_had_put_out() {
    let run =
        RunBuilder::sh("echo half > \"$STOCKADE_OUTPUT_DIR/half\"; echo made; sleep 1000").start();
    run.until_stdout("made");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert_eq!(artifact(&run.recording, "half").unwrap(), b"half\n");
    run.recording.assert_whole();
}

#[test]
fn a_disk_that_is_full_while_artifacts_are_copied_keeps_the_record_whole() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let script =
        "cd \"$STOCKADE_OUTPUT_DIR\"; echo small > a; head -c 8000000 /dev/zero > b; echo c > c";
    let run = RunBuilder::sh(script).with_recordings(disk.path()).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let told = told(&run.recording);
    assert_eq!(told["a"], None);
    assert_eq!(told["b"].as_deref(), Some("no-space"));
    assert!(!told.contains_key("c"), "nothing is tried on a full disk");
    assert!(
        run.recording.events_of("log").iter().any(|event| {
            let message = event["message"].as_str().unwrap();
            message.contains("the disk of the recordings is full")
        }),
        "{}",
        run.stderr
    );
    assert!(artifact(&run.recording, "b").is_none());
    run.recording.assert_whole();
}
