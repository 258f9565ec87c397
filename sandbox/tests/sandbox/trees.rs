//! Kept launches: all that descends from one is found, and nothing beside it.

use crate::harness::{
    LIMIT, Run, Starter, eventually, for_each_starter, full, launch, mark, marked,
};
use std::time::Duration;
use stockade_sandbox::{End, Isolation, LaunchId, Policy, Target};

const KILLED: End = End::Signaled {
    signal: 9,
    core_dumped: false,
};

fn start_kept(run: &Run, script: &str) -> LaunchId {
    let launch = launch(&["sh", "-c", script]);
    run.sandbox.launch_kept(launch).expect("starts")
}

/// A daemon that was left to the init before, and is no part of any tree.
fn leave_daemon(run: &Run, mark: &str) {
    let id = start_kept(run, &format!("(setsid sleep {mark} &)"));
    run.wait(id);
    run.sandbox.let_go(id).expect("lets go");
    eventually("the daemon has started", || marked(mark) == 1);
}

/// Leaves a child, one that has a session of its own, and a daemon; all ignore SIGTERM.
fn deaf_family(mark: &str) -> String {
    format!("trap '' TERM; sleep {mark} & setsid sleep {mark} & (setsid sh -c '(sleep {mark} &)')")
}

fn of_every_tier(check: impl Fn(&Run)) {
    for_each_starter(|starter| {
        check(&full(starter));
        check(&crate::harness::build(
            starter,
            &Policy::new(Isolation::None),
        ));
    });
}

#[test]
fn the_rest_is_all_but_what_is_kept_apart() {
    of_every_tier(|run| {
        let (inside, beside) = (mark(), mark());
        let family = launch(&["sh", "-c", &format!("{}; wait", deaf_family(&inside))]);
        let apart = run.sandbox.launch_apart(family).expect("starts");
        eventually("all that is apart is there", || marked(&inside) == 3);
        // Of the rest are a plain launch, a kept one, and a daemon of nobody.
        leave_daemon(run, &beside);
        let kept = start_kept(run, &format!("exec sleep {beside}"));
        let plain = run.start(&["sleep", &beside]);
        assert_eq!(run.sandbox.processes_of_rest().expect("counts"), 3);
        run.sandbox.signal(Target::Rest, 15).expect("signals");
        let report = || run.sandbox.wait_report(LIMIT).expect("report").launch;
        let mut ended = [report(), report()];
        ended.sort();
        assert_eq!(ended, [kept, plain]);
        eventually("the rest is gone", || marked(&beside) == 0);
        assert_eq!(marked(&inside), 3);
        let deaf = run.start(&["sh", "-c", &deaf_family(&beside)]);
        run.wait(deaf);
        eventually("the deaf rest is there", || marked(&beside) == 3);
        let report = run.sandbox.kill_rest(LIMIT).expect("kills");
        assert_eq!((report.killed, report.left), (3, 0), "{report:?}");
        assert_eq!((marked(&beside), marked(&inside)), (0, 3));
        assert_eq!(run.sandbox.processes_of_rest().expect("counts"), 0);
        run.sandbox.signal(Target::Tree(apart), 9).expect("signals");
        assert_eq!(run.wait(apart).end, KILLED);
        run.sandbox.kill_tree(apart, LIMIT).expect("clears");
        eventually("what was apart is gone", || marked(&inside) == 0);
    });
}

#[test]
fn a_tree_is_signalled_whole_and_nothing_beside_it() {
    of_every_tier(|run| {
        let (inside, beside) = (mark(), mark());
        leave_daemon(run, &beside);
        let id = start_kept(run, &format!("{}; wait", deaf_family(&inside)));
        eventually("all are there", || marked(&inside) == 3);
        run.sandbox.signal(Target::Tree(id), 9).expect("signals");
        assert_eq!(run.wait(id).end, KILLED);
        eventually("the tree is gone", || marked(&inside) == 0);
        assert_eq!(marked(&beside), 1);
        assert_eq!(run.sandbox.kill_all(LIMIT).expect("kills").killed, 1);
    });
}

#[test]
fn what_a_launch_has_left_is_killed_after_its_end_and_nothing_beside_it() {
    of_every_tier(|run| {
        let (inside, beside) = (mark(), mark());
        leave_daemon(run, &beside);
        let id = start_kept(run, &format!("{}; exit 7", deaf_family(&inside)));
        assert_eq!(run.wait(id).end, End::Exited { code: 7 });
        eventually("all are there", || marked(&inside) == 3);
        assert_eq!(run.sandbox.processes_of(id).expect("counts"), 3);
        assert_eq!(run.sandbox.processes().expect("counts"), 4);
        let report = run.sandbox.kill_tree(id, LIMIT).expect("kills");
        assert_eq!((report.killed, report.left), (3, 0), "{report:?}");
        assert_eq!((marked(&inside), marked(&beside)), (0, 1));
        assert!(run.sandbox.let_go(id).is_err(), "it is gone");
        assert_eq!(run.sandbox.kill_all(LIMIT).expect("kills").killed, 1);
    });
}

#[test]
fn a_kept_launch_is_reported_as_any_other() {
    of_every_tier(|run| {
        let id = start_kept(
            run,
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; kill -TERM $$",
        );
        let busy = run.sandbox.let_go(id).expect_err("it runs");
        assert_eq!(busy.raw_os_error(), Some(nix::libc::EBUSY));
        let report = run.wait(id);
        let signal = 15;
        let core_dumped = false;
        assert_eq!(
            report.end,
            End::Signaled {
                signal,
                core_dumped
            }
        );
        assert!(report.user_cpu > Duration::ZERO && report.max_rss_bytes > 0);
        run.sandbox.let_go(id).expect("lets go");
        let error = run.sandbox.launch_kept(launch(&["no-such-program"]));
        assert!(error.is_err());
        let killed = start_kept(run, "exec sleep 600");
        let report = run.sandbox.kill_all(LIMIT).expect("kills");
        assert_eq!(report.killed, 1, "{report:?}");
        assert_eq!(run.wait(killed).end, KILLED);
        assert_eq!(run.sandbox.processes().expect("counts"), 0);
    });
}

#[test]
fn who_kills_the_keeper_loses_no_report() {
    let run = full(Starter::User);
    // The shell is spared by its own signal (kill(2)), its keeper is not.
    let id = start_kept(&run, "kill -9 -1; exit 9");
    assert_eq!(run.wait(id).end, End::Exited { code: 9 });
    assert!(run.sandbox.let_go(id).is_err(), "it is gone");
    // A keeper that was stopped goes on with the tree.
    let id = start_kept(&run, "kill -STOP -1; exit 8");
    eventually("it ends", || run.sandbox.processes().expect("counts") == 0);
    run.sandbox.signal(Target::Tree(id), 15).expect("signals");
    assert_eq!(run.wait(id).end, End::Exited { code: 8 });
    run.sandbox.let_go(id).expect("lets go");
}
