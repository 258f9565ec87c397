//! Many launches leave nothing behind.

use crate::harness::{LIMIT, Starter, for_each_starter, full, launch};
use std::fs;

/// Launches of one round; `STOCKADE_SOAK_ROUNDS=10` makes 10,000 of them.
const LAUNCHES: u32 = 1_000;

/// Open descriptors of a process of which root may know.
fn descriptors(pid: i32) -> Option<usize> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.count())
}

#[test]
fn a_thousand_launches_leave_no_process_and_no_descriptor() {
    let rounds = std::env::var("STOCKADE_SOAK_ROUNDS").ok();
    let rounds: u32 = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    for_each_starter(|starter| {
        let run = full(starter);
        let held = || [run.helper.pid(), run.sandbox.init_pid()].map(descriptors);
        let before = held();
        assert!(starter == Starter::User || before.iter().all(Option::is_some));
        for number in 0..LAUNCHES * rounds {
            let (program, code) = if number % 2 == 0 {
                ("true", 0)
            } else {
                ("false", 1)
            };
            let id = run.sandbox.launch(launch(&[program])).expect("starts");
            let report = run.sandbox.wait_report(LIMIT).expect("a report");
            assert_eq!((report.launch, report.status), (id, code << 8));
        }
        assert_eq!(run.sandbox.processes().expect("count"), 0);
        assert_eq!(held(), before);
    });
}
