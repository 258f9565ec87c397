//! Nothing outlives its supervisor, however that ends.

use crate::harness::{
    LIMIT, Starter, build, eventually, exists, for_each_starter, full, helper_program, mark,
    marked, spawn_helper,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stockade_sandbox::{Helper, Isolation, KillError, Policy};

/// Runs the example's supervisor until it is ready; a blocking read ends when it dies.
fn driver(tier: &str, mark: &str) -> std::process::Child {
    let mut driver = Command::new(helper_program())
        .args(["drive", tier, mark])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let output = driver.stdout.take().expect("output");
    BufReader::new(output).read_line(&mut line).expect("line");
    assert_eq!(line, "ready\n");
    eventually("three sleepers run", || marked(mark) == 3);
    driver
}

#[test]
fn nothing_survives_a_supervisor_that_is_killed() {
    for tier in ["full", "none"] {
        let mark = mark();
        let mut driver = driver(tier, &mark);
        driver.kill().expect("kills");
        driver.wait().expect("waits");
        eventually("nothing is left", || marked(&mark) == 0);
    }
}

#[test]
fn nothing_survives_a_supervisor_that_ends() {
    for tier in ["full", "none"] {
        let mark = mark();
        let mut driver = driver(tier, &mark);
        drop(driver.stdin.take());
        assert!(driver.wait().expect("waits").success());
        assert_eq!(marked(&mark), 0, "the drop waits for the end: {tier}");
    }
}

#[test]
fn nothing_survives_a_helper_that_is_killed() {
    for_each_starter(|starter| {
        // A stopped init sees no closed socket: only the parent-death signal ends it.
        for stop_first in [None, Some(Signal::SIGSTOP)] {
            let run = full(starter);
            let mark = mark();
            run.shell(&format!("setsid -f sleep {mark}")).success();
            run.start(&["sleep", &mark]);
            eventually("both run", || marked(&mark) == 2);
            let init = run.sandbox.init_pid();
            if let Some(signal) = stop_first {
                send(init, signal);
            }
            send(run.helper.pid(), Signal::SIGKILL);
            eventually("nothing is left", || {
                marked(&mark) == 0 && !is_running(init)
            });
        }
    });
}

#[test]
fn no_signal_but_a_kill_ends_helper_or_init() {
    for policy in [Isolation::Full, Isolation::None].map(Policy::new) {
        let run = build(Starter::User, &policy);
        let pids = format!("{} {}", run.sandbox.init_pid(), run.helper.pid());
        for _ in 0..2 {
            // Real-time ones by number, which nix does not know. SIGKILL and SIGSTOP nobody can hold back.
            let signals = (1..=64).filter(|signal| ![9, 19].contains(signal));
            let words: Vec<_> = signals
                .map(|signal| format!("kill -{signal} {pids}"))
                .collect();
            let sent = Command::new("sh")
                .args(["-ec", &words.join(";")])
                .output()
                .expect("a shell");
            assert!(sent.status.success(), "both live to the last signal");
            // And what is launched afterwards inherits nothing of it.
            let states = run.shell("grep -E 'Sig(Blk|Ign|Pnd)|ShdPnd' /proc/self/status");
            let states = states.success();
            assert_eq!(states.lines().count(), 4);
            for line in states.lines() {
                assert!(line.ends_with("\t0000000000000000"), "{line}");
            }
        }
        let other = run.helper.build(policy.plan().expect("plans"), LIMIT);
        drop(other.expect("the helper still builds"));
    }
}

#[test]
fn a_signal_before_the_first_statement_of_the_helper_does_not_end_it() {
    let program = helper_program();
    let script = "kill -TERM $$; kill -HUP $$; exec \"$0\" sandbox-helper";
    let arguments = ["-c", script, program.to_str().expect("path")];
    let helper = Helper::spawn(Path::new("/bin/sh"), &arguments).expect("spawns");
    let plan = Policy::new(Isolation::None).plan().expect("plans");
    drop(helper.build(plan, LIMIT).expect("builds"));
    let own = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let blocked = own.lines().find(|line| line.starts_with("SigBlk"));
    assert_eq!(
        blocked,
        Some("SigBlk:\t0000000000000000"),
        "the caller's is as before"
    );
}

#[test]
fn an_init_that_does_not_answer_is_destroyed() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        run.start(&["sleep", &mark]);
        send(run.sandbox.init_pid(), Signal::SIGSTOP);
        let error = run.sandbox.kill_all(Duration::from_millis(50));
        assert!(
            matches!(&error, Err(KillError::NoAnswer(cause)) if cause.kind() == ErrorKind::TimedOut),
            "{error:?}"
        );
        let destruction = run.helper.destroy(&run.sandbox, LIMIT).expect("destroys");
        assert_eq!((destruction.init_status, marked(&mark)), (Some(9), 0));
    });
}

#[test]
fn an_init_that_dies_during_the_set_up_fails_the_build_at_once() {
    for isolation in [Isolation::Full, Isolation::None] {
        let policy = Policy::new(isolation);
        let mut n_failed = 0;
        // When the kill comes too late the sandbox is ready already, and the next round tries again.
        for _ in 0..50 {
            let helper = spawn_helper(Starter::User);
            let pid = helper.pid();
            let plan = policy.plan().expect("plans");
            let started_at = Instant::now();
            let built = std::thread::scope(|scope| {
                let build = scope.spawn(|| helper.build(plan, LIMIT));
                let file = format!("/proc/{pid}/task/{pid}/children");
                while !build.is_finished() {
                    let children = std::fs::read_to_string(&file).unwrap_or_default();
                    for child in children.split_whitespace() {
                        let child = Pid::from_raw(child.parse().expect("a pid"));
                        let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
                    }
                }
                build.join().expect("no panic")
            });
            if let Err(error) = &built {
                assert!(error.failure().is_some(), "the helper answers: {error:?}");
                n_failed += 1;
            }
            drop((built, helper));
            assert!(
                started_at.elapsed() < LIMIT / 2,
                "neither build nor drop waits"
            );
            if n_failed == 3 {
                break;
            }
        }
        assert!(n_failed > 0, "no kill hit the set-up: {isolation:?}");
    }
}

#[test]
fn dropping_leaves_no_process_and_no_zombie() {
    for_each_starter(|starter| {
        let run = full(starter);
        let mark = mark();
        run.shell(&format!("setsid -f sleep {mark}")).success();
        let (helper, init) = (run.helper.pid(), run.sandbox.init_pid());
        drop(run);
        assert_eq!(
            (exists(helper), exists(init), marked(&mark)),
            (false, false, 0)
        );
    });
}

pub(crate) fn send(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("signals");
}

/// Tells whether a process lives; who adopted it may not have reaped it yet.
pub(crate) fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| !rest.starts_with('Z'))
    })
}
