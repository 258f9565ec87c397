use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

#[test]
fn the_default_place_follows_the_environment() {
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let table: [(Variables<'_>, Option<&str>); 6] = [
        (
            &[("XDG_STATE_HOME", "/s"), ("HOME", "/h")],
            Some("/s/stockade/runs"),
        ),
        (&[("HOME", "/h")], Some("/h/.local/state/stockade/runs")),
        (
            &[("XDG_STATE_HOME", ""), ("HOME", "/h")],
            Some("/h/.local/state/stockade/runs"),
        ),
        (
            &[("XDG_STATE_HOME", "relative"), ("HOME", "/h")],
            Some("/h/.local/state/stockade/runs"),
        ),
        (&[("HOME", "relative")], None),
        (&[], None),
    ];
    for (variables, expected) in table {
        let env = |name: &str| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| OsString::from(value))
        };
        assert_eq!(
            Store::default_path(&env).ok(),
            expected.map(PathBuf::from),
            "{variables:?}"
        );
    }
}

#[test]
fn a_store_is_made_with_its_parents_and_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/runs");
    Store::open_or_create(&path).unwrap();
    let store = Store::open_or_create(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o027, 0, "mode is {mode:o}");
    store.internal().unwrap();
    assert!(path.join(".stockade").is_dir());
    std::fs::write(root.path().join("file"), "").unwrap();
    assert!(Store::open_or_create(&root.path().join("file")).is_err());
}

#[test]
fn a_run_is_made_once_and_found_again() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    assert!(store.open_run(&id("r1")).unwrap().is_none());
    store
        .create_run(&id("r1"))
        .unwrap()
        .write_atomic("x", b"1")
        .unwrap();
    let again = store.create_run(&id("r1")).unwrap();
    assert_eq!(again.read("x", 10).unwrap().unwrap(), b"1");
    assert_eq!(again.path(), root.path().join("r1"));
    assert_eq!(store.open_run(&id("r1")).unwrap().unwrap().id(), &id("r1"));
}

#[test]
fn a_link_or_a_file_in_place_of_a_run_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    symlink(outside.path(), root.path().join("link")).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    for name in ["link", "file"] {
        assert!(store.create_run(&id(name)).is_err(), "{name}");
        assert!(store.open_run(&id(name)).is_err(), "{name}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn only_directories_with_the_name_of_a_run_are_listed_newest_first() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (name, seconds) in [("old", 10), ("new", 30), ("middle", 20), ("middle-b", 20)] {
        store.create_run(&id(name)).unwrap();
        std::fs::File::open(root.path().join(name))
            .unwrap()
            .set_modified(at(seconds))
            .unwrap();
    }
    store.internal().unwrap();
    store.point_latest_at(&id("new")).unwrap();
    std::fs::create_dir(root.path().join("Not A Run")).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let listed = store.list().unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(names, ["new", "middle-b", "middle", "old"]);
    assert_eq!(listed[0].modified_at, at(30));
}

#[test]
fn latest_is_replaced_and_never_absent() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let latest = root.path().join("latest");
    for name in ["a", "b", "b", "c"] {
        store.point_latest_at(&id(name)).unwrap();
        assert_eq!(std::fs::read_link(&latest).unwrap(), PathBuf::from(name));
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    std::fs::remove_file(&latest).unwrap();
    std::fs::create_dir(&latest).unwrap();
    assert!(store.point_latest_at(&id("a")).is_err());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}
