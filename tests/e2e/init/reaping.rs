//! Orphans come to the init, and are reaped at once.

use nix::libc;

use super::{Started, Subject, as_pid_1};
use crate::harness::until;
use crate::process_table;

/// Hands over dead children in rounds of 200, each when those of the last are reaped, and ends with 3.
const ORPHANS: &str = r#"
import os, sys, time
init = os.getppid()
children = "/proc/%d/task/%d/children" % (init, init)
for round in range(int(sys.argv[1])):
    middle = os.fork()
    if middle == 0:
        for orphan in range(200):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    os.waitpid(middle, 0)
    while len(open(children).read().split()) > 1:
        time.sleep(0.001)
print("done", flush=True)
open("/dev/stdin").read()
os._exit(3)
"#;

/// Milliseconds of the processor that an init has taken for orphans in rounds of 200, none of which is left.
fn time_for_orphans(subject: &Subject, options: &[&str], rounds: &str) -> f64 {
    let words = ["--", "python3", "-c", ORPHANS, rounds];
    let mut command = subject.command(options.iter().chain(&words));
    command.stdin(std::process::Stdio::piped());
    let mut started = Started::new(command);
    let limit = std::time::Duration::from_secs(240);
    crate::harness::wait::until_within(limit, "all are handed over and reaped", || {
        started
            .lines()
            .iter()
            .any(|line| line == "done")
            .then_some(())
    });
    let left = process_table::children(started.pid());
    assert_eq!(left.len(), 1, "{}: {left:?}", subject.name);
    let time = processor_time(started.pid());
    drop(started.child.stdin.take());
    assert_eq!(started.end(), 3, "{}", subject.name);
    time
}

#[test]
fn ten_thousand_orphans_are_reaped_and_none_is_left_in_the_time_that_tini_takes() {
    let own = time_for_orphans(&Subject::own(&[]), &[], "50");
    // A loop that does not sleep between deaths would take as long as the whole test, which is seconds.
    assert!(own < 5_000.0, "{own} ms of the processor");
    time_for_orphans(&Subject::instead_of("tini"), &["-s"], "5");
    let Some(tini) = Subject::original("tini") else {
        return;
    };
    let theirs = time_for_orphans(&tini, &["-s"], "50");
    // Ours is built for tests and starts for longer. `benches` has the figures of what is released.
    assert!(own < 2.0 * theirs + 20.0, "{own} ms, tini {theirs} ms");
}

/// Milliseconds on the processor, user and system, as the scheduler counts them (proc_pid_schedstat(5)).
fn processor_time(pid: i32) -> f64 {
    let counted = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let nanos: f64 = counted.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e6
}

#[test]
fn pid_1_reaps_what_daemons_leave() {
    let Some(words) = as_pid_1() else {
        return;
    };
    for mut subject in [
        Subject::own(&[]),
        Subject::instead_of("tini"),
        Subject::instead_of("dumb-init"),
    ] {
        subject.words = [words.clone(), subject.words].concat();
        let script = "n=0; while [ $n -lt 50 ]; do n=$((n+1)); (setsid true &) ; done; echo ready; read -r line; exit 4";
        let mut command = subject.command(["--", "sh", "-c", script]);
        command.stdin(std::process::Stdio::piped());
        let mut started = Started::new(command);
        started.until_line("ready");
        let init = started.main_child();
        until("the command is the only process that is left", || {
            (process_table::children(init).len() == 1).then_some(())
        });
        drop(started.child.stdin.take());
        assert_eq!(started.end(), 4, "{}", subject.name);
    }
}

#[test]
fn an_init_in_an_init_reaps_its_own() {
    let inner = Subject::own(&[]);
    let words = inner.words.iter().map(|word| word.to_str().unwrap());
    let script = "(setsid true &); (setsid true &); echo ready; exec sleep 600";
    let mut started =
        Started::new(Subject::own(&[]).command(words.chain(["--", "sh", "-c", script])));
    started.until_line("ready");
    let inner = started.main_child();
    until("the inner one has its command alone", || {
        (process_table::children(inner).len() == 1).then_some(())
    });
    started.signal(libc::SIGTERM);
    assert_eq!(started.end(), 143);
}
