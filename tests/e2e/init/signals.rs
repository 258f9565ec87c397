//! What an init passes on, to whom, and when.

use std::time::{Duration, Instant};

use nix::libc;

use super::{Started, Subject, as_pid_1, field, send};
use crate::harness::until;
use crate::process_table;

/// Signals that nobody can catch, the one that tells of children, and the two that the C library keeps: no program of a
/// scripting language can ask for these.
const NOT_CAUGHT: [i32; 5] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33];

/// What the probe prints for a signal: a stop is followed by SIGCONT.
fn printed_for(signal: i32) -> Vec<String> {
    match signal {
        libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
            vec![signal.to_string(), libc::SIGCONT.to_string()]
        }
        _ => vec![signal.to_string()],
    }
}

/// Sends every signal to `init`, and looks at what the probe prints.
fn passes_on_every_signal(started: &Started, init: i32) {
    let mut n_lines = 1;
    let mut n_passed = 0;
    for signal in (1..=64).filter(|signal| !NOT_CAUGHT.contains(signal)) {
        // Two that are pending at once are taken in the order of their numbers.
        let mut expected = printed_for(signal);
        expected.sort();
        send(init, signal);
        until(
            &format!("signal {signal} arrives, in {:?}", started.lines()),
            || (started.lines().len() >= n_lines + expected.len()).then_some(()),
        );
        let mut lines = started.lines().split_off(n_lines);
        lines.sort();
        assert_eq!(lines, expected);
        n_lines += lines.len();
        n_passed += 1;
    }
    assert_eq!(n_passed, 64 - NOT_CAUGHT.len());
}

#[test]
fn every_signal_is_passed_on() {
    let started = Subject::own(&[]).probe(&[]);
    passes_on_every_signal(&started, started.pid());
}

#[test]
fn pid_1_passes_on_every_signal() {
    let Some(words) = as_pid_1() else {
        return;
    };
    let mut subject = Subject::own(&[]);
    subject.words = [words, subject.words].concat();
    let started = subject.probe(&[]);
    let init = started.main_child();
    passes_on_every_signal(&started, init);
}

#[test]
fn no_stop_is_lost_while_the_init_and_its_child_come_up() {
    // The start of a debug build, from the exec of the init to that of its child; a round has its own part of it.
    const COVERED: Duration = Duration::from_millis(30);
    for (subject, n_rounds) in [
        (Subject::own(&[]), 250),
        (Subject::instead_of("tini"), 80),
        (Subject::instead_of("dumb-init"), 80),
    ] {
        let options: &[&str] = if subject.name == "tini" { &["-g"] } else { &[] };
        for round in 0..n_rounds {
            let words = options.iter().chain(&["--", "sleep", "600"]);
            let mut started = Started::new(subject.command(words));
            let at = Instant::now() + COVERED * round / n_rounds;
            while Instant::now() < at {
                std::hint::spin_loop();
            }
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(started.pid()),
                nix::sys::signal::Signal::SIGTERM,
            )
            .unwrap();
            // Before the first statement the stop ends the init itself.
            let end = started.end();
            assert!(
                [143, 1015].contains(&end),
                "{} {round}: {end}",
                subject.name
            );
        }
    }
}

#[test]
fn a_stop_to_pid_1_counts_from_its_first_statement_on() {
    let Some(words) = as_pid_1() else {
        return;
    };
    for mut subject in [
        Subject::own(&[]),
        Subject::instead_of("tini"),
        Subject::instead_of("dumb-init"),
    ] {
        subject.words = [words.clone(), subject.words].concat();
        for round in 0..20 {
            let mut started = Started::new(subject.command(["--", "sleep", "600"]));
            // The kernel drops a stop until PID 1 has said that it takes one.
            let init = started.main_child();
            until("the init blocks signals", || {
                // What starts it may block them before it is the init.
                if field(init, "Name") != "stockade" {
                    return None;
                }
                // While it waits for signals the kernel shows them as not blocked; then it has its command.
                let blocked = u64::from_str_radix(&field(init, "SigBlk"), 16).ok()?;
                let is_blocked = blocked & (1 << (libc::SIGTERM - 1)) != 0;
                (is_blocked || process_table::live_child(init).is_some()).then_some(())
            });
            send(init, libc::SIGTERM);
            assert_eq!(started.end(), 143, "{} {round}", subject.name);
        }
    }
}

