//! A signal to every process of a run at once, as process managers and `pkill` send it, ends the run in order.

use nix::sys::signal::Signal;

use crate::harness::RunBuilder;
use crate::harness::run::kill;
use crate::process_table::{live_child, namespace_init};

#[test]
fn a_signal_to_all_processes_of_the_run_is_one_orderly_stop() {
    // The command itself is not signalled: that its trap runs shows that the ladder reached it, through helper and init. It
    // takes longer than a second request would leave it.
    let script = "trap 'sleep 1.5; echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let run = RunBuilder::sh(script).start();
    run.until_stdout("up");
    let supervisor = run.supervisor_pid();
    let helper = live_child(supervisor).unwrap();
    let init = namespace_init(helper).unwrap();
    for pid in [init, helper, supervisor, run.guardian_pid()] {
        kill(pid, Signal::SIGTERM);
    }
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(run.stdout.contains("asked"), "{}", run.stdout);
    let status = run.recording.status();
    assert_eq!(status["status"], "terminated", "{status}");
    assert_eq!(status["outcome"]["sender"]["pid"], std::process::id());
    run.recording.assert_whole();
}

#[test]
fn a_question_for_the_state_is_answered_by_way_of_the_guardian() {
    let builder = RunBuilder::sh("until [ -e go ]; do sleep 0.02; done");
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_running();
    run.signal(Signal::SIGUSR1);
    run.until_stderr("state of the run");
    std::fs::write(workspace.join("go"), "").unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stderr.matches("state of the run").count(), 1);
}
