//! How a paused run ends: stopped in order, or with those who paused it dead; nothing of it is left.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash_follower::over_socket;
use crate::harness::run::{Finished, binary, kill};
use crate::harness::{Recording, Run, RunBuilder, until};
use crate::pause::{ALL, Means, ask, assert_stands, in_tier, pause, workload};
use crate::process_table;

/// Ends at once when it is asked to.
const WILLING: &str = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done";

fn paused(means: Means, tier: &str, script: &str) -> Option<Run> {
    let run = means
        .of(in_tier(tier, script).flag("--grace").flag("6"))?
        .start();
    run.until_stdout("ready");
    pause(&run, means);
    Some(run)
}

/// The directories of the run's control group.
fn groups(recording: &Recording) -> Vec<PathBuf> {
    let isolation = recording.events_of("isolation");
    let groups = isolation[0]["groups"].as_array().cloned();
    let groups = groups.unwrap_or_default().into_iter();
    groups
        .map(|path| PathBuf::from(path.as_str().unwrap()))
        .collect()
}

fn assert_nothing_left(run: &Finished) {
    until("nothing of the run is left", || {
        let left = process_table::of_run(run.directory.path());
        left.is_empty().then_some(())
    });
    for group in groups(&run.recording) {
        until(&format!("{} is removed", group.display()), || {
            (!group.exists()).then_some(())
        });
    }
}

#[test]
fn a_paused_run_is_stopped_in_order_and_within_its_time() {
    for tier in ["full", "container", "none"] {
        for means in ALL {
            let Some(run) = paused(means, tier, WILLING) else {
                continue;
            };
            let asked = Instant::now();
            run.signal(Signal::SIGTERM);
            let run = run.finish();
            assert!(asked.elapsed() < Duration::from_secs(6), "{tier} {means:?}");
            assert_eq!(run.code(), 143, "{}", run.stderr);
            // It could end by itself: it ran again when it was asked.
            assert!(run.stdout.contains("asked"), "{tier} {means:?}");
            let status = run.recording.status();
            assert_eq!(status["status"], "terminated");
            assert_eq!(status["survivors"]["killed"], 0, "{status}");
            assert!(status.get("paused").is_none(), "{status}");
            assert_eq!(run.recording.events_of("run.resumed").len(), 1);
            run.recording.assert_whole();
            assert_nothing_left(&run);
        }
    }
}

#[test]
fn what_is_paused_and_deaf_is_killed_within_the_grace() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    for means in ALL {
        let Some(run) = paused(means, "full", script) else {
            continue;
        };
        let asked = Instant::now();
        assert_eq!(ask(&run, "/stop").0, 202);
        let (code, answer) = ask(&run, "/pause");
        assert_eq!((code, &answer["code"]), (409, &"RUN_OVER".into()));
        let run = run.finish();
        assert!(asked.elapsed() < Duration::from_secs(8), "{means:?}");
        assert_eq!(run.code(), 143, "{}", run.stderr);
        assert!(run.recording.status()["survivors"]["killed"].as_u64() >= Some(1));
        run.recording.assert_whole();
        assert_nothing_left(&run);
    }
}

#[test]
fn a_run_that_has_ended_is_neither_paused_nor_resumed() {
    let run = RunBuilder::sh("exit 0").flag("--linger").flag("60").start();
    run.until_status("the run has ended", |status| status["phase"] == "finished");
    for path in ["/pause", "/resume"] {
        let (code, answer) = ask(&run, path);
        assert_eq!((code, &answer["code"]), (409, &"RUN_OVER".into()));
    }
    run.signal(Signal::SIGTERM);
    assert_eq!(run.finish().code(), 0);
}

/// Who dies while the run is paused.
#[derive(Debug, Clone, Copy)]
enum Dead {
    Supervisor,
    Guardian,
    /// The launch helper before the supervisor: nobody of the run is left to thaw anything.
    HelperAndSupervisor,
}

