//! `examples/audit-agent`, an agent in plain sh: on this checkout, and on a tree that is made to break it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::{Recording, run::binary, tree::snapshot};

/// The expected failure, by its name.
const REFUSED: &str = "write_into_the_tree";

#[test]
fn the_agent_in_sh_audits_this_checkout() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let before = snapshot(checkout);
    let home = tempfile::tempdir().unwrap();
    let flags = ["run", "--workspace-mode", "read-only", "--adapter", "jsonl"];
    let output = stockade(home.path(), checkout, flags, ["examples/audit-agent"]);
    assert_audit(&output, home.path(), &Expected::of(checkout));
    assert_eq!(snapshot(checkout), before, "the audit changed the tree");
}

#[test]
fn a_hostile_tree_is_audited_and_left_as_it_is() {
    let (tree, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let n_locked = fill(tree.path());
    let before = snapshot(tree.path());
    let mut expected = Expected::of(tree.path());
    expected.unreadable = n_locked;

    // The directory by argument, with the checkout as the workspace.
    let mut flags: Vec<OsString> = ["run", "--workspace-mode", "read-only", "--adapter", "jsonl"]
        .map(OsString::from)
        .into();
    flags.extend(["--mount".into(), tree.path().into()]);
    let command = [OsStr::new("examples/audit-agent"), tree.path().as_os_str()];
    let output = stockade(home.path(), checkout, flags, command);
    assert_audit(&output, home.path(), &expected);

    // The directory as the workspace, with the script brought in.
    let script = checkout.join("examples/audit-agent");
    let mut flags: Vec<OsString> = ["run", "--workspace-mode", "read-only", "--adapter", "jsonl"]
        .map(OsString::from)
        .into();
    flags.extend(["--mount".into(), checkout.join("examples").into()]);
    let output = stockade(home.path(), tree.path(), flags, [script]);
    assert_audit(&output, home.path(), &expected);

    assert_eq!(snapshot(tree.path()), before, "the audit changed the tree");
    unlock(tree.path());
}

#[test]
fn an_empty_tree_and_a_missing_one() {
    let (tree, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut flags: Vec<OsString> = ["run", "--workspace-mode", "read-only", "--adapter", "jsonl"]
        .map(OsString::from)
        .into();
    flags.extend(["--mount".into(), tree.path().into()]);
    let command = [OsStr::new("examples/audit-agent"), tree.path().as_os_str()];
    let output = stockade(home.path(), checkout, flags.clone(), command);
    assert_audit(&output, home.path(), &Expected::of(tree.path()));

    let output = stockade(
        home.path(),
        checkout,
        flags,
        ["examples/audit-agent", "/no/such/directory"],
    );
    assert_eq!(output.status.code(), Some(1));
    let status = latest(home.path()).status();
    assert_eq!(status["error"]["code"], "AGENT_FAILED");
}

/// Runs the binary with exactly these arguments; only the places of its files are this test's own.
fn stockade<A, B>(
    home: &Path,
    directory: &Path,
    flags: impl IntoIterator<Item = A>,
    command: impl IntoIterator<Item = B>,
) -> Output
where
    A: AsRef<OsStr>,
    B: AsRef<OsStr>,
{
    Command::new(binary())
        .args(flags)
        .arg("--")
        .args(command)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn latest(home: &Path) -> Recording {
    Recording::at(home.join(".local/state/stockade/runs/latest"))
}

fn assert_audit(output: &Output, home: &Path, expected: &Expected) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let recording = latest(home);
    recording.assert_whole();
    let status = recording.status();
    assert_eq!(status["isolation"]["network"], "none");

    let actions = recording.events_of("action");
    assert!(actions.len() >= 6, "{actions:#?}");
    assert_eq!(
        recording.events_of("action.started").len(),
        actions.len(),
        "every action began"
    );
    for action in &actions {
        assert!(action["duration_ms"].is_u64(), "{action}");
        assert_ne!(action["result_text"], "", "{action}");
        assert!(action.get("cancelled").is_none(), "{action}");
    }
    let failed: Vec<&Value> = actions.iter().filter(|a| a["success"] != true).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["action"], REFUSED);
    assert_eq!(failed[0]["success"], false);
    let why = failed[0]["error"].as_str().unwrap();
    assert!(why.contains("Read-only file system"), "{why}");
    assert!(
        recording.events_of("agent.raw").is_empty(),
        "every line was understood"
    );

    let data = &status["data"];
    assert_eq!(data["network_interfaces"], 1, "{}", actions[0]);
    assert_eq!(data["write_refused"], true);
    assert_eq!(data["truncated"], false);
    let found = Expected {
        n_files: data["files"].as_u64().unwrap(),
        n_bytes: data["bytes"].as_u64().unwrap(),
        unreadable: data["unreadable"].as_u64().unwrap(),
        manifest_sha256: data["manifest_sha256"].as_str().unwrap().to_owned(),
        largest: data["largest"][0]["path"].as_str().map(str::to_owned),
    };
    assert_eq!(&found, expected);
}

/// What the audit has to find, by another program.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    n_files: u64,
    n_bytes: u64,
    unreadable: u64,
    manifest_sha256: String,
    largest: Option<String>,
}

