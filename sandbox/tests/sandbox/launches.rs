//! Launches: how they end, what they inherit, how they fail.

use crate::harness::{LIMIT, exists, for_each_starter, full, launch, mark, null};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use stockade_sandbox::{End, LaunchError, Step, Target};

#[test]
fn every_end_is_told_apart() {
    for_each_starter(|starter| {
        let run = full(starter);
        for code in [0, 1, 2, 42, 126, 127, 128, 137, 143, 255] {
            let output = run.shell(&format!("exit {code}"));
            assert_eq!(output.report.end, End::Exited { code }, "{output:?}");
        }
        for signal in [1, 2, 3, 6, 9, 11, 13, 15, 34, 64] {
            // Python ignores some signals and catches others, SIGKILL cannot be reset.
            let reset = if signal == 9 {
                ""
            } else {
                "signal.signal(n, signal.SIG_DFL); "
            };
            let script = format!("import os, signal; n = {signal}; {reset}os.kill(os.getpid(), n)");
            let output = run.python(&script);
            let end = End::Signaled {
                signal,
                core_dumped: false,
            };
            assert_eq!(output.report.end, end, "{output:?}");
        }
    });
}

#[test]
fn a_program_that_cannot_start_is_told_apart() {
    for_each_starter(|starter| {
        let run = full(starter);
        for program in ["no-such-program", "/no/such/program", "/etc/passwd/x"] {
            let error = run.try_start(&[program]).expect_err(program);
            assert!(matches!(error, LaunchError::NotFound { .. }), "{error:?}");
        }
        for program in ["/etc/passwd", "/etc", "/usr"] {
            let error = run.try_start(&[program]).expect_err(program);
            assert!(
                matches!(error, LaunchError::NotExecutable { errno: 13, .. }),
                "{error:?}"
            );
        }
        run.shell("echo 'echo ran' > /tmp/no-format; chmod 755 /tmp/no-format")
            .success();
        let error = run.try_start(&["/tmp/no-format"]).expect_err("no format");
        assert!(
            matches!(error, LaunchError::NotExecutable { errno: 8, .. }),
            "{error:?}"
        );
        let mut elsewhere = launch(&["true"]);
        elsewhere.cwd = "/no/such/directory".into();
        let error = run.sandbox.launch(elsewhere).expect_err("directory");
        assert!(
            matches!(&error, LaunchError::Refused(failure)
                if failure.step == Step::EnterDirectory && failure.errno == 2),
            "{error:?}"
        );
        run.shell("true").success();
    });
}

#[test]
fn launches_that_contradict_themselves_are_not_sent() {
    let run = full(crate::harness::Starter::User);
    let mut cases = Vec::new();
    cases.push(launch(&[]));
    cases.push(launch(&[""]));
    let mut case = launch(&["true"]);
    case.cwd = "relative".into();
    cases.push(case);
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let mut case = launch(&["true"]);
        case.env = vec![(name.into(), value.into())];
        cases.push(case);
    }
    for numbers in [[2, 5], [7, 7], [5, 256]] {
        let mut case = launch(&["true"]);
        case.extra = numbers.map(|number| (null().into(), number)).into();
        cases.push(case);
    }
    let mut case = launch(&["true"]);
    case.extra
        .push((fs::File::open("/").expect("opens").into(), 3));
    cases.push(case);
    for case in cases {
        let error = run.sandbox.launch(case).expect_err("invalid");
        assert!(matches!(error, LaunchError::Invalid(_)), "{error:?}");
    }
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let run = full(crate::harness::Starter::User);
    let mut given = launch(&["/usr/bin/env"]);
    given.env = vec![
        ("ONE".into(), "1".into()),
        ("EMPTY".into(), "".into()),
        ("BYTES".into(), OsString::from_vec(b"a b".to_vec())),
    ];
    assert_eq!(run.output(given).success(), "ONE=1\nEMPTY=\nBYTES=a b\n");
    let mut none = launch(&["/usr/bin/env"]);
    none.env = Vec::new();
    assert_eq!(run.output(none).success(), "");
}

#[test]
fn a_large_environment_travels() {
    let run = full(crate::harness::Starter::User);
    let mut large = launch(&["sh", "-c", "echo ${#LARGE} $#", "sh"]);
    large.env.push(("LARGE".into(), "x".repeat(100_000).into()));
    large
        .argv
        .extend((0..1_000).map(|_| OsString::from("y".repeat(500))));
    assert_eq!(run.output(large).success(), "100000 1000\n");
}

#[test]
fn only_named_descriptors_arrive() {
    for_each_starter(|starter| {
        let run = full(starter);
        let count = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))";
        // The fourth is the directory that lists them.
        assert_eq!(run.python(count).success(), "[0, 1, 2, 3]\n");
        let mut extra = launch(&["sh", "-c", "cat <&9; ls /proc/self/fd | tr '\\n' ' '"]);
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        nix::unistd::write(&writer, b"through nine\n").expect("write");
        drop(writer);
        extra.extra = vec![(null().into(), 4), (reader, 9)];
        assert_eq!(run.output(extra).success(), "through nine\n0 1 2 3 4 9 ");
    });
}

