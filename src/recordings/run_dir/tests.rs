use std::sync::atomic::{AtomicBool, Ordering};

use super::super::Store;
use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let run = store.create_run(&"r1".parse().unwrap()).unwrap();
    (root, run)
}

#[test]
fn a_reader_during_a_thousand_writes_never_sees_a_part() {
    const N_WRITES: u64 = 1_000;
    let (root, run) = run();
    let document = |number: u64| {
        let filler = "x".repeat(usize::try_from(number % 7).unwrap() * 3_000);
        serde_json::to_vec(&serde_json::json!({ "number": number, "filler": filler })).unwrap()
    };
    run.write_status(&document(0)).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let by_path = || {
            let path = root.path().join("r1/status.json");
            std::fs::read(path).unwrap()
        };
        let by_directory = || run.read(layout::STATUS, 1 << 20).unwrap().unwrap();
        let read_all = |read: &dyn Fn() -> Vec<u8>| {
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                let value: serde_json::Value = serde_json::from_slice(&read()).unwrap();
                let number = value["number"].as_u64().unwrap();
                assert!(number >= last, "{number} after {last}");
                last = number;
            }
        };
        scope.spawn(move || read_all(&by_path));
        scope.spawn(move || read_all(&by_directory));
        for number in 1..=N_WRITES {
            run.write_status(&document(number)).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        run.read(layout::STATUS, 1 << 20).unwrap().unwrap(),
        document(N_WRITES)
    );
}

#[test]
fn reading_has_a_limit_and_wants_a_regular_file() {
    let (root, run) = run();
    assert_eq!(run.read("none", 10).unwrap(), None);
    run.write_atomic("file", b"12345").unwrap();
    assert_eq!(run.read("file", 5).unwrap().unwrap(), b"12345");
    assert!(matches!(
        run.read("file", 4),
        Err(RecordingsError::TooLarge { max_bytes: 4, .. })
    ));
    nix::unistd::mkfifo(&root.path().join("r1/fifo"), Mode::S_IRUSR).unwrap();
    assert!(matches!(
        run.read("fifo", 4),
        Err(RecordingsError::NotAFile { .. })
    ));
    std::os::unix::fs::symlink("file", root.path().join("r1/link")).unwrap();
    assert!(run.read("link", 10).is_err());
    assert!(run.read("../r1/file", 10).is_err());
}

#[test]
fn a_new_file_is_appended_to_and_is_made_once() {
    use std::io::{Seek, Write};
    let (_root, run) = run();
    let mut file = run.create_file(layout::EVENTS).unwrap();
    file.write_all(b"one\n").unwrap();
    file.rewind().unwrap();
    file.write_all(b"two\n").unwrap();
    run.sync_dir().unwrap();
    assert_eq!(
        run.read(layout::EVENTS, 100).unwrap().unwrap(),
        b"one\ntwo\n"
    );
    assert_eq!(
        run.create_file(layout::EVENTS).unwrap_err().io_kind(),
        Some(std::io::ErrorKind::AlreadyExists)
    );
}

#[test]
fn what_a_killed_writer_left_is_removed_and_nothing_else() {
    let (root, run) = run();
    let leftover = ".status.json.0123456789abcdef";
    for name in [
        leftover,
        "status.json",
        ".hidden",
        ".a.0123",
        "a.0123456789abcdef",
    ] {
        std::fs::write(root.path().join("r1").join(name), "").unwrap();
    }
    assert_eq!(run.remove_stale_temporaries().unwrap(), 1);
    assert!(!run.contains(leftover).unwrap());
    for name in ["status.json", ".hidden", ".a.0123", "a.0123456789abcdef"] {
        assert!(run.contains(name).unwrap(), "{name}");
    }
}

#[test]
fn the_run_id_comes_from_the_claim_then_the_spec_then_the_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("by-name");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(RunDir::open(&path).unwrap().id().as_str(), "by-name");
    std::fs::write(path.join("spec.json"), r#"{"run_id":"by-spec","x":1}"#).unwrap();
    assert_eq!(RunDir::open(&path).unwrap().id().as_str(), "by-spec");
    std::fs::write(path.join("claim.json"), "damaged").unwrap();
    assert_eq!(RunDir::open(&path).unwrap().id().as_str(), "by-spec");
    std::fs::write(path.join("claim.json"), r#"{"run_id":"by-claim"}"#).unwrap();
    assert_eq!(RunDir::open(&path).unwrap().id().as_str(), "by-claim");
    let nameless = root.path().join("No Run");
    std::fs::create_dir(&nameless).unwrap();
    assert!(matches!(
        RunDir::open(&nameless),
        Err(RecordingsError::NotARun { .. })
    ));
    assert!(RunDir::open(&root.path().join("none")).is_err());
}

#[test]
fn a_directory_that_is_renamed_while_open_stays_usable() {
    let (root, run) = run();
    std::fs::rename(root.path().join("r1"), root.path().join("r2")).unwrap();
    run.write_atomic("file", b"1").unwrap();
    assert!(root.path().join("r2/file").exists());
}
