//! Agents that do not want to end: whatever they do about it, a stop ends them all in time, and counts what it had to kill.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::RunBuilder;
use crate::harness::need::need;
use crate::process_table;

/// Hears nothing that a stop says.
const DEAF: &str = "trap '' TERM INT HUP; echo ready; while :; do sleep 0.05; done";

/// Twenty chains of processes, of which each forks the next and ends: at no time is there one that could be found and killed
/// alone. Every second link begins a session of its own. They end by themselves after a minute.
const FORKS: &str = r#"
import os, signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = time.monotonic() + 60
for chain in range(20):
    if os.fork() == 0:
        link = 0
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            link += 1
            if link % 2:
                os.setsid()
            time.sleep(0.001)
        os._exit(0)
os.write(1, b"ready\n")
time.sleep(60)
"#;

/// Forks until it may not any more, at most 200 times.
const FILLS: &str = r#"
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for n in range(200):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except BlockingIOError:
        os.write(1, b"ready\n")
        break
time.sleep(60)
"#;

/// Asks the run to end, and looks at its end.
fn ends_in_time(what: &str, tier: &str, run: RunBuilder, least_killed: u64) {
    let run = run.flag("--grace=4").flag("--isolation").flag(tier).start();
    run.until_stdout("ready");
    let began = Instant::now();
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    let took = began.elapsed();
    let what = format!("{what} in {tier}");
    assert_eq!(run.code(), 143, "{what}: {}", run.stderr);
    assert!(took < Duration::from_secs(6), "{what}: {took:?}");
    let status = run.recording.status();
    assert_eq!(status["status"], "terminated", "{what}");
    let killed = status["survivors"]["killed"].as_u64().unwrap();
    assert!(killed >= least_killed, "{what}: {killed} were killed");
    run.recording.assert_whole();
    assert_eq!(
        process_table::of_run(run.directory.path()),
        Vec::<String>::new(),
        "{what}"
    );
}

const TIERS: [&str; 3] = ["best", "container", "none"];

#[test]
fn an_agent_that_ignores_every_request_is_killed() {
    for tier in TIERS {
        ends_in_time("deaf", tier, RunBuilder::sh(DEAF), 1);
    }
}

#[test]
fn an_agent_that_forks_while_it_is_killed_is_killed_with_its_last_child() {
    for tier in TIERS {
        let run = RunBuilder::new(["python3", "-c", FORKS]);
        ends_in_time("forks", tier, run, 1);
    }
}

#[test]
fn daemons_of_two_forks_and_a_session_of_their_own_do_not_outlive_the_run() {
    let script = format!("(setsid sh -c '(setsid sh -c \"$0\" \"$0\" &)' \"$0\" &); {DEAF}");
    for tier in TIERS {
        let run = RunBuilder::new(["sh", "-c", &script, DEAF]);
        ends_in_time("daemons", tier, run, 2);
    }
}

#[test]
fn a_daemon_that_holds_the_output_holds_nobody() {
    let script = "(setsid sh -c 'trap \"\" TERM HUP; sleep 600' &); echo ready; exec sleep 600";
    for tier in TIERS {
        ends_in_time("holds the output", tier, RunBuilder::sh(script), 1);
    }
}

#[test]
fn an_agent_that_stops_itself_hears_the_stop() {
    let script = "(sleep 600 & echo ready; kill -STOP $! $$); exec sleep 600";
    for tier in TIERS {
        ends_in_time("stopped", tier, RunBuilder::sh(script), 0);
    }
}

#[test]
fn an_agent_that_has_used_up_its_processes_is_ended() {
    for tier in TIERS {
        let run = RunBuilder::new(["python3", "-c", FILLS]).flag("--pids=40");
        ends_in_time("full", tier, run, 1);
    }
}

#[test]
fn an_agent_that_changes_its_user_or_may_not_is_ended() {
    if need("setpriv").is_none() {
        return;
    }
    let script = format!(
        "setpriv --reuid=65534 --clear-groups sh -c \"$0\" || {{ echo refused; exec sh -c \"$0\"; }}; {DEAF}"
    );
    for tier in TIERS {
        let run = RunBuilder::new(["sh", "-c", &script, DEAF]);
        ends_in_time("other user", tier, run, 1);
    }
}