#[test]
fn a_launch_starts_with_a_clean_signal_state() {
    let run = full(crate::harness::Starter::User);
    let status = run.output(launch(&["cat", "/proc/self/status"])).success();
    let states: Vec<_> = status
        .lines()
        .filter(|line| {
            ["SigBlk", "SigIgn", "SigCgt"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    assert_eq!(states.len(), 3);
    assert!(
        states
            .iter()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{states:?}"
    );
    let ids = run.python("import os; print(os.getsid(0) == os.getpid() == os.getpgrp())");
    assert_eq!(ids.success(), "True\n");
    assert_eq!(run.shell("umask; ulimit -c").success(), "0022\n0\n");
}

#[test]
fn a_launch_ends_although_a_child_holds_its_output() {
    let run = full(crate::harness::Starter::User);
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let mut holder = launch(&["sh", "-c", "sleep 600 & echo done"]);
    holder.stdio[1] = writer.into();
    let id = run.sandbox.launch(holder).expect("starts");
    assert_eq!(run.wait(id).end, End::Exited { code: 0 });
    assert_eq!(run.sandbox.processes().expect("count"), 1);
    assert_eq!(run.sandbox.kill_all(LIMIT).expect("kills").killed, 1);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("ends");
    assert_eq!(text, "done\n");
}

#[test]
fn signals_reach_a_launch_and_its_group() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        let id = run.start(&["sleep", &mark]);
        run.sandbox.signal(Target::Launch(id), 15).expect("signals");
        assert_eq!(
            run.wait(id).end,
            End::Signaled {
                signal: 15,
                core_dumped: false
            }
        );
        let gone = run
            .sandbox
            .signal(Target::Launch(id), 15)
            .expect_err("ended");
        assert_eq!(gone.raw_os_error(), Some(3));
        let first = run.start(&["sleep", &mark]);
        run.sandbox
            .signal(Target::Launch(first), 19)
            .expect("stops");
        let second = run.start(&["sleep", &mark]);
        run.sandbox
            .signal(Target::All, 15)
            .expect("signals all, a stopped one too");
        let ended: Vec<_> = (0..2)
            .map(|_| run.sandbox.wait_report(LIMIT).expect("report"))
            .collect();
        for launch in [first, second] {
            assert!(
                ended.iter().any(|report| report.launch == launch),
                "{ended:?}"
            );
        }
        assert!(run.sandbox.signal(Target::All, 65).is_err());
    });
}

#[test]
fn a_report_has_the_resources_used() {
    let run = full(crate::harness::Starter::User);
    let output = run.python("x = bytearray(64 << 20); sum(range(3_000_000))");
    let report = output.report;
    assert!(report.max_rss_bytes > 64 << 20, "{report:?}");
    assert!(report.user_cpu.as_millis() > 5, "{report:?}");
    assert!(report.wall() >= report.user_cpu / 2, "{report:?}");
}

#[test]
fn two_hundred_launches_leak_nothing() {
    for_each_starter(|starter| {
        let run = full(starter);
        let state = || {
            let descriptors = |pid: i32| {
                fs::read_dir(format!("/proc/{pid}/fd"))
                    .map(Iterator::count)
                    .ok()
            };
            let helper = descriptors(run.helper.pid());
            (
                descriptors(run.sandbox.init_pid()),
                helper,
                run.sandbox.processes().expect("count"),
            )
        };
        run.shell("true").success();
        let before = state();
        for round in 0..200 {
            let id = run.start(&["sh", "-c", "(true &) ; exit 7"]);
            assert_eq!(run.wait(id).end, End::Exited { code: 7 }, "{round}");
        }
        crate::harness::eventually("the orphans are reaped", || state() == before);
        assert!(exists(run.sandbox.init_pid()));
    });
}

#[test]
fn threads_may_launch_at_once() {
    let run = full(crate::harness::Starter::User);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    run.start(&["true"]);
                }
            });
        }
    });
    let mut ended: Vec<u64> = (0..40)
        .map(|_| run.sandbox.wait_report(LIMIT).expect("report").launch.0)
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, (1..=40).collect::<Vec<_>>());
}

#[test]
fn reports_wait_for_a_slow_reader() {
    let run = full(crate::harness::Starter::User);
    // More than the socket holds, so that the init must queue.
    let launches: Vec<_> = (0..800).map(|_| run.start(&["true"])).collect();
    crate::harness::eventually("all have ended", || {
        run.sandbox.processes().expect("count") == 0
    });
    let ended: Vec<_> = (0..800)
        .map(|_| run.sandbox.wait_report(LIMIT).expect("report"))
        .collect();
    assert!(ended.iter().all(|report| report.status == 0));
    let mut reported: Vec<_> = ended.iter().map(|report| report.launch).collect();
    reported.sort_unstable();
    assert_eq!(reported, launches);
    assert!(run.sandbox.try_report().expect("no more").is_none());
}

#[test]
fn an_idle_init_does_not_run() {
    let run = full(crate::harness::Starter::User);
    run.start(&["sleep", "600"]);
    let switches = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.map(str::to_owned).expect("a count")
    };
    let asleep = |pid: i32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
    };
    let pids = [run.sandbox.init_pid(), run.helper.pid()];
    crate::harness::eventually("both sleep", || pids.iter().all(|pid| asleep(*pid)));
    let before = pids.map(switches);
    // What another sandbox does takes long enough for a wake-up to show.
    let other = full(crate::harness::Starter::User);
    for _ in 0..50 {
        other.shell("true").success();
    }
    assert_eq!(pids.map(switches), before);
}
