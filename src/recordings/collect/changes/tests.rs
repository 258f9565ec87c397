use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{ARCHIVE, Changed, Comparison, LIST, Sides};
use crate::event::{ArtifactAdded, Withheld};
use crate::recordings::collect::{Limits, Secrets};
use crate::recordings::{RunDir, Store};
use crate::redact::Redactor;

const SECRET: &str = "correct-horse-battery-staple";

const LIMITS: Limits = Limits {
    max_files: 1,
    max_file_bytes: 1 << 20,
    max_total_bytes: 4 << 20,
    secrets: Secrets::Withhold,
};

/// Three directories that stand for the sides of an overlay, and a run.
struct Layers {
    directory: tempfile::TempDir,
    run: RunDir,
}

struct Taken {
    changed: Changed,
    told: Vec<ArtifactAdded>,
    list: Value,
    /// Mode, owner and content (of a link its target) by path.
    archive: BTreeMap<String, (u32, u64, Vec<u8>)>,
}

impl Layers {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&directory.path().join("recordings")).unwrap();
        let run = store.create_run(&"r1".parse().unwrap()).unwrap();
        for side in ["above", "below", "merged"] {
            fs::create_dir(directory.path().join(side)).unwrap();
        }
        Self { directory, run }
    }

    fn write(&self, sides: &[&str], path: &str, content: &str, mode: u32) {
        for side in sides {
            let path = self.path(side, path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }

    fn path(&self, side: &str, path: &str) -> PathBuf {
        self.directory.path().join(side).join(path)
    }

    fn take(&self, limits: Limits, is_over: &dyn Fn() -> bool) -> Taken {
        let redactor = Redactor::new([("KEY".to_owned(), SECRET.as_bytes().to_vec())]);
        let open = |side| File::open(self.path(side, "")).unwrap();
        let (above, below, merged) = (open("above"), open("below"), open("merged"));
        let mut told = Vec::new();
        let mut tell = |added| told.push(added);
        let sides = Sides {
            above: above.as_fd(),
            below: below.as_fd(),
            merged: merged.as_fd(),
        };
        let changed = Comparison::new(&self.run, &redactor, limits, (7, 8), is_over)
            .take(sides, "/the/workspace", &mut tell)
            .unwrap();
        let artifacts = self.directory.path().join("recordings/r1/artifacts");
        let list = fs::read(artifacts.join(LIST)).unwrap();
        let mut archive = BTreeMap::new();
        if let Ok(file) = File::open(artifacts.join(ARCHIVE)) {
            for entry in tar::Archive::new(file).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                if let Some(target) = entry.link_name_bytes() {
                    content = target.into_owned();
                }
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                let header = entry.header();
                let value = (header.mode().unwrap(), header.uid().unwrap(), content);
                archive.insert(path, value);
            }
        }
        Taken {
            changed,
            told,
            list: serde_json::from_slice(&list).unwrap(),
            archive,
        }
    }
}

impl Taken {
    fn of(&self, path: &str) -> &Value {
        let changes = self.list["changes"].as_array().unwrap();
        changes
            .iter()
            .find(|change| change["path"] == path)
            .unwrap_or(&Value::Null)
    }

    fn withheld(&self, path: &str) -> Option<&str> {
        assert_ne!(self.of(path), &Value::Null, "{path} is not listed");
        self.of(path)["withheld"].as_str()
    }
}

