//! Signals reach the supervisor as messages, with their sender, and none is lost.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use nix::poll::ppoll;
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::unistd::getuid;

use crate::run::{DEFAULT_SIGNALS, PATIENT, Plan, Run, wait_until};

/// Sends signals by a shell, whose kill knows real-time ones, and returns the pid of the sender.
fn send(run: &Run, script: &str) -> u32 {
    let sender = Command::new("sh")
        .args(["-c", script, "sh", &run.pid().to_string()])
        .spawn()
        .expect("a shell");
    let pid = sender.id();
    assert!(sender.wait_with_output().expect("an end").status.success());
    pid
}

#[test]
fn a_stop_in_the_first_milliseconds_is_never_lost() {
    // A fixed sequence (xorshift) that spreads over 0 to 4 ms, so that a failure can be repeated.
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let (mut by_message, mut before_the_first_statement) = (0, 0);
    for _ in 0..250 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut run = Run::start(&["say:ready", "until:15", "say:finished", "exit:143"]);
        let instant = TimeSpec::from_duration(Duration::from_micros(random % 4000));
        ppoll(&mut [], Some(instant), None).expect("a pause");
        run.signal(Signal::SIGTERM);
        let status = run.wait();
        match (status.code(), status.signal()) {
            (Some(143), _) => by_message += 1,
            (_, Some(15)) => before_the_first_statement += 1,
            _ => panic!("{status:?}: {}", run.read("stderr")),
        }
    }
    println!(
        "early TERM: {by_message} by message, {before_the_first_statement} before the first statement, 0 of 250 lost"
    );
    assert!(by_message > 0);
}

#[test]
fn signals_arrive_with_their_sender() {
    let steps = [
        "say:ready",
        "mark:up",
        "until:64",
        "until:15",
        "say:finished",
        "exit:0",
    ];
    let mut run = Run::start(&steps);
    run.wait_for("up");
    // All but KILL, STOP, CHLD, the seven faults, TTIN and TTOU (never passed on), TSTP (which suspends), the stop signals, and
    // the two of the C library.
    let mut signals = vec![10, 12, 13, 14, 16, 18, 23, 24, 25, 26, 27, 28, 29, 30];
    signals.extend(34..=64);
    let mut expected = Vec::new();
    for signal in signals {
        let sender = send(
            &run,
            &format!("kill -21 $1; kill -22 $1; kill -{signal} $1"),
        );
        expected.push(format!("signal {signal} {sender} {} 0", getuid()));
        // A standard signal that is still pending would merge with nothing here, but the order would be the kernel's.
        let count = expected.len();
        wait_until(&format!("signal {signal}"), || {
            (run.read("messages").lines().count() >= count).then_some(())
        });
    }
    run.signal(Signal::SIGTERM);
    expected.push(format!("signal 15 {} {} 0", std::process::id(), getuid()));
    run.ends_with(0);
    assert_eq!(run.read("messages").lines().collect::<Vec<_>>(), expected);
}

#[test]
fn every_stop_signal_is_passed_on_once() {
    for (signal, number) in [
        (Signal::SIGHUP, 1),
        (Signal::SIGINT, 2),
        (Signal::SIGQUIT, 3),
        (Signal::SIGTERM, 15),
    ] {
        let steps = [
            "say:ready",
            "mark:up",
            &format!("until:{number}"),
            "say:finished",
            "exit:9",
        ];
        let mut run = Plan::new(PATIENT).wrapped(DEFAULT_SIGNALS).start(&steps);
        run.wait_for("up");
        run.signal(signal);
        run.ends_with(9);
        assert_eq!(
            run.read("messages"),
            format!("signal {number} {} {} 0\n", std::process::id(), getuid())
        );
    }
}

#[test]
fn a_hang_up_means_nothing_below_nohup() {
    let wrapper = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut run = Plan::new(PATIENT).wrapped(&wrapper).start(&[
        "mark:up",
        "until:15",
        "say:finished",
        "exit:9",
    ]);
    run.wait_for("up");
    run.signal(Signal::SIGHUP);
    run.signal(Signal::SIGTERM);
    run.ends_with(9);
    assert_eq!(
        run.read("messages").lines().count(),
        1,
        "{}",
        run.read("messages")
    );
}

#[test]
fn a_stop_waits_for_room_when_the_socket_is_full() {
    let mut run = Run::start(&["mark:up", "gate:open", "until:15", "say:finished", "exit:9"]);
    run.wait_for("up");
    send(
        &run,
        "n=0; while [ $n -lt 1500 ]; do kill -34 $1; n=$((n + 1)); done",
    );
    wait_until("a dropped signal", || {
        run.read("stderr")
            .contains("signals are being dropped")
            .then_some(())
    });
    run.signal(Signal::SIGTERM);
    std::fs::write(run.path("open"), "").expect("an open gate");
    run.ends_with(9);
    let messages = run.read("messages");
    assert!(
        messages
            .lines()
            .last()
            .is_some_and(|last| last.starts_with("signal 15 ")),
        "{messages}"
    );
    assert_eq!(
        run.read("stderr").lines().count(),
        1,
        "one line, however many are dropped"
    );
    println!(
        "full socket: {} messages were kept of 1501",
        messages.lines().count()
    );
}

#[test]
fn the_supervisor_starts_with_a_clean_signal_state() {
    let wrapper = [
        "sh",
        "-c",
        "trap '' HUP PIPE USR1 RTMAX CHLD; exec \"$@\"",
        "sh",
    ];
    // The shell reads its own state; a child of it has already the state that the C library gives to children.
    let script = "test $1 = supervisor || exit 125
        while read -r line; do echo \"$line\"; done < /proc/$$/status > ${0%/*}/all
        grep -E 'Sig(Blk|Ign|Pnd)|ShdPnd' ${0%/*}/all > ${0%/*}/seen
        echo $* > ${0%/*}/words";
    let mut run = Plan::new(PATIENT)
        .wrapped(&wrapper)
        .script(script)
        .start(&["word"]);
    run.ends_with(125);
    for line in run.wait_for("seen") {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    assert_eq!(
        run.read("words"),
        "supervisor --guardian-fd 3 --run-dir-fd 4 --spec-fd 5 --lock-fd 6 word\n"
    );
}
