//! Isolation none: nothing is hidden, but everything is tracked and killed.

use crate::harness::{
    LIMIT, Run, Starter, build, eventually, exists, for_each_starter, is_root, launch, mark, marked,
};
use crate::lifetime::send;
use nix::sys::signal::Signal;
use stockade_sandbox::{End, Isolation, Layer, Policy, Target, Tier};

fn none(starter: Starter) -> Run {
    build(starter, &Policy::new(Isolation::None))
}

#[test]
fn it_says_exactly_what_holds() {
    for_each_starter(|starter| {
        let run = none(starter);
        let enforced = run.sandbox.enforced();
        assert_eq!(enforced.tier, Tier::None);
        let mut expected = vec![
            Layer::NoNewPrivileges,
            Layer::ClosedDescriptors,
            Layer::CleanEnvironment,
            Layer::OwnSession,
            Layer::InSandboxInit,
        ];
        if starter == Starter::User {
            expected.extend([Layer::UnprivilegedId, Layer::NoCapabilities]);
        }
        assert_eq!(enforced.layers.len(), expected.len(), "{enforced:?}");
        assert!(
            expected.iter().all(|layer| enforced.has(*layer)),
            "{enforced:?}"
        );
        let is_same_root = run.shell("test -e /work || test -e /root").report.status == 0;
        assert!(is_same_root || !is_root());
        let status = run.output(launch(&["cat", "/proc/self/status"])).success();
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    });
}

#[test]
fn escaped_processes_are_found_and_killed() {
    for_each_starter(|starter| {
        let run = none(starter);
        let (mark, other) = (mark(), mark());
        let mut bystander = std::process::Command::new("sleep")
            .arg(&other)
            .spawn()
            .expect("starts");
        run.shell(&format!(
            "setsid setsid -f sleep {mark}; (setsid sleep {mark} &); sleep {mark} &"
        ))
        .success();
        eventually("all have started", || marked(&mark) == 3);
        assert_eq!(run.sandbox.processes().expect("count"), 3);
        let report = run.sandbox.kill_all(LIMIT).expect("kills");
        assert_eq!((report.killed, report.left), (3, 0), "{report:?}");
        assert_eq!((marked(&mark), marked(&other)), (0, 1));
        run.shell("true").success();
        bystander.kill().expect("kills");
        bystander.wait().expect("waits");
    });
}

#[test]
fn launches_end_and_are_signalled_as_in_full() {
    for_each_starter(|starter| {
        let run = none(starter);
        assert_eq!(run.shell("exit 137").report.end, End::Exited { code: 137 });
        let killed = run.shell("kill -9 $$").report.end;
        assert_eq!(
            killed,
            End::Signaled {
                signal: 9,
                core_dumped: false
            }
        );
        let launch = run.start(&["sleep", "600"]);
        run.sandbox.signal(Target::All, 15).expect("signals");
        assert_eq!(
            run.wait(launch).end,
            End::Signaled {
                signal: 15,
                core_dumped: false
            }
        );
        let count =
            run.python("import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))");
        assert_eq!(count.success(), "[0, 1, 2, 3]\n");
    });
}

#[test]
fn nothing_survives_when_init_or_helper_is_killed() {
    for_each_starter(|starter| {
        for victim in [
            |run: &Run| run.helper.pid(),
            |run: &Run| run.sandbox.init_pid(),
        ] {
            let run = none(starter);
            let mark = mark();
            run.shell(&format!("setsid setsid -f sleep {mark}"))
                .success();
            run.start(&["sleep", &mark]);
            eventually("both run", || marked(&mark) == 2);
            send(victim(&run), Signal::SIGKILL);
            eventually("nothing is left", || marked(&mark) == 0);
        }
    });
}

#[test]
fn destruction_sweeps() {
    for_each_starter(|starter| {
        let run = none(starter);
        let mark = mark();
        run.shell(&format!("setsid setsid -f sleep {mark}"))
            .success();
        eventually("it runs", || marked(&mark) == 1);
        let init = run.sandbox.init_pid();
        let destruction = run.helper.destroy(&run.sandbox, LIMIT).expect("destroys");
        assert_eq!(
            (destruction.init_status, destruction.swept.killed),
            (Some(9), 1),
            "{destruction:?}"
        );
        assert_eq!((marked(&mark), exists(init)), (0, false));
    });
}