#[test]
fn what_is_new_what_is_other_and_what_is_gone_is_told_with_what_it_was() {
    let layers = Layers::new();
    layers.write(&["below", "merged"], "kept", "kept", 0o644);
    layers.write(&["below", "merged"], "deep/kept", "kept", 0o644);
    layers.write(&["below"], "changed", "old", 0o644);
    layers.write(&["above", "merged"], "changed", "newer", 0o4755);
    layers.write(&["below"], "gone", "gone!", 0o600);
    layers.write(&["below"], "gone-tree/file", "x", 0o644);
    layers.write(&["above", "merged"], "deep/added", "added", 0o640);
    // A directory was replaced: what lay in it is not there any more, and no whiteout says so.
    layers.write(&["below"], "replaced/old", "old", 0o644);
    layers.write(&["above", "merged"], "replaced/new", "new", 0o644);
    layers.write(&["below"], "was-file", "file", 0o644);
    layers.write(&["above", "merged"], "was-file/inner", "inner", 0o644);
    symlink("/etc/shadow", layers.path("above", "link")).unwrap();
    symlink("/etc/shadow", layers.path("merged", "link")).unwrap();
    let taken = layers.take(LIMITS, &|| false);

    let list = &taken.list;
    assert_eq!(list["workspace"], "/the/workspace", "{list}");
    assert_eq!(
        (&list["archive"], &list["cut"]),
        (&json!(ARCHIVE), &Value::Null)
    );
    let expected = json!([
        {"path": "changed", "change": "changed", "kind": "file", "size": 5, "mode": "4755",
         "was": {"kind": "file", "size": 3, "mode": "0644"}},
        {"path": "deep/added", "change": "added", "kind": "file", "size": 5, "mode": "0640"},
        {"path": "gone", "change": "removed", "kind": "file", "size": 5, "mode": "0600"},
        {"path": "gone-tree", "change": "removed", "kind": "directory", "mode": "0755"},
        {"path": "link", "change": "added", "kind": "link", "mode": "0777"},
        {"path": "replaced/new", "change": "added", "kind": "file", "size": 3, "mode": "0644"},
        {"path": "replaced/old", "change": "removed", "kind": "file", "size": 3, "mode": "0644"},
        {"path": "was-file", "change": "changed", "kind": "directory", "mode": "0755",
         "was": {"kind": "file", "size": 4, "mode": "0644"}},
        {"path": "was-file/inner", "change": "added", "kind": "file", "size": 5, "mode": "0644"},
    ]);
    assert_eq!(list["changes"], expected);
    let Changed {
        added,
        changed,
        removed,
        ..
    } = taken.changed;
    assert_eq!((added, changed, removed), (4, 2, 3));

    // Set-user-id is gone, the link is one and not what it leads to, and all of it is the owner's.
    let entry = |path: &str| {
        let (mode, owner, content) = &taken.archive[path];
        (*mode, *owner, String::from_utf8_lossy(content).into_owned())
    };
    assert_eq!(entry("changed"), (0o755, 7, "newer".to_owned()));
    assert_eq!(entry("link"), (0o777, 7, "/etc/shadow".to_owned()));
    assert_eq!(entry("deep/added"), (0o640, 7, "added".to_owned()));
    assert_eq!(taken.archive.len(), 6, "{:?}", taken.archive.keys());
    let told: Vec<_> = taken.told.iter().map(|added| added.path.as_str()).collect();
    assert_eq!(told, [ARCHIVE, LIST]);
}

#[test]
fn what_the_archive_lacks_is_listed_with_the_reason() {
    let layers = Layers::new();
    let both = ["above", "merged"];
    layers.write(&both, "good", "good", 0o644);
    layers.write(&both, "secret", SECRET, 0o644);
    layers.write(&both, &format!("{SECRET}.txt"), "x", 0o644);
    layers.write(&both, "two\nlines", "x", 0o644);
    for side in both {
        symlink(format!("/{SECRET}"), layers.path(side, "to-secret")).unwrap();
        let sparse = File::create(layers.path(side, "sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let fifo = layers.path(side, "fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::create_dir_all(layers.path(side, &["d"; 40].join("/"))).unwrap();
    }
    let taken = layers.take(LIMITS, &|| false);
    assert_eq!(taken.withheld("good"), None);
    assert_eq!(taken.withheld("secret"), Some("secret"));
    assert_eq!(taken.withheld("two\\nlines"), Some("name"));
    assert_eq!(taken.withheld("to-secret"), Some("secret"));
    assert_eq!(taken.withheld("sparse"), Some("too-large"));
    assert_eq!(taken.withheld("fifo"), Some("special"));
    assert!(!taken.list.to_string().contains(SECRET));
    assert_eq!(taken.changed.withheld[&Withheld::Secret], 3);
    assert_eq!(taken.changed.withheld[&Withheld::TooDeep], 1);
    let kept: Vec<_> = taken
        .archive
        .keys()
        .filter(|path| !path.starts_with("d/"))
        .collect();
    assert_eq!(kept, ["good"]);
}

#[test]
fn no_limit_is_passed_and_what_is_beyond_is_told() {
    let layers = Layers::new();
    for name in ["a", "b", "c"] {
        layers.write(&["above", "merged"], name, &name.repeat(600), 0o644);
    }
    let limits = Limits {
        max_total_bytes: 1_300,
        ..LIMITS
    };
    let taken = layers.take(limits, &|| false);
    assert_eq!(taken.archive.len(), 2);
    assert_eq!(taken.withheld("c"), Some("beyond-total"));
    let layers = Layers::new();
    layers.write(&["above", "merged"], "a", "a", 0o644);
    let taken = layers.take(LIMITS, &|| true);
    assert_eq!(taken.list["cut"], "there was no time left");
    assert_eq!((taken.changed.added, taken.archive.len()), (0, 0));
}

#[test]
fn a_workspace_in_which_nothing_changed_has_an_empty_list_and_no_archive() {
    let layers = Layers::new();
    layers.write(&["below", "merged"], "kept/file", "kept", 0o644);
    // The kernel copies directories on the way to a change that was taken back.
    fs::create_dir(layers.path("above", "kept")).unwrap();
    let taken = layers.take(LIMITS, &|| false);
    assert_eq!(taken.list["changes"], json!([]));
    assert_eq!(taken.list["archive"], Value::Null);
    assert_eq!(taken.told.len(), 1);
}
