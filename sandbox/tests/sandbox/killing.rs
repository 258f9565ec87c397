//! Killing everything: nothing is left, and the answer says what was there.

use crate::harness::{LIMIT, Starter, eventually, exists, for_each_starter, full, mark, marked};
use stockade_sandbox::{End, MAX_REPORTED_NAMES};

#[test]
fn a_daemonised_process_dies_and_is_counted() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        run.shell(&format!(
            "setsid setsid -f sleep {mark}; (setsid sleep {mark} &)"
        ))
        .success();
        eventually("both have started", || marked(&mark) == 2);
        let report = run.sandbox.kill_all(LIMIT).expect("kills");
        assert_eq!(report.killed, 2, "{report:?}");
        assert_eq!(
            (report.names.as_slice(), report.left),
            (["sleep", "sleep"].map(String::from).as_slice(), 0)
        );
        assert_eq!(marked(&mark), 0);
        assert_eq!(
            run.sandbox.kill_all(LIMIT).expect("kills nothing").killed,
            0
        );
        run.shell("true").success();
    });
}

#[test]
fn launches_that_are_killed_are_reported() {
    let run = full(Starter::User);
    let launch = run.start(&["sleep", "600"]);
    assert_eq!(run.sandbox.kill_all(LIMIT).expect("kills").killed, 1);
    assert_eq!(
        run.wait(launch).end,
        End::Signaled {
            signal: 9,
            core_dumped: false
        }
    );
    assert!(run.sandbox.try_report().expect("no report").is_none());
}

#[test]
fn many_deaf_processes_die_at_once() {
    let run = full(Starter::User);
    // 300 sessions that ignore every signal that can be ignored; hard limit by the loop itself.
    let script = "import os, signal\n\
        for n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\n\
        for _ in range(300):\n    if os.fork() == 0:\n        os.setsid()\n        signal.pause()\n";
    run.python(script).success();
    assert_eq!(run.sandbox.processes().expect("count"), 300);
    let report = run.sandbox.kill_all(LIMIT).expect("kills");
    assert_eq!(
        (report.killed, report.names.len(), report.left),
        (300, MAX_REPORTED_NAMES, 0)
    );
    assert_eq!(run.sandbox.processes().expect("count"), 0);
}

#[test]
fn a_destroyed_sandbox_is_gone() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        run.start(&["sleep", &mark]);
        let init = run.sandbox.init_pid();
        let destruction = run.helper.destroy(&run.sandbox, LIMIT).expect("destroys");
        assert_eq!(destruction.init_status, Some(9));
        assert!(!exists(init));
        assert_eq!(marked(&mark), 0);
        let error = run.sandbox.try_report().expect_err("gone");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(run.try_start(&["true"]).is_err());
        assert!(run.sandbox.kill_all(LIMIT).is_err());
        let again = run
            .helper
            .destroy(&run.sandbox, LIMIT)
            .expect("nothing to destroy");
        assert_eq!(again.init_status, None);
    });
}

#[test]
fn one_helper_bears_many_sandboxes() {
    let run = full(Starter::User);
    let mark = mark();
    run.start(&["sleep", &mark]);
    for _ in 0..10 {
        let plan = stockade_sandbox::Policy::new(stockade_sandbox::Isolation::Full)
            .plan()
            .expect("plans");
        let other = run.helper.build(plan, LIMIT).expect("builds");
        let init = other.init_pid();
        drop(other);
        eventually("a dropped sandbox ends", || !exists(init));
    }
    assert_eq!(marked(&mark), 1);
    assert_eq!(run.sandbox.processes().expect("count"), 1);
}
