//! A run whose workspace is an overlay: the user's files stay as they are, and what was changed is an artifact.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::need::{need, skip};
use crate::harness::run::{Finished, copy_binary, kill};
use crate::harness::{Recording, RunBuilder};

/// Changes of every kind, below a directory that is replaced as well.
const CHANGES: &str = "echo new > added && echo more >> changed && rm removed && rm -r tree && mkdir tree \
    && echo inner > tree/inner && chmod 700 script && ln -s /etc/shadow link";

fn overlaid(script: &str) -> RunBuilder {
    let run = RunBuilder::sh(script);
    let workspace = run.workspace();
    fill(&workspace);
    run.flag("--workspace-mode=overlay")
        .flag("--workspace")
        .flag(workspace)
}

fn fill(workspace: &Path) {
    for name in ["kept", "changed", "removed", "script"] {
        fs::write(workspace.join(name), format!("{name}\n")).unwrap();
    }
    fs::create_dir(workspace.join("tree")).unwrap();
    fs::write(workspace.join("tree/old"), "old\n").unwrap();
}

/// Every path below a directory with mode and content.
fn listing(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.is_file() {
            true => fs::read(&path).unwrap(),
            false => Vec::new(),
        };
        if metadata.is_dir() {
            all.extend(listing(&path));
        }
        all.insert(path, (metadata.permissions().mode(), content));
    }
    all
}

