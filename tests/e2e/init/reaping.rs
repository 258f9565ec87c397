//! Orphans come to the init, and are reaped at once.

use nix::libc;

use super::{Started, Subject, as_pid_1};
use crate::harness::until;
use crate::process_table;

/// Hands over dead children in rounds of 200, each when those of the last are reaped, and ends with 3.
const ORPHANS: &str = r#"
import os, sys
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
        pass
print("done", flush=True)
open("/dev/stdin").read()
os._exit(3)
"#;

#[test]
fn ten_thousand_orphans_are_reaped_and_none_is_left() {
    let variants = [
        (Subject::own(&[]), &[][..], "50"),
        (Subject::instead_of("tini"), &["-s"], "5"),
    ];
    for (subject, options, rounds) in variants {
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
        assert_eq!(left.len(), 1, "{left:?}");
        let processor = processor_ticks(started.pid());
        // A tick is 10 ms; a loop that does not sleep between deaths would take as long as the whole test.
        assert!(processor < 500, "{processor} ticks of the processor");
        drop(started.child.stdin.take());
        assert_eq!(started.end(), 3);
    }
}

/// Time on the processor, user and system, proc_pid_stat(5).
fn processor_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
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
