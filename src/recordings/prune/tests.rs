use std::os::unix::fs::symlink;

use super::*;

const DAY: u64 = 86_400;
const NOW_DAYS: u64 = 1_000;

struct Fixture {
    root: tempfile::TempDir,
    store: Store,
}

fn at(days_ago: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((NOW_DAYS - days_ago) * DAY)
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(root.path()).unwrap();
        Self { root, store }
    }

    fn run(&self, name: &str) -> RunDir {
        self.store.create_run(&name.parse().unwrap()).unwrap()
    }

    /// A run of 1,000 bytes that was last changed so many days ago.
    fn add(&self, name: &str, days_ago: u64, status: &str) -> RunDir {
        let run = self.run(name);
        let status = format!("{{\"status\":\"{status}\"}}");
        run.write_status(status.as_bytes()).unwrap();
        let opening = "{\"type\":\"log.opened\"}\n";
        let filler = "x".repeat(1_000 - status.len() - opening.len());
        let log = format!("{opening}{filler}");
        run.write_atomic(layout::EVENTS, log.as_bytes()).unwrap();
        self.touch(&format!("{name}/{}", layout::EVENTS), days_ago);
        self.touch(name, days_ago);
        run
    }

    fn touch(&self, path: &str, days_ago: u64) {
        let file = std::fs::File::open(self.root.path().join(path)).unwrap();
        file.set_modified(at(days_ago)).unwrap();
    }

    fn plan(&self, retention: Retention) -> PrunePlan {
        plan(&self.store, &retention, at(0)).unwrap()
    }
}

fn removed(plan: &PrunePlan) -> Vec<(&str, RemovalReason)> {
    plan.remove
        .iter()
        .map(|run| (run.id.as_str(), run.reason))
        .collect()
}

fn kept(plan: &PrunePlan) -> Vec<(&str, KeepReason)> {
    plan.keep
        .iter()
        .map(|run| (run.id.as_str(), run.reason))
        .collect()
}

fn days(days: u64) -> Option<Duration> {
    Some(Duration::from_secs(days * DAY))
}

#[test]
fn each_limit_removes_what_is_beyond_it() {
    use RemovalReason::{Age, Bytes, Count};
    let fixture = Fixture::new();
    for (name, days_ago) in [("d1", 1), ("d2", 2), ("d3", 3), ("d4", 4)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    let none = Retention::default();
    let table: [(Retention, &[(&str, RemovalReason)]); 9] = [
        (none, &[]),
        (
            Retention {
                max_age: days(2),
                ..none
            },
            &[("d3", Age), ("d4", Age)],
        ),
        (
            Retention {
                max_age: days(0),
                ..none
            },
            &[("d2", Age), ("d3", Age), ("d4", Age)],
        ),
        (
            Retention {
                max_runs: Some(3),
                ..none
            },
            &[("d4", Count)],
        ),
        (
            Retention {
                max_runs: Some(0),
                ..none
            },
            &[("d2", Count), ("d3", Count), ("d4", Count)],
        ),
        (
            Retention {
                max_bytes: Some(4_000),
                ..none
            },
            &[],
        ),
        (
            Retention {
                max_bytes: Some(2_999),
                ..none
            },
            &[("d3", Bytes), ("d4", Bytes)],
        ),
        (
            Retention {
                max_bytes: Some(0),
                ..none
            },
            &[("d2", Bytes), ("d3", Bytes), ("d4", Bytes)],
        ),
        (
            Retention {
                max_age: days(3),
                max_runs: Some(2),
                max_bytes: Some(1_000),
            },
            &[("d2", Bytes), ("d3", Count), ("d4", Age)],
        ),
    ];
    for (retention, expected) in table {
        let plan = fixture.plan(retention);
        assert_eq!(removed(&plan), expected, "{retention:?}");
        assert_eq!(plan.keep[0].reason, KeepReason::Newest);
        assert_eq!(plan.keep.len() + plan.remove.len(), 4);
        assert!(plan.keep.iter().all(|run| run.bytes == 1_000));
    }
}

#[test]
fn running_abandoned_and_foreign_directories_have_their_own_rules() {
    let fixture = Fixture::new();
    drop(fixture.add("newest", 1, "failed"));
    fixture
        .run("foreign")
        .write_atomic("notes.txt", b"mine")
        .unwrap();
    // A name that others use, too.
    let of_others = fixture.run("of-others");
    of_others
        .write_atomic(layout::EVENTS, b"{\"type\":\"sale\"}\n")
        .unwrap();
    let running = fixture.add("running", 50, "running");
    let lingering = fixture.add("lingering", 60, "completed");
    drop(fixture.add("abandoned", 5, "running"));
    drop(fixture.add("old-abandoned", 30, "running"));
    drop(fixture.add("finished", 6, "terminated"));
    let _locks = [
        RunLock::try_acquire(&running).unwrap(),
        RunLock::try_acquire(&lingering).unwrap(),
    ];
    for (name, days_ago) in [
        ("of-others", 80),
        ("foreign", 70),
        ("running", 50),
        ("lingering", 60),
    ] {
        fixture.touch(name, days_ago);
    }
    let plan = fixture.plan(Retention {
        max_age: days(20),
        max_runs: Some(1),
        max_bytes: Some(1),
    });
    assert_eq!(
        kept(&plan),
        [
            ("newest", KeepReason::Newest),
            ("abandoned", KeepReason::Abandoned),
            ("running", KeepReason::Locked),
            ("lingering", KeepReason::Locked),
            ("foreign", KeepReason::NotARun),
            ("of-others", KeepReason::NotARun),
        ]
    );
    assert_eq!(
        removed(&plan),
        [
            ("finished", RemovalReason::Count),
            ("old-abandoned", RemovalReason::Age)
        ]
    );
}

#[test]
fn a_removal_takes_the_whole_run_and_follows_no_link() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "precious").unwrap();
    drop(fixture.add("newest", 1, "completed"));
    drop(fixture.add("old", 2, "completed"));
    let old = fixture.root.path().join("old");
    std::fs::create_dir_all(old.join("artifacts/a/b")).unwrap();
    std::fs::write(old.join("artifacts/a/b/c"), "x").unwrap();
    symlink(outside.path(), old.join("artifacts/a/link")).unwrap();
    symlink(outside.path().join("file"), old.join("file-link")).unwrap();
    fixture.touch("old", 2);
    let stale = fixture.root.path().join(".stockade/trash-stale/deep");
    std::fs::create_dir_all(&stale).unwrap();
    let token = fixture.root.path().join(".stockade/token");
    std::fs::write(&token, "kept").unwrap();
    let plan = fixture.plan(Retention {
        max_runs: Some(1),
        ..Retention::default()
    });
    let report = execute(&fixture.store, &plan).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.removed, ["old".parse().unwrap()]);
    assert!(!old.exists() && token.exists());
    let left = std::fs::read_dir(fixture.root.path().join(".stockade")).unwrap();
    assert_eq!(left.count(), 1, "only the token is left");
    assert!(outside.path().join("file").exists());
    // A second execution of the same plan finds nothing to do.
    let report = execute(&fixture.store, &plan).unwrap();
    assert_eq!(report.gone, ["old".parse().unwrap()]);
    assert!(report.skipped.is_empty() && report.removed.is_empty());
}

