//! What outlives the command: its chance to end, and its end.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Started, Subject, anybody_with, as_pid_1, is_called_with};
use crate::harness::until;
use crate::process_table;

/// Ends with 6 and leaves a daemon in a session of its own, which does `on_term` when it is asked to end.
fn leaves_a_daemon(on_term: &str, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "setsid sh -c 'trap \"{on_term}\" TERM; echo > {directory}/up; while :; do sleep 0.02; done' & \
         until [ -e {directory}/up ]; do sleep 0.01; done; exit 6"
    )
}

#[test]
fn a_daemon_gets_its_second_and_its_clean_up_is_done() {
    let namespaces = [Some(Vec::new()), as_pid_1()];
    for words in namespaces.into_iter().flatten() {
        let directory = tempfile::tempdir().unwrap();
        let on_term = format!(
            "sleep 0.2; echo > {}/clean; exit",
            directory.path().display()
        );
        let mut subject = Subject::own(&["--grace", "20s"]);
        subject.words = [words, subject.words].concat();
        let script = leaves_a_daemon(&on_term, directory.path());
        let mut started = Started::new(subject.command(["sh", "-c", &script]));
        assert_eq!(started.end(), 6);
        assert!(
            directory.path().join("clean").exists(),
            "{:?}",
            subject.words
        );
        assert!(!anybody_with(directory.path().to_str().unwrap()));
    }
}

#[test]
fn a_daemon_that_does_not_listen_is_killed_after_the_grace() {
    let namespaces = [Some(Vec::new()), as_pid_1()];
    for words in namespaces.into_iter().flatten() {
        for (grace, least) in [("0", 0), ("300ms", 300)] {
            let directory = tempfile::tempdir().unwrap();
            let mut subject = Subject::own(&["-v", "--grace", grace]);
            subject.words = [words.clone(), subject.words].concat();
            let script = leaves_a_daemon(":", directory.path());
            let began = Instant::now();
            let mut started = Started::new(subject.command(["sh", "-c", &script]));
            assert_eq!(started.end(), 6);
            assert!(began.elapsed() >= Duration::from_millis(least), "{grace}");
            assert!(!anybody_with(directory.path().to_str().unwrap()));
            let said = started.stderr.all();
            assert!(said.contains("left and killed"), "{said}");
        }
    }
}

#[test]
fn nobody_waits_where_nobody_is_left() {
    let began = Instant::now();
    let mut started = Started::new(Subject::own(&["--grace", "9s"]).command(["true"]));
    assert_eq!(started.end(), 0);
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_thousand_in_sessions_of_their_own_are_all_ended_by_a_stop() {
    // Found again by how long they sleep.
    let sleeps = format!("60{}", std::process::id());
    let script = format!(
        "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); setsid sleep {sleeps} & done; echo ready; wait; sleep {sleeps}"
    );
    let mut started =
        Started::new(Subject::own(&["-v", "--grace", "0"]).command(["sh", "-c", &script]));
    started.until_line("ready");
    let n_there = || {
        let left = process_table::all();
        left.iter()
            .filter(|process| is_called_with(process.pid, &sleeps))
            .count()
    };
    // The shell that has the number in its script is one of them.
    until("all are there", || (n_there() >= 1_001).then_some(()));
    started.signal(nix::libc::SIGTERM);
    assert_eq!(started.end(), 143, "{}", started.stderr.so_far());
    assert_eq!(n_there(), 0);
    let said = started.stderr.all();
    assert!(said.contains("left and killed: "), "{said}");
}