fn list(recording: &Recording) -> Value {
    let path = recording.path().join("artifacts/changes/workspace.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Each change by its path.
fn changes(recording: &Recording) -> BTreeMap<String, String> {
    let list = list(recording);
    let changes = list["changes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    changes
        .map(|change| (text(&change["path"]), text(&change["change"])))
        .collect()
}

fn assert_every_change(recording: &Recording) {
    let expected = [
        ("added", "added"),
        ("changed", "changed"),
        ("link", "added"),
        ("removed", "removed"),
        ("script", "changed"),
        ("tree/inner", "added"),
        ("tree/old", "removed"),
    ];
    let expected = expected.map(|(path, change)| (path.to_owned(), change.to_owned()));
    assert_eq!(changes(recording), BTreeMap::from(expected));
}

/// What an archive holds, unpacked by tar(1).
fn unpacked(recording: &Recording) -> Option<tempfile::TempDir> {
    let tar = need("tar")?;
    let directory = tempfile::tempdir().unwrap();
    let archive = recording.path().join("artifacts/changes/workspace.tar");
    let output = Command::new(tar)
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(directory)
}

#[test]
fn the_workspace_stays_as_it_was_and_every_change_is_an_artifact() {
    let run = overlaid(&format!("{CHANGES} && cat changed tree/inner"));
    let workspace = run.workspace();
    let before = listing(&workspace);
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.recording.output(), "changed\nmore\ninner\n");
    assert_eq!(listing(&workspace), before);
    assert_every_change(&run.recording);
    run.recording.assert_whole();
    // As any artifact: an event, a line of the manifest, and a digest that is checked.
    let told: Vec<_> = run.recording.events_of("artifact");
    let paths: Vec<_> = told.iter().map(|event| &event["path"]).collect();
    assert_eq!(paths, ["changes/workspace.tar", "changes/workspace.json"]);
    assert!(run.recording.verified().status.success());
    let Some(unpacked) = unpacked(&run.recording) else {
        return;
    };
    let at = |name: &str| unpacked.path().join(name);
    assert_eq!(
        fs::read_to_string(at("changed")).unwrap(),
        "changed\nmore\n"
    );
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/etc/shadow"));
    let mode = fs::metadata(at("script")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(!at("kept").exists() && !at("removed").exists());
}

#[test]
fn an_ordinary_user_has_the_same() {
    if !nix::unistd::Uid::effective().is_root() {
        skip("only root can become another user; the other tests are those of a user");
        return;
    }
    let Some(setpriv) = need("setpriv") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let user = 1_234;
    let workspace = place.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    fill(&workspace);
    let all: Vec<_> = listing(&workspace).into_keys().collect();
    for path in all.iter().chain([&workspace, &place.path().to_owned()]) {
        std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    }
    let program = place.path().join("stockade");
    copy_binary(&program);
    let before = listing(&workspace);
    let recordings = place.path().join("recordings");
    let id = user.to_string();
    let output = Command::new(setpriv)
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
        .arg(&program)
        .args(["run", "--run-id=run", "--listen=127.0.0.1:0"])
        .args(["--workspace-mode=overlay", "--recordings"])
        .arg(&recordings)
        .args(["--", "sh", "-c", CHANGES])
        .current_dir(&workspace)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(listing(&workspace), before);
    assert_every_change(&Recording::at(recordings.join("run")));
}

#[test]
fn the_changes_are_taken_however_the_run_ends() {
    type End = fn(RunBuilder) -> Finished;
    let ends: [(&str, End); 3] = [
        ("echo x > made; kill -9 $$", RunBuilder::finish),
        ("echo x > made; echo ready; sleep 600", |run| {
            let run = run.flag("--grace=2").start();
            run.until_stdout("ready");
            run.signal(Signal::SIGTERM);
            run.finish()
        }),
        ("echo x > made; sleep 600", |run| {
            run.flag("--timeout=1").flag("--grace=2").finish()
        }),
    ];
    for (script, end) in ends {
        let run = end(overlaid(script));
        assert_ne!(run.code(), 0, "{script}");
        let expected = BTreeMap::from([("made".to_owned(), "added".to_owned())]);
        assert_eq!(
            changes(&run.recording),
            expected,
            "{script}: {}",
            run.stderr
        );
    }
}

#[test]
fn a_supervisor_that_is_killed_leaves_the_workspace_alone_and_it_is_told_that_the_changes_are_gone()
{
    let run = overlaid("echo x > made; rm kept; echo ready; sleep 600");
    let workspace = run.workspace();
    let before = listing(&workspace);
    let run = run.start();
    run.until_stdout("ready");
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(
        run.recording.status()["error"]["code"],
        "SUPERVISOR_CRASHED"
    );
    assert_eq!(listing(&workspace), before);
    let told = run.recording.events_of("log");
    assert!(
        told.iter().any(|event| {
            event["source"] == "finalize"
                && event["message"]
                    .as_str()
                    .unwrap()
                    .contains("was not taken and is gone")
        }),
        "{told:?}"
    );
}

#[test]
fn a_workload_cannot_put_something_else_in_the_place_of_the_list() {
    let script = r#"echo x > made; mkdir "$STOCKADE_OUTPUT_DIR/changes"; echo false > "$STOCKADE_OUTPUT_DIR/changes/workspace.json""#;
    let run = overlaid(script).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(list(&run.recording)["added"], 1);
    let told = run.recording.events_of("artifact");
    let withheld = told.iter().find(|event| event["withheld"] == "exists");
    assert_eq!(withheld.unwrap()["path"], "changes/workspace.json");
}

#[test]
fn patterns_choose_what_the_workload_saw() {
    let run = overlaid("echo new > changed; rm kept")
        .flag("--artifact=changed")
        .flag("--artifact=kept")
        .finish();
    let kept = run.recording.path().join("artifacts/workspace");
    assert_eq!(fs::read_to_string(kept.join("changed")).unwrap(), "new\n");
    assert!(!kept.join("kept").exists());
}

#[test]
fn a_workspace_of_root_that_cannot_be_mapped_is_refused_with_what_to_do() {
    if !nix::unistd::Uid::effective().is_root() {
        skip("only root can mount the file system that cannot be mapped");
        return;
    }
    let Some(unshare) = need("unshare") else {
        return;
    };
    let run = |mode: &str| {
        let run = RunBuilder::sh("cat file");
        let workspace = run.workspace();
        // ramfs(5) has no id maps; the mount is gone with its namespace.
        let mount = "mount -t ramfs ramfs \"$0\" && echo old > \"$0/file\" && exec \"$@\"";
        let prefix = [
            unshare.clone().into_os_string(),
            "--mount".into(),
            "sh".into(),
            "-c".into(),
            mount.into(),
            workspace.clone().into_os_string(),
        ];
        run.within(prefix.to_vec())
            .flag(format!("--workspace-mode={mode}"))
            .flag("--workspace")
            .flag(workspace)
            .finish()
    };
    let refused = run("read-write");
    assert_eq!(refused.code(), 125, "{}", refused.stderr);
    let error = refused.recording.status()["error"].clone();
    assert_eq!(error["code"], "SETUP_FAILED", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("let the workload only read it"),
        "{message}"
    );
    // Its twin: what the message says works.
    let read = run("read-only");
    assert_eq!(read.code(), 0, "{}", read.stderr);
    assert_eq!(read.recording.output(), "old\n");
}
