use super::super::Store;
use super::super::lock::RunLock;
use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(root.path()).unwrap();
    let run = store.create_run(&"r1".parse().unwrap()).unwrap();
    (root, run)
}

fn claim() -> Claim {
    let now = "2026-01-02T03:04:05.678Z".to_owned();
    Claim::of_this_process("r1".parse().unwrap(), now).unwrap()
}

#[test]
fn a_claim_is_taken_once_and_names_its_taker() {
    let (_root, run) = run();
    assert_eq!(Claim::load(&run).unwrap(), None);
    let first = claim();
    assert_eq!(first.pid, std::process::id());
    assert!(first.start_ticks.is_some());
    assert_eq!(first.take(&run).unwrap(), ClaimAnswer::Taken);
    let second = claim();
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(
        second.take(&run).unwrap(),
        ClaimAnswer::Refused(Some(Box::new(first.clone())))
    );
    assert_eq!(Claim::load(&run).unwrap(), Some(first));
}

#[test]
fn of_many_claimers_one_takes_the_run() {
    let (_root, run) = run();
    let n_taken = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| claim().take(&run).unwrap()))
            .collect();
        claimers
            .into_iter()
            .map(|claimer| claimer.join().unwrap())
            .filter(|answer| *answer == ClaimAnswer::Taken)
            .count()
    });
    assert_eq!(n_taken, 1);
}

#[test]
fn a_damaged_claim_still_refuses() {
    let (_root, run) = run();
    run.write_atomic(layout::CLAIM, b"{").unwrap();
    assert_eq!(claim().take(&run).unwrap(), ClaimAnswer::Refused(None));
    assert!(matches!(
        Claim::load(&run),
        Err(RecordingsError::Damaged { .. })
    ));
}

#[test]
fn the_start_time_is_found_behind_any_command_name() {
    let fields: Vec<_> = (4..=22).map(|number| number.to_string()).collect();
    for name in ["cat", "a b", "a) S 1 (b", "((("] {
        let stat = format!("12 ({name}) S {}", fields.join(" "));
        assert_eq!(start_ticks(&stat), Some(22), "{stat}");
    }
    assert_eq!(start_ticks("12 (cat) S 1"), None);
    assert_eq!(start_ticks(""), None);
}

#[cfg(feature = "operator")]
#[test]
fn a_claim_is_alive_only_while_its_very_process_is_there() {
    let own = claim();
    assert!(is_alive(&own));
    let other_boot = "00000000-0000-4000-8000-000000000000".to_owned();
    let strangers = [
        Claim {
            boot_id: Some(other_boot),
            ..own.clone()
        },
        Claim {
            boot_id: None,
            ..own.clone()
        },
        Claim {
            start_ticks: own.start_ticks.map(|ticks| ticks + 1),
            ..own.clone()
        },
        Claim {
            start_ticks: None,
            ..own.clone()
        },
        // Another process with the number of nobody: pid_max(5) is below it.
        Claim {
            pid: 1 << 23,
            start_ticks: None,
            ..own.clone()
        },
        Claim {
            pid: std::os::unix::process::parent_id(),
            ..own
        },
    ];
    for stranger in strangers {
        assert!(!is_alive(&stranger), "{stranger:?}");
    }
}

#[test]
fn occupancy_follows_status_then_lock_then_evidence() {
    use Occupancy::{Abandoned, Finished, Locked, Vacant};
    const RUNNING: &str = r#"{"status":"running"}"#;
    const DONE: &str = r#"{"status":"completed","action_count":1}"#;
    // Files, whether the lock is free and what it is then, and what it is when the lock is held.
    type Files<'a> = &'a [(&'a str, &'a str)];
    let table: [(Files<'_>, Occupancy, Occupancy); 10] = [
        (&[], Vacant, Locked),
        (&[(layout::SPEC, "{}")], Vacant, Locked),
        (&[(layout::STOP, "{}")], Vacant, Locked),
        (&[(layout::CLAIM, "{}")], Abandoned, Locked),
        (&[(layout::EVENTS, "")], Abandoned, Locked),
        (
            &[(layout::CLAIM, "{}"), (layout::STATUS, RUNNING)],
            Abandoned,
            Locked,
        ),
        (
            &[(layout::CLAIM, "{}"), (layout::STATUS, "{\"sta")],
            Abandoned,
            Locked,
        ),
        (
            &[(layout::STATUS, r#"{"status":"unheard-of"}"#)],
            Vacant,
            Locked,
        ),
        (
            &[(layout::CLAIM, "{}"), (layout::STATUS, DONE)],
            Finished,
            Finished,
        ),
        (&[(layout::STATUS, DONE)], Finished, Finished),
    ];
    for (files, when_free, when_held) in table {
        let (_root, run) = run();
        for (name, content) in files {
            run.write_atomic(name, content.as_bytes()).unwrap();
        }
        assert_eq!(Occupancy::of(&run).unwrap(), when_free, "{files:?}");
        let lock = RunLock::try_acquire(&run).unwrap();
        assert_eq!(Occupancy::of(&run).unwrap(), when_held, "{files:?}");
        assert_eq!(Occupancy::under_lock(&run).unwrap(), when_free, "{files:?}");
        drop(lock);
        assert_eq!(Occupancy::of(&run).unwrap(), when_free, "{files:?}");
    }
}
