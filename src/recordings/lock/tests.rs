use std::process::{Command, Stdio};

use super::super::Store;
use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let run = store.create_run(&"r1".parse().unwrap()).unwrap();
    (root, run)
}

#[test]
fn a_lock_excludes_others_until_it_is_dropped() {
    let (_root, run) = run();
    assert_eq!(Holder::of(&run).unwrap(), Holder::Nobody);
    assert!(!run.contains(layout::LOCK).unwrap(), "asking makes no file");
    let lock = RunLock::try_acquire(&run).unwrap();
    assert_eq!(Holder::of(&run).unwrap(), Holder::Somebody);
    assert!(matches!(
        RunLock::try_acquire(&run),
        Err(LockError::Held { .. })
    ));
    drop(lock);
    assert_eq!(Holder::of(&run).unwrap(), Holder::Nobody);
    RunLock::try_acquire(&run).unwrap();
}

#[test]
fn askers_never_make_an_attempt_fail() {
    let (_root, run) = run();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    Holder::of(&run).unwrap();
                    std::thread::yield_now();
                }
            });
        }
        for attempt in 0..300 {
            let acquired = RunLock::try_acquire(&run);
            assert!(acquired.is_ok(), "attempt {attempt}: {acquired:?}");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn an_inherited_descriptor_is_the_same_lock_and_outlives_the_first() {
    let (_root, run) = run();
    let first = RunLock::try_acquire(&run).unwrap();
    let second = RunLock::from_inherited(&run, first.inheritable_fd().unwrap()).unwrap();
    let flags = nix::fcntl::fcntl(&second, FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
    drop(first);
    assert_eq!(Holder::of(&run).unwrap(), Holder::Somebody);
    drop(second.into_fd());
    assert_eq!(Holder::of(&run).unwrap(), Holder::Nobody);
}

#[test]
fn a_descriptor_of_another_file_or_of_a_held_lock_is_no_inheritance() {
    let (_root, run) = run();
    let other = run.create_file("other").unwrap();
    let _lock = RunLock::try_acquire(&run).unwrap();
    assert!(matches!(
        RunLock::from_inherited(&run, other.into()),
        Err(LockError::Foreign { .. })
    ));
    let reopened = run.open_beneath(layout::LOCK, OFlag::O_RDWR).unwrap();
    assert!(matches!(
        RunLock::from_inherited(&run, reopened.into()),
        Err(LockError::Held { .. })
    ));
}

#[test]
fn a_child_keeps_the_lock_over_exec_until_it_ends() {
    let (_root, run) = run();
    let lock = RunLock::try_acquire(&run).unwrap();
    let inheritable = lock.inheritable_fd().unwrap();
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(inheritable);
    drop(lock);
    assert_eq!(Holder::of(&run).unwrap(), Holder::Somebody);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(Holder::of(&run).unwrap(), Holder::Nobody);
}

#[test]
fn a_lock_file_that_was_removed_meanwhile_is_no_lock() {
    let (root, run) = run();
    let file = run
        .open_beneath(layout::LOCK, OFlag::O_RDWR | OFlag::O_CREAT)
        .unwrap();
    std::fs::remove_file(root.path().join("r1/run.lock")).unwrap();
    assert!(matches!(
        RunLock::lock(&run, file),
        Err(LockError::Gone { .. })
    ));
}