#[test]
fn what_was_locked_or_reclaimed_after_the_plan_stays() {
    let fixture = Fixture::new();
    drop(fixture.add("newest", 1, "completed"));
    let locked = fixture.add("locked", 2, "completed");
    let reused = fixture.add("reused", 3, "completed");
    let plan = fixture.plan(Retention {
        max_runs: Some(1),
        ..Retention::default()
    });
    assert_eq!(plan.remove.len(), 2);
    let lock = RunLock::try_acquire(&locked).unwrap();
    reused.write_status(br#"{"status":"running"}"#).unwrap();
    let report = execute(&fixture.store, &plan).unwrap();
    assert!(report.removed.is_empty());
    assert_eq!(report.skipped.len(), 2);
    drop(lock);
    let report = execute(&fixture.store, &plan).unwrap();
    assert_eq!(report.removed, ["locked".parse().unwrap()]);
}

#[test]
fn who_waited_for_the_lock_of_a_removed_run_learns_that_it_is_gone() {
    let fixture = Fixture::new();
    drop(fixture.add("newest", 1, "completed"));
    let waiting = fixture.add("old", 2, "completed");
    let plan = fixture.plan(Retention {
        max_runs: Some(1),
        ..Retention::default()
    });
    execute(&fixture.store, &plan).unwrap();
    // The directory has no name any more, so no lock file can be made in it.
    assert!(matches!(
        RunLock::try_acquire(&waiting),
        Err(LockError::Gone { .. })
    ));
}

#[test]
fn a_pinned_run_stays_beside_every_limit() {
    let fixture = Fixture::new();
    for (name, days_ago) in [("d1", 1), ("d2", 2), ("d3", 3), ("d4", 4)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    pin::pin(&fixture.store, &"d3".parse().unwrap()).unwrap();
    let strictest = Retention {
        max_age: days(0),
        max_runs: Some(0),
        max_bytes: Some(0),
    };
    let plan = fixture.plan(strictest);
    assert_eq!(
        kept(&plan),
        [("d1", KeepReason::Newest), ("d3", KeepReason::Pinned)]
    );
    // It takes nobody's place: two of the others stay within two.
    let plan = fixture.plan(Retention {
        max_runs: Some(2),
        ..Retention::default()
    });
    assert_eq!(removed(&plan), [("d4", RemovalReason::Count)]);
    // The newest run is the newest, pinned or not.
    pin::pin(&fixture.store, &"d1".parse().unwrap()).unwrap();
    let plan = fixture.plan(strictest);
    assert_eq!(plan.remove.len(), 2, "{plan:?}");
}

#[test]
fn a_pin_that_came_after_the_plan_counts_and_one_of_a_removed_run_goes() {
    let fixture = Fixture::new();
    for (name, days_ago) in [("d1", 1), ("d2", 2), ("d3", 3)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    let plan = fixture.plan(Retention {
        max_runs: Some(1),
        ..Retention::default()
    });
    let (d2, d3): (RunId, RunId) = ("d2".parse().unwrap(), "d3".parse().unwrap());
    pin::pin(&fixture.store, &d2).unwrap();
    let report = execute(&fixture.store, &plan).unwrap();
    assert_eq!(report.skipped, ["d2".parse().unwrap()]);
    assert_eq!(report.removed, [d3]);
    std::fs::remove_dir_all(fixture.root.path().join("d2")).unwrap();
    execute(&fixture.store, &PrunePlan::default()).unwrap();
    assert!(!Pins::load(&fixture.store).unwrap().holds(&d2));
}

#[test]
fn two_prunings_at_once_remove_each_run_once_and_fail_at_nothing() {
    let fixture = Fixture::new();
    for number in 0..40 {
        drop(fixture.add(&format!("r{number:02}"), number + 1, "completed"));
    }
    let limits = Retention {
        max_runs: Some(1),
        ..Retention::default()
    };
    let prune = || {
        let store = Store::open(fixture.root.path()).unwrap();
        let plan = plan(&store, &limits, at(0)).unwrap();
        execute(&store, &plan).unwrap()
    };
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(prune)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    let n_removed: usize = reports.iter().map(|report| report.removed.len()).sum();
    for report in &reports {
        assert!(report.failed.is_empty(), "{:?}", report.failed);
    }
    assert_eq!(n_removed, 39);
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

#[test]
fn the_run_that_latest_names_is_the_newest_whatever_was_changed_after_it() {
    let fixture = Fixture::new();
    let started_last: RunId = "started-last".parse().unwrap();
    for (name, days_ago) in [("ended-last", 1), ("started-last", 2), ("touched", 0)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    fixture.store.point_latest_at(&started_last).unwrap();
    let one_run = Retention {
        max_runs: Some(1),
        ..Retention::default()
    };
    let plan = fixture.plan(one_run);
    assert_eq!(kept(&plan), [("started-last", KeepReason::Newest)]);
    assert_eq!(
        removed(&plan),
        [
            ("touched", RemovalReason::Count),
            ("ended-last", RemovalReason::Count)
        ]
    );
    // What is named after the plan was made stays as well.
    let ended_last: RunId = "ended-last".parse().unwrap();
    fixture.store.point_latest_at(&ended_last).unwrap();
    let report = execute(&fixture.store, &plan).unwrap();
    assert_eq!(report.skipped, [ended_last]);
    assert_eq!(fixture.store.list().unwrap().len(), 2);
}

#[test]
fn where_latest_names_no_run_the_newest_is_the_one_that_was_begun_last() {
    let fixture = Fixture::new();
    fixture
        .run("foreign")
        .write_atomic("notes.txt", b"mine")
        .unwrap();
    for (name, days_ago) in [("d1", 1), ("d2", 2)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    // Another pruning takes the lock of an older run, which changes its directory.
    fixture.touch("d2", 0);
    for name in ["gone", "foreign"] {
        fixture
            .store
            .point_latest_at(&name.parse().unwrap())
            .unwrap();
        let plan = fixture.plan(Retention {
            max_runs: Some(0),
            ..Retention::default()
        });
        assert_eq!(
            kept(&plan),
            [("d1", KeepReason::Newest), ("foreign", KeepReason::NotARun)],
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_read_stays_and_keeps_no_other_run() {
    let fixture = Fixture::new();
    for (name, days_ago) in [("d1", 1), ("deep", 2), ("linked", 3), ("d4", 4)] {
        drop(fixture.add(name, days_ago, "completed"));
    }
    let deep: PathBuf = std::iter::repeat_n("d", 60).collect();
    std::fs::create_dir_all(fixture.root.path().join("deep").join(deep)).unwrap();
    let lock = fixture.root.path().join("linked").join(layout::LOCK);
    symlink("/etc/hostname", lock).unwrap();
    fixture.touch("deep", 2);
    fixture.touch("linked", 3);
    // A pin whose run nobody can open: it stays, and stops nothing.
    pin::pin(&fixture.store, &"d1".parse().unwrap()).unwrap();
    let pins = fixture.root.path().join(".stockade/pins");
    symlink("/etc", fixture.root.path().join("strange")).unwrap();
    std::fs::write(pins.join("strange"), "").unwrap();
    let plan = fixture.plan(Retention {
        max_runs: Some(0),
        ..Retention::default()
    });
    assert_eq!(
        kept(&plan),
        [
            ("d1", KeepReason::Pinned),
            ("deep", KeepReason::Unreadable),
            ("linked", KeepReason::Unreadable)
        ]
    );
    assert_eq!(plan.unreadable.len(), 2, "{:?}", plan.unreadable);
    let report = execute(&fixture.store, &plan).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.removed, ["d4".parse().unwrap()]);
    assert!(pins.join("strange").exists());
}
