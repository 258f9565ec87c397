use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Fixture {
    root: tempfile::TempDir,
    fd: File,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let fd = File::open(root.path()).unwrap();
        Self { root, fd }
    }

    fn directory(&self) -> Directory<'_> {
        Directory::new(self.fd.as_fd(), self.root.path())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_replaced_file_is_private_and_leaves_no_temporary() {
    let fixture = Fixture::new();
    fixture.directory().write_atomic("f", b"one").unwrap();
    fixture.directory().write_atomic("f", b"two").unwrap();
    assert_eq!(
        std::fs::read(fixture.root.path().join("f")).unwrap(),
        b"two"
    );
    assert_eq!(fixture.names(), ["f"]);
    let mode = std::fs::metadata(fixture.root.path().join("f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o137, 0, "mode is {mode:o}");
}

#[test]
fn a_failed_replacement_leaves_the_old_state_and_no_temporary() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.root.path().join("f/child")).unwrap();
    let error = fixture.directory().write_atomic("f", b"one").unwrap_err();
    assert!(error.to_string().starts_with("cannot rename"), "{error}");
    assert_eq!(fixture.names(), ["f"]);
}

#[test]
fn a_replaced_link_is_replaced_and_not_followed() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    symlink(&victim, fixture.root.path().join("f")).unwrap();
    fixture.directory().write_atomic("f", b"new").unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(
        std::fs::read(fixture.root.path().join("f")).unwrap(),
        b"new"
    );
}

#[test]
fn names_with_a_way_out_are_refused_by_every_writer() {
    let fixture = Fixture::new();
    let directory = fixture.directory();
    for name in ["", ".", "..", "a/b", "../x", "/x", "a\0b"] {
        assert!(directory.write_atomic(name, b"").is_err(), "{name:?}");
        assert!(directory.create_if_absent(name, b"").is_err(), "{name:?}");
        assert!(directory.make_directory(name).is_err(), "{name:?}");
        assert!(directory.open_directory(name).is_err(), "{name:?}");
    }
    assert!(fixture.names().is_empty());
}

#[test]
fn of_many_creators_one_creates_and_nobody_sees_a_part() {
    let fixture = Fixture::new();
    let content = |number: usize| format!("{number}").repeat(10_000);
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let directory = fixture.directory();
                let path = fixture.root.path().join("claim");
                scope.spawn(move || {
                    let answer = directory
                        .create_if_absent("claim", content(number).as_bytes())
                        .unwrap();
                    // Whoever won, the content is whole as soon as anybody has an answer.
                    assert_eq!(std::fs::metadata(path).unwrap().size(), 10_000);
                    answer
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|answer| *answer == Creation::Created)
            .count()
    });
    assert_eq!(created, 1);
    assert_eq!(fixture.names(), ["claim"]);
}

/// What both ways of opening must refuse, and what they must open.
fn check_opener(open: &dyn Fn(Directory<'_>, &RelativePath, OFlag) -> Result<OwnedFd, Errno>) {
    let fixture = Fixture::new();
    let root = fixture.root.path();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/b/file"), "mine").unwrap();
    symlink(outside.path(), root.join("way-out")).unwrap();
    symlink(outside.path().join("secret"), root.join("a/secret")).unwrap();
    symlink("b", root.join("a/inner")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    let answer = |path: &str| {
        let path = RelativePath::parse(path).unwrap();
        open(
            fixture.directory(),
            &path,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
        )
    };
    assert!(answer("a/b/file").is_ok());
    for path in [
        "way-out/secret",
        "a/secret",
        "a/inner/file",
        "magic/etc/passwd",
    ] {
        let errno = answer(path).unwrap_err();
        assert!(
            matches!(errno, Errno::ELOOP | Errno::ENOTDIR),
            "{path}: {errno}"
        );
    }
    assert_eq!(answer("a/none").unwrap_err(), Errno::ENOENT);
    assert_eq!(answer("%2e%2e/secret").unwrap_err(), Errno::ENOENT);
    assert_eq!(answer("a/b/file/x").unwrap_err(), Errno::ENOTDIR);
}

#[test]
fn no_link_is_followed_by_openat2() {
    check_opener(&|directory, path, flags| directory.open(path, flags));
}

#[test]
fn no_link_is_followed_by_the_walk_that_stands_in_for_openat2() {
    check_opener(&|directory, path, flags| directory.walk(path, flags, Mode::empty()));
}

#[test]
fn a_directory_that_is_swapped_for_a_link_gives_no_way_out() {
    let fixture = Fixture::new();
    let root = fixture.root.path().to_owned();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "outside").unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::fs::write(root.join("real/file"), "inside").unwrap();
    symlink(outside.path(), root.join("link")).unwrap();
    let path = RelativePath::parse("real/file").unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (n_inside, n_refused) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                nix::fcntl::renameat2(
                    &fixture.fd,
                    "real",
                    &fixture.fd,
                    "link",
                    RenameFlags::RENAME_EXCHANGE,
                )
                .unwrap();
            }
        });
        let (mut n_inside, mut n_refused) = (0, 0);
        while n_inside < 500 || n_refused < 1 {
            for by_walk in [false, true] {
                let opened = if by_walk {
                    fixture.directory().walk(
                        &path,
                        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
                        Mode::empty(),
                    )
                } else {
                    fixture.directory().open(&path, OFlag::O_RDONLY)
                };
                match opened {
                    Ok(fd) => {
                        let text = io::read_to_string(File::from(fd)).unwrap();
                        assert_eq!(text, "inside");
                        n_inside += 1;
                    }
                    Err(_) => n_refused += 1,
                }
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        (n_inside, n_refused)
    });
    assert!(n_inside > 0 && n_refused > 0);
}

#[test]
fn descriptors_do_not_pass_an_exec() {
    let fixture = Fixture::new();
    let (made, _) = fixture.directory().make_directory("d").unwrap();
    let path = RelativePath::parse("f").unwrap();
    let file = fixture
        .directory()
        .open(&path, OFlag::O_WRONLY | OFlag::O_CREAT)
        .unwrap();
    for fd in [made, file] {
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::fcntl::FdFlag::FD_CLOEXEC.bits());
    }
}