#[test]
fn nothing_is_left_of_a_paused_run_whose_supervisor_or_guardian_is_killed() {
    for tier in ["full", "container", "none"] {
        for means in ALL {
            for dead in [Dead::Supervisor, Dead::Guardian, Dead::HelperAndSupervisor] {
                let Some(run) = paused(means, tier, WILLING) else {
                    continue;
                };
                assert!(!workload(&run).is_empty());
                assert_stands(&run, Duration::from_millis(20));
                let supervisor = run.supervisor_pid();
                let helper = process_table::live_child(supervisor).unwrap();
                match dead {
                    Dead::Supervisor => kill(supervisor, Signal::SIGKILL),
                    Dead::Guardian => kill(run.guardian_pid(), Signal::SIGKILL),
                    Dead::HelperAndSupervisor => {
                        kill(helper, Signal::SIGKILL);
                        kill(supervisor, Signal::SIGKILL);
                    }
                }
                let path = run.recording().path().to_owned();
                let run = run.finish();
                if let Dead::Guardian = dead {
                    until("the run can be finalized", || {
                        let finalize = Command::new(binary()).arg("finalize").arg(&path).output();
                        finalize.unwrap().status.success().then_some(())
                    });
                }
                let status = run.recording.status();
                let code = match dead {
                    Dead::Supervisor | Dead::HelperAndSupervisor => "SUPERVISOR_CRASHED",
                    Dead::Guardian => "LOST",
                };
                let case = format!("{tier} {means:?} {dead:?} {status}");
                assert_eq!(status["error"]["code"], code, "{case}");
                assert!(status.get("paused").is_none(), "{status}");
                assert_nothing_left(&run);
                run.recording.assert_whole();
            }
        }
    }
}

#[test]
fn a_paused_run_whose_launch_helper_is_killed_ends_at_once_and_says_so() {
    for tier in ["full", "container", "none"] {
        for means in ALL {
            let Some(run) = paused(means, tier, WILLING) else {
                continue;
            };
            let helper = process_table::live_child(run.supervisor_pid()).unwrap();
            kill(helper, Signal::SIGKILL);
            // Nobody resumes or stops it.
            let run = run.finish();
            let status = run.recording.status();
            let case = format!("{tier} {means:?} {status}\n{}", run.stderr);
            assert_eq!(run.code(), 125, "{case}");
            assert_eq!(status["error"]["code"], "SETUP_FAILED", "{case}");
            assert!(status.get("paused").is_none(), "{case}");
            let resumed = run.recording.events_of("run.resumed");
            assert_eq!(resumed.len(), 1, "{case}");
            assert_eq!(resumed[0]["reason"], "the sandbox is gone", "{case}");
            assert_nothing_left(&run);
            run.recording.assert_whole();
        }
    }
}

#[test]
fn an_agent_that_is_killed_while_the_run_is_paused_is_told_of_when_it_goes_on() {
    for tier in ["full", "container", "none"] {
        for means in ALL {
            for path in ["/resume", "/stop"] {
                let Some(run) = paused(means, tier, WILLING) else {
                    continue;
                };
                let agent = workload(&run)
                    .into_iter()
                    .find(|process| process.name == "sh");
                let agent = agent.unwrap().pid;
                kill(agent, Signal::SIGKILL);
                // What is frozen in version 1 dies when it goes on, and the init of a frozen sandbox reaps then.
                if means != Means::CgroupV1 {
                    until("the agent is dead", || {
                        let process = process_table::read(agent);
                        process
                            .is_none_or(|process| process.state == 'Z')
                            .then_some(())
                    });
                }
                let (code, status) = over_socket(&run.socket(), "GET", "/status", "");
                assert_eq!((code, &status["status"]), (200, &"running".into()));
                assert_eq!(status["paused"]["by"], means.word(), "{status}");
                assert!([200, 202].contains(&ask(&run, path).0));
                let run = run.finish();
                let status = run.recording.status();
                let case = format!("{tier} {means:?} {path} {status}\n{}", run.stderr);
                assert_eq!(status["outcome"]["signal"], 9, "{case}");
                let (code, exit_code) = match path {
                    "/resume" => ("COMMAND_FAILED", 137),
                    _ => ("RUN_TERMINATED", 143),
                };
                assert_eq!(status["error"]["code"], code, "{case}");
                assert_eq!(run.code(), exit_code, "{case}");
                assert_nothing_left(&run);
                run.recording.assert_whole();
            }
        }
    }
}