#[test]
fn a_stop_that_is_repeated_is_passed_on_each_time_and_ends_nobody_who_does_not_want_to() {
    let script = "trap 'n=$((n+1)); echo term$n; [ $n -lt 3 ] || exit 5' TERM; echo ready; while :; do sleep 0.02; done";
    for subject in [
        Subject::own(&[]),
        Subject::instead_of("tini"),
        Subject::instead_of("dumb-init"),
    ] {
        let mut started = Started::new(subject.command(["--", "sh", "-c", script]));
        started.until_line("ready");
        for n in 1..=3 {
            started.signal(libc::SIGTERM);
            started.until_line(&format!("term{n}"));
        }
        assert_eq!(started.end(), 5, "{}", subject.name);
    }
}

#[test]
fn a_stop_that_is_repeated_gives_no_more_time() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let flags = ["--stop-timeout", "2s"];
    let mut started = Started::new(Subject::own(&flags).command(["sh", "-c", script]));
    started.until_line("ready");
    let began = Instant::now();
    started.signal(libc::SIGTERM);
    until("half of the time is over", || {
        (began.elapsed() > Duration::from_secs(1)).then_some(())
    });
    started.signal(libc::SIGTERM);
    assert_eq!(started.end(), 137);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_millis(2_900),
        "{took:?}"
    );
}

#[test]
fn a_stopped_command_ends_by_a_stop() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        let mut started = Started::new(Subject::own(&[]).command([
            "sh",
            "-c",
            "ulimit -c 0; echo ready; exec sleep 600",
        ]));
        started.until_line("ready");
        let child = started.main_child();
        send(child, libc::SIGSTOP);
        until("the command is stopped", || {
            (process_table::read(child)?.state == 'T').then_some(())
        });
        started.signal(signal);
        assert_eq!(started.end(), 128 + signal);
    }
}

/// Starts a command whose child writes to `file` what it gets, after `wrapper`; gives the process of that child.
fn family(flags: &[&str], wrapper: &str, file: &std::path::Path) -> (Started, i32) {
    let file = file.display();
    // The outer shell ignores USR1; the inner one writes it down.
    let script = format!(
        "trap '' USR1; {wrapper} sh -c 'trap \"echo got > {file}; exit\" USR1; echo $$; while :; do sleep 0.05; done' & \
         while :; do wait; sleep 0.05; done"
    );
    // A shell cannot trap what it found ignored, so the inner one finds it at its default.
    let script = script.replace(
        &format!("{wrapper} sh -c"),
        &format!("{wrapper} env --default-signal=USR1 sh -c"),
    );
    let started = Started::new(Subject::own(flags).command(["sh", "-c", &script]));
    let pid = until("the grandchild is there", || {
        started.lines().first()?.parse().ok()
    });
    (started, pid)
}

