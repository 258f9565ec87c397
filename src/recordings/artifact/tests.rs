use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;

use super::super::Store;
use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let run = store.create_run(&"r1".parse().unwrap()).unwrap();
    (root, run)
}

fn add(run: &RunDir, path: &str, content: &[u8]) -> Result<ArtifactAdded, ArtifactError> {
    let mut writer = ArtifactWriter::create(run, path, "text/plain", 1_000)?;
    writer.write(content)?;
    writer.finish()
}

#[test]
fn an_artifact_is_hashed_and_read_back() {
    let (_root, run) = run();
    let mut writer = ArtifactWriter::create(&run, "out/a.txt", "text/plain", 3).unwrap();
    writer.write(b"ab").unwrap();
    writer.write(b"c").unwrap();
    assert!(matches!(
        open_artifact(&run, "out/a.txt"),
        Err(ArtifactError::NotFound { .. })
    ));
    let added = writer.finish().unwrap();
    assert_eq!(
        added,
        ArtifactAdded {
            path: "out/a.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            size: 3,
            // FIPS 180-4, example of "abc".
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
            withheld: None,
            has_secret: false,
        }
    );
    let (file, size) = open_artifact(&run, "out/a.txt").unwrap();
    assert_eq!(
        (io::read_to_string(file).unwrap().as_str(), size),
        ("abc", 3)
    );
}

#[test]
fn an_artifact_has_a_limit_and_leaves_nothing_when_given_up() {
    let (root, run) = run();
    let mut writer = ArtifactWriter::create(&run, "a", "text/plain", 3).unwrap();
    writer.write(b"ab").unwrap();
    assert!(matches!(
        writer.write(b"cd"),
        Err(ArtifactError::TooLarge { max_bytes: 3, .. })
    ));
    assert_eq!(writer.size(), 2);
    let error = Write::write(&mut writer, b"cd").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    drop(writer);
    assert_eq!(
        std::fs::read_dir(root.path().join("r1")).unwrap().count(),
        0
    );
}

#[test]
fn an_artifact_is_never_replaced() {
    let (root, run) = run();
    let late = ArtifactWriter::create(&run, "a", "text/plain", 3).unwrap();
    add(&run, "a", b"first").unwrap();
    assert!(matches!(
        add(&run, "a", b"x"),
        Err(ArtifactError::Exists { .. })
    ));
    assert!(matches!(late.finish(), Err(ArtifactError::Exists { .. })));
    let (file, _) = open_artifact(&run, "a").unwrap();
    assert_eq!(io::read_to_string(file).unwrap(), "first");
    let names = std::fs::read_dir(root.path().join("r1")).unwrap().count();
    assert_eq!(names, 1, "only `artifacts` is left");
}

#[test]
fn paths_outside_the_grammar_are_invalid_for_reader_and_writer() {
    let (_root, run) = run();
    let too_long = "a/".repeat(600);
    for path in [
        "",
        "/etc/passwd",
        "..",
        "../status.json",
        "a/../../status.json",
        "a/./b",
        "a//b",
        "a\0b",
        &too_long,
    ] {
        assert!(
            matches!(
                open_artifact(&run, path),
                Err(ArtifactError::InvalidPath { .. })
            ),
            "{path:?}"
        );
        assert!(
            matches!(add(&run, path, b""), Err(ArtifactError::InvalidPath { .. })),
            "{path:?}"
        );
    }
}

#[test]
fn nothing_but_a_regular_file_inside_is_found() {
    let (root, run) = run();
    run.write_atomic("status.json", b"{}").unwrap();
    assert!(matches!(
        open_artifact(&run, "x"),
        Err(ArtifactError::NotFound { .. })
    ));
    add(&run, "dir/file", b"1").unwrap();
    let artifacts = root.path().join("r1/artifacts");
    symlink("/etc/passwd", artifacts.join("absolute")).unwrap();
    symlink("../status.json", artifacts.join("upwards")).unwrap();
    symlink("dir", artifacts.join("inwards")).unwrap();
    symlink("/proc/self/fd", artifacts.join("magic")).unwrap();
    nix::unistd::mkfifo(&artifacts.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let _listener = UnixListener::bind(artifacts.join("socket")).unwrap();
    for path in [
        "none",
        "none/file",
        "dir",
        "dir/file/x",
        "absolute",
        "upwards",
        "inwards/file",
        "magic/0",
        "fifo",
        "socket",
        "%2e%2e/status.json",
        "%2e%2e%2fstatus.json",
        "..%2fstatus.json",
    ] {
        assert!(
            matches!(
                open_artifact(&run, path),
                Err(ArtifactError::NotFound { .. })
            ),
            "{path:?}: {:?}",
            open_artifact(&run, path)
        );
    }
}

#[test]
fn a_link_in_place_of_the_directory_is_not_followed() {
    let (root, run) = run();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "secret").unwrap();
    symlink(outside.path(), root.path().join("r1/artifacts")).unwrap();
    assert!(open_artifact(&run, "file").is_err());
    assert!(add(&run, "new", b"1").is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}
