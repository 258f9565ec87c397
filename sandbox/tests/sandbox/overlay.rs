//! A workspace whose changes are kept apart from it.

use crate::harness::{build, for_each_starter, with_workspace, workspace};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use stockade_sandbox::Access;

/// Every name below a directory with its kind, permissions and content.
fn listing(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).expect("list").flatten() {
            let metadata = entry.metadata().expect("metadata");
            let content = match metadata.is_file() {
                true => fs::read(entry.path()).expect("content"),
                false => Vec::new(),
            };
            let mode = metadata.permissions().mode();
            all.push(format!("{:?} {mode:o} {content:?}", entry.path()));
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_workload_changes_everything_and_the_host_keeps_its_files() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let at = |name: &str| host.path().join(name);
        fs::create_dir_all(at("deep/er")).expect("directories");
        for name in ["kept", "changed", "removed", "deep/er/file"] {
            fs::write(at(name), name).expect("a file");
        }
        let owner = fs::metadata(host.path()).expect("metadata");
        let (user, group) = {
            use std::os::unix::fs::MetadataExt;
            (owner.uid(), owner.gid())
        };
        for name in [
            "kept",
            "changed",
            "removed",
            "deep",
            "deep/er",
            "deep/er/file",
        ] {
            std::os::unix::fs::chown(at(name), Some(user), Some(group)).expect("chown");
        }
        let before = listing(host.path());
        let mut policy = with_workspace(host.path(), Access::ReadWrite);
        policy.overlay_bytes = Some(1 << 20);
        let run = build(starter, &policy);
        let script = format!(
            "cd {} && cat kept && echo more >> changed && rm removed && echo new > created && chmod 600 kept \\
             && rm -r deep && mkdir deep && echo other > deep/file && mv created deep/moved && ln kept linked \\
             && cat changed deep/file deep/moved && ls && test ! -e deep/er \\
             && ! head -c 2000000 /dev/zero > full 2>/dev/null && rm full && id -u",
            host.path().display()
        );
        let said = run.shell(&script).success();
        let expected = "keptchangedmore\nother\nnew\nchanged\ndeep\nkept\nlinked\n";
        assert!(said.starts_with(expected), "{said}");
        // A later launch sees what an earlier one changed.
        let again = format!("cat {}/deep/moved", host.path().display());
        assert_eq!(run.shell(&again).success(), "new\n");
        drop(run);
        assert_eq!(listing(host.path()), before);
        // Its twin: without an overlay the same is there.
        policy.overlay_bytes = None;
        let run = build(starter, &policy);
        run.shell(&format!("cd {} && rm removed", host.path().display()))
            .success();
        assert!(!at("removed").exists());
    });
}

#[test]
fn an_overlay_is_restricted_as_a_bind_is_and_its_layers_are_out_of_sight() {
    for_each_starter(|starter| {
        let host = workspace(starter);
        let mut policy = with_workspace(host.path(), Access::ReadOnly);
        policy.overlay_bytes = Some(1 << 20);
        let run = build(starter, &policy);
        let script = format!(
            "cd {} && grep -E ' {} overlay ' /proc/self/mounts | grep nosuid | grep -c nodev; mount 2>/dev/null | grep -c '/.stockade'",
            host.path().display(),
            host.path().display()
        );
        assert_eq!(run.shell(&script).text, "1\n0\n");
    });
}