#[test]
fn the_group_gets_what_the_init_gets_unless_it_is_for_the_child_or_for_all() {
    for (flags, wrapper, reaches) in [
        (&[][..], "", true),
        (&["--forward=child"], "", false),
        (&["--forward=group"], "setsid", false),
        (&["--forward=all"], "setsid", true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("got");
        let (started, grandchild) = family(flags, wrapper, &file);
        started.signal(libc::SIGUSR1);
        if reaches {
            until(
                &format!("{flags:?} {wrapper}: the grandchild got it"),
                || file.exists().then_some(()),
            );
        } else {
            // What would have reached it is pending or done once the init has taken it and sleeps again.
            until("the init has taken the signal", || {
                let pending = field(started.pid(), "ShdPnd");
                (pending == "0000000000000000" && process_table::read(started.pid())?.state == 'S')
                    .then_some(())
            });
            send(grandchild, libc::SIGUSR2);
            until("the grandchild is gone", || {
                process_table::read(grandchild).is_none().then_some(())
            });
            assert!(!file.exists(), "{flags:?} {wrapper}");
        }
    }
}

#[test]
fn signals_are_rewritten_and_dropped_as_asked_for() {
    let subject = Subject::own(&[
        "--rewrite=TERM:USR2",
        "--rewrite",
        "34:RTMAX",
        "--rewrite=WINCH:0",
    ]);
    let started = subject.probe(&[]);
    for signal in [libc::SIGTERM, libc::SIGWINCH, 34, libc::SIGUSR1] {
        started.signal(signal);
        until("the init has taken the signal", || {
            (field(started.pid(), "ShdPnd") == "0000000000000000").then_some(())
        });
    }
    started.until_line("10");
    let mut lines = started.lines();
    lines.sort();
    assert_eq!(lines, ["10", "12", "64", "ready"]);
}

#[test]
fn a_command_that_does_not_stop_is_killed_after_the_time_that_was_given() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut started =
        Started::new(Subject::own(&["--stop-timeout", "300ms"]).command(["sh", "-c", script]));
    started.until_line("ready");
    let began = Instant::now();
    started.signal(libc::SIGTERM);
    assert_eq!(started.end(), 137);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(started.stderr.all().contains("did not end in time"));
}

#[test]
fn the_death_of_the_parent_is_passed_on_where_it_was_asked_for() {
    let script = "\"$@\" & echo $!; read -r line";
    let words = ["sh", "-c", script, "sh"].map(std::path::PathBuf::from);
    let mut subject = Subject::own(&["--parent-death=USR2"]);
    subject.words = [words.to_vec(), subject.words].concat();
    let mut command = subject.command([
        "--",
        "sh",
        "-c",
        "trap 'exit 0' USR2; echo ready; while :; do sleep 0.05; done",
    ]);
    command.stdin(std::process::Stdio::piped());
    let mut started = Started::new(command);
    started.until_line("ready");
    let init: i32 = until("the shell has said who it is", || {
        started.lines().iter().find_map(|line| line.parse().ok())
    });
    assert!(process_table::read(init).is_some());
    // The end of its input ends the shell, which is the parent.
    drop(started.child.stdin.take());
    started.end();
    until("the init is gone", || {
        process_table::read(init).is_none().then_some(())
    });
}

#[test]
fn the_command_finds_masks_and_ignored_signals_as_the_init_found_them() {
    for (subject, ignored, blocked) in [
        (Subject::own(&[]), true, true),
        (Subject::instead_of("tini"), true, true),
        (Subject::instead_of("dumb-init"), false, false),
    ] {
        let mut command = std::process::Command::new("env");
        command
            .args([
                "--default-signal",
                "--ignore-signal=PIPE,INT,TTOU,CHLD",
                "--block-signal=TERM,USR1",
            ])
            .args(&subject.words)
            .args(["--", "cat", "/proc/self/status"]);
        let mut started = Started::new(command);
        assert_eq!(started.end(), 0, "{}", started.stderr.so_far());
        let text = started.stdout.all();
        let set = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap() & 0x7fff_ffff
        };
        let bits = |signals: &[i32]| {
            signals
                .iter()
                .fold(0, |set, signal| set | 1_u64 << (signal - 1))
        };
        let expected = |is_kept, signals: &[i32]| if is_kept { bits(signals) } else { 0 };
        assert_eq!(
            set("SigIgn:"),
            expected(ignored, &[2, 13, 17, 22]),
            "{}",
            subject.name
        );
        assert_eq!(
            set("SigBlk:"),
            expected(blocked, &[10, 15]),
            "{}",
            subject.name
        );
    }
}

#[test]
fn a_command_whose_init_was_killed_does_not_outlive_its_test() {
    let mut started = Subject::own(&[]).probe(&[]);
    let probe = started.main_child();
    started.signal(libc::SIGKILL);
    assert_eq!(started.end(), 1009);
    assert!(process_table::read(probe).is_some());
    drop(started);
    until("the probe is gone", || {
        process_table::read(probe)
            .is_none_or(|process| process.state == 'Z')
            .then_some(())
    });
}
