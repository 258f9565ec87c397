//! Pause and resume as people ask for them, and what they are shown.

use crate::harness::RunBuilder;
use crate::harness::asked::ask;
use crate::pause::{Means, assert_stands};

#[test]
fn a_run_is_paused_and_resumed_by_name_and_the_status_says_so() {
    let run = RunBuilder::sh("echo ready; while :; do sleep 0.05; done");
    let recordings = run.recordings();
    let told = |arguments: &[&str]| ask(&recordings, arguments);
    let run = run.start();
    run.until_stdout("ready");
    let by = Means::CgroupV2.word();
    let (code, out, err) = told(&["pause", "run", "--reason", "a look at it"]);
    assert_eq!(
        (code, out),
        (0, format!("run run is paused, by {by}\n")),
        "{err}"
    );
    assert_stands(&run, std::time::Duration::from_millis(100));
    let (code, out, _) = told(&["pause"]);
    assert_eq!(
        (code, out),
        (0, format!("run run was paused already, by {by}\n"))
    );
    let (code, out, _) = told(&["status", "run"]);
    assert_eq!(code, 0);
    assert!(out.contains("running, paused for "), "{out}");
    assert!(out.contains(&format!("by {by} since 2")), "{out}");
    let (code, out, err) = told(&["resume", "run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("run run goes on after "), "{out}");
    let (code, out, _) = told(&["resume", "run"]);
    assert_eq!((code, out.as_str()), (0, "run run was not paused\n"));
    let (_, out, _) = told(&["status", "run"]);
    assert!(!out.contains("paused"), "{out}");
    assert_eq!(told(&["stop", "run"]).0, 0);
    for command in ["pause", "resume"] {
        let (code, out, err) = told(&[command, "run"]);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("run run has ended"), "{err}");
    }
    let run = run.finish();
    let paused = run.recording.events_of("run.paused");
    assert_eq!(paused[0]["reason"], "a look at it");
    run.recording.assert_whole();
    let (_, out, _) = told(&["tail", "run", "--no-follow"]);
    assert!(
        out.contains(&format!("paused by {by}: a look at it")),
        "{out}"
    );
    assert!(out.contains("resumed after "), "{out}");
}
