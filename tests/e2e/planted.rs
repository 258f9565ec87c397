//! What a workload leaves behind for the next run, or for the host: links, capabilities, and a mask that was moved away.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::harness::RunBuilder;
use crate::harness::need::need;

/// A link that an earlier run may have made is not followed out of the workspace, whoever names it.
#[test]
fn a_mount_through_a_link_in_a_writable_place_is_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("key"), "of the host").unwrap();
    let mount = |access: &str, of: &str| {
        let run = RunBuilder::sh("cat /cache/key");
        symlink(elsewhere.path(), run.workspace().join("planted")).unwrap();
        fs::create_dir(run.workspace().join("real")).unwrap();
        fs::write(run.workspace().join("real/key"), "of the run").unwrap();
        let source = run.workspace().join(of).display().to_string();
        run.flag(format!("--{access}={source}:/cache")).finish()
    };
    for access in ["ro", "rw"] {
        let refused = mount(access, "planted");
        assert_ne!(refused.code(), 0);
        assert!(
            !refused.stdout.contains("of the host"),
            "{}",
            refused.stdout
        );
        let said = "planted is a link in";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        let allowed = mount(access, "real");
        assert_eq!(allowed.stdout, "of the run", "{}", allowed.stderr);
    }
}

/// A preset names what is below the home directory, which may be the workspace.
#[test]
fn a_preset_shows_nothing_through_a_link_in_the_workspace() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("key"), "of the host").unwrap();
    for (is_link, is_refused) in [(true, true), (false, false)] {
        let run = RunBuilder::sh("cat /cache/key").flag("--preset=./own.toml");
        let workspace = run.workspace();
        let shown = workspace.join("tools");
        if is_link {
            symlink(elsewhere.path(), &shown).unwrap();
        } else {
            fs::create_dir(&shown).unwrap();
            fs::write(shown.join("key"), "of the run").unwrap();
        }
        let preset = "mounts = [{ source = \"~/tools\", target = \"/cache\" }]\n";
        fs::write(workspace.parent().unwrap().join("own.toml"), preset).unwrap();
        let run = run.env("HOME", workspace.as_os_str()).finish();
        assert_eq!(run.code() != 0, is_refused, "{}", run.stderr);
        assert_eq!(run.stdout == "of the run", !is_refused, "{}", run.stdout);
        let said = run.stderr.contains("tools is a link in");
        assert_eq!(said, is_refused, "{}", run.stderr);
    }
}

/// A file with capabilities would make whoever runs it on the host root there.
#[test]
fn a_program_with_a_user_namespace_gives_no_file_capabilities() {
    if need("python3").is_none() {
        return;
    }
    let script = r#"
        cp /bin/true evil
        unshare -Ur python3 -c '
import os, struct
os.setxattr("evil", "security.capability", struct.pack("<5I", 0x2000001, 1 << 7, 0, 0, 0))' 2>&1 | tail -n 1
    "#;
    let run = RunBuilder::sh(script).flag("--preset=nested").finish();
    assert!(
        run.stdout.contains("Operation not supported"),
        "{} {}",
        run.stdout,
        run.stderr
    );
    // In the default preset nothing has the privilege, and attributes of a user's own are as they are on the host.
    let script = r#"
        touch file
        python3 -c 'import os; os.setxattr("file", "user.note", b"1"); print(os.getxattr("file", "user.note"))' 2>&1 | tail -n 1
    "#;
    let run = RunBuilder::sh(script);
    let host = Command::new("sh")
        .args(["-c", script])
        .current_dir(run.workspace())
        .output()
        .unwrap();
    let run = run.finish();
    let of_host = String::from_utf8(host.stdout).unwrap();
    assert_eq!(run.stdout, of_host, "{}", run.stderr);
}

/// Who has mounts of his own can move away what hides the recordings.
#[test]
fn recordings_in_the_workspace_of_a_run_with_mounts_of_its_own_are_refused() {
    for (preset, is_refused) in [("default", false), ("nested", true)] {
        let run = RunBuilder::sh("true").flag(format!("--preset={preset}"));
        let recordings = run.workspace().join("recordings");
        fs::create_dir(&recordings).unwrap();
        fs::set_permissions(&recordings, fs::Permissions::from_mode(0o755)).unwrap();
        let run = run.with_recordings(&recordings).finish();
        assert_eq!(run.code() != 0, is_refused, "{preset}: {}", run.stderr);
        let said = "the workload could uncover";
        assert_eq!(run.stderr.contains(said), is_refused, "{}", run.stderr);
    }
}