impl Expected {
    fn of(tree: &Path) -> Self {
        let mut files: Vec<(Vec<u8>, Vec<u8>)> = snapshot(tree)
            .into_keys()
            .filter(|path| tree.join(path).symlink_metadata().unwrap().is_file())
            .filter(|path| {
                let mode = tree.join(path).symlink_metadata().unwrap().mode();
                mode & 0o400 != 0
            })
            .map(|path| {
                let content = std::fs::read(tree.join(&path)).unwrap();
                let name = [b"./", path.as_os_str().as_bytes()].concat();
                (name, content)
            })
            .collect();
        files.sort();
        let mut manifest = Sha256::new();
        for (name, content) in &files {
            manifest.update(hex(&Sha256::digest(content)));
            manifest.update(b"  ");
            manifest.update(name);
            manifest.update([0]);
        }
        let largest = files.iter().max_by_key(|(_, content)| content.len());
        Self {
            n_files: files.len() as u64,
            n_bytes: files.iter().map(|(_, content)| content.len() as u64).sum(),
            unreadable: 0,
            manifest_sha256: hex(&manifest.finalize()),
            largest: largest.map(|(name, _)| String::from_utf8_lossy(name).into_owned()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills a tree with what has broken such scripts before; gives the number of entries that cannot be read.
fn fill(tree: &Path) -> u64 {
    let names: [&[u8]; 22] = [
        b"plain.rs",
        b"two words.md",
        b" leading",
        b"trailing ",
        b"-rf",
        b"--files0-from",
        b".hidden",
        b"..two-dots",
        b"quote\"inside.json",
        b"apostrophe's.txt",
        b"back\\slash.txt",
        b"back\\nslash-n.txt",
        b"line\nbreak.md",
        b"\nleading-line\n",
        b"tab\tand\x01control\x7f.c",
        b"$(touch pwned) `touch pwned`.sh",
        b"*",
        b"[a-z]?",
        b"percent %s %d\\0041",
        "gr\u{fc}\u{df} \u{1f600} \u{2028}.txt".as_bytes(),
        b"latin1-\xe9\xff.txt",
        b"cut-\xe2\x82.txt",
    ];
    for (index, name) in names.iter().enumerate() {
        let content = format!("{index}\n").repeat(index);
        std::fs::write(tree.join(OsString::from_vec(name.to_vec())), content).unwrap();
    }
    let largest = OsString::from_vec(b"largest \"\\\n\xff\t.bin".to_vec());
    std::fs::write(tree.join(largest), vec![0; 3 << 20]).unwrap();

    let empty = tree.join("an empty directory\n");
    std::fs::create_dir(empty).unwrap();
    let deep = (0..120).fold(tree.to_owned(), |path, level| {
        path.join(format!("level {level}"))
    });
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom.txt"), "deep\n").unwrap();
    let many = tree.join("many");
    std::fs::create_dir(&many).unwrap();
    for index in 0..500 {
        std::fs::write(many.join(format!("file {index}")), index.to_string()).unwrap();
    }

    symlink("..", tree.join("loop")).unwrap();
    symlink("/etc/passwd", tree.join("outside")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    // A reader of a pipe without a writer would wait for ever.
    nix::unistd::mkfifo(&tree.join("pipe.txt"), nix::sys::stat::Mode::S_IRUSR).unwrap();

    let cache = tree.join("cache");
    std::fs::create_dir(&cache).unwrap();
    std::fs::write(cache.join("CACHEDIR.TAG"), "").unwrap();
    std::fs::write(cache.join("passed over"), "x").unwrap();

    std::fs::write(tree.join("locked.txt"), "secret").unwrap();
    std::fs::create_dir(tree.join("locked")).unwrap();
    std::fs::write(tree.join("locked/inner.txt"), "secret").unwrap();
    for name in ["locked.txt", "locked"] {
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(0o000)).unwrap();
    }
    2
}

/// Makes the tree removable by its owner again.
fn unlock(tree: &Path) {
    std::fs::set_permissions(tree.join("locked"), PermissionsExt::from_mode(0o700)).unwrap();
}
