//! What stands still: every process, and what the API says of it meanwhile.

use std::time::Duration;

use crate::crash_follower::over_socket;
use crate::harness::need::need;
use crate::harness::{Run, RunBuilder, http, until};
use crate::pause::{ALL, Means, ask, assert_stands, in_tier, pause, ticks, workload};

/// Keeps a processor busy, in its own session as well.
const BUSY: &str = "setsid sh -c 'while :; do :; done' & echo ready; while :; do :; done";

/// Waits until the workload takes processor time.
fn until_it_runs(run: &Run) {
    let before: u64 = ticks(run).values().sum();
    until("the workload takes processor time", || {
        (ticks(run).values().sum::<u64>() > before + 2).then_some(())
    });
}

fn stands_and_goes_on(tier: &str, means: Means) {
    let Some(run) = means.of(in_tier(tier, BUSY)) else {
        return;
    };
    let run = run.start();
    run.until_stdout("ready");
    until("the second loop runs", || {
        (workload(&run).len() >= 2).then_some(())
    });
    until_it_runs(&run);
    // A pause that is asked for twice is one, and a resume without a pause is none.
    let (code, answer) = ask(&run, "/resume");
    assert_eq!((code, &answer["changed"]), (200, &false.into()), "{answer}");
    pause(&run, means);
    let (code, again) = ask(&run, "/pause");
    assert_eq!((code, &again["changed"]), (200, &false.into()), "{again}");
    assert_eq!(again["by"], means.word());
    assert_stands(&run, Duration::from_millis(400));
    let (_, status) = over_socket(&run.socket(), "GET", "/status", "");
    assert_eq!(status["phase"], "running", "{status}");
    assert_eq!(status["paused"]["by"], means.word(), "{status}");
    let on_disk = run.recording().status();
    assert_eq!(on_disk["paused"], status["paused"], "{on_disk}");
    let (code, answer) = ask(&run, "/resume");
    assert_eq!((code, &answer["changed"]), (200, &true.into()), "{answer}");
    assert!(answer["paused_ms"].as_u64() >= Some(400), "{answer}");
    until_it_runs(&run);
    let (code, answer) = ask(&run, "/resume");
    assert_eq!((code, &answer["changed"]), (200, &false.into()), "{answer}");
    assert_eq!(ask(&run, "/stop").0, 202);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    let recording = &run.recording;
    assert_eq!(recording.events_of("run.paused").len(), 1);
    assert_eq!(recording.events_of("run.paused")[0]["by"], means.word());
    let resumed = recording.events_of("run.resumed");
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    let status = recording.status();
    assert_eq!(status["paused_ms"], resumed[0]["paused_ms"], "{status}");
    assert!(status.get("paused").is_none(), "{status}");
    recording.assert_whole();
}

#[test]
fn a_busy_workload_takes_no_processor_time_while_it_is_paused_in_the_tier_full() {
    for means in ALL {
        stands_and_goes_on("full", means);
    }
}

#[test]
fn a_busy_workload_takes_no_processor_time_while_it_is_paused_in_the_tier_container() {
    for means in ALL {
        stands_and_goes_on("container", means);
    }
}

#[test]
fn a_busy_workload_takes_no_processor_time_while_it_is_paused_in_the_tier_none() {
    for means in ALL {
        stands_and_goes_on("none", means);
    }
}

#[test]
fn what_forks_all_the_while_stands_still_and_goes_on() {
    // Nine loops, each with one child at a time, below a limit that they never reach.
    let script = "storm() { while :; do true & wait; done; }; \
        for i in 1 2 3 4 5 6 7 8; do storm & done; echo ready; storm";
    for means in ALL {
        let run = RunBuilder::sh(script).flag("--pids").flag("40");
        let Some(run) = means.of(run) else {
            continue;
        };
        let run = run.start();
        run.until_stdout("ready");
        until("all loops run", || {
            (workload(&run).len() >= 9).then_some(())
        });
        pause(&run, means);
        assert_stands(&run, Duration::from_millis(300));
        let before = ticks(&run);
        assert_eq!(ask(&run, "/resume").0, 200);
        until("they fork again", || (ticks(&run) != before).then_some(()));
        assert_eq!(ask(&run, "/stop").0, 202);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        run.recording.assert_whole();
    }
}

#[test]
fn what_is_always_another_process_stands_still_and_goes_on() {
    if need("perl").is_none() {
        return;
    }
    // One process at a time: each begins the next one and ends. Who looks first and signals then finds nobody.
    let script = "perl -e 'setpgrp; while (1) { my $next = fork; exit 0 if $next; }' & echo ready; exec sleep 600";
    for means in ALL {
        let Some(run) = means.of(RunBuilder::sh(script).flag("--pids").flag("40")) else {
            continue;
        };
        let run = run.start();
        run.until_stdout("ready");
        let hopper = || {
            let mut own = workload(&run).into_iter();
            own.find(|process| process.name == "perl")
                .map(|process| process.pid)
        };
        let first = until("it hops", &hopper);
        until("it is another one", || {
            hopper().is_some_and(|pid| pid != first).then_some(())
        });
        pause(&run, means);
        assert!(hopper().is_some());
        assert_stands(&run, Duration::from_millis(200));
        let before = hopper();
        assert_eq!(ask(&run, "/resume").0, 200);
        until("it hops again", || (hopper() != before).then_some(()));
        assert_eq!(ask(&run, "/stop").0, 202);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        run.recording.assert_whole();
    }
}

#[test]
fn what_stopped_by_itself_is_not_continued_by_the_end_of_a_pause() {
    for means in ALL {
        let script = "sh -c 'kill -STOP $$; echo woken' & echo ready; while :; do sleep 0.05; done";
        let Some(run) = means.of(RunBuilder::sh(script)) else {
            continue;
        };
        let run = run.start();
        let stopped = || {
            let mut own = workload(&run).into_iter();
            own.find(|process| process.name == "sh" && process.state == 'T')
        };
        let one = until("one has stopped itself", stopped);
        pause(&run, means);
        assert_stands(&run, Duration::from_millis(100));
        assert_eq!(ask(&run, "/resume").0, 200);
        until("the other goes on", || {
            workload(&run)
                .iter()
                .any(|process| process.name == "sleep" && process.state != 'T')
                .then_some(())
        });
        assert_eq!(stopped().map(|process| process.pid), Some(one.pid));
        assert_eq!(ask(&run, "/stop").0, 202);
        let run = run.finish();
        // The stop continues everything, so that it can end.
        assert_eq!(run.code(), 143, "{}", run.stderr);
        run.recording.assert_whole();
    }
}

#[test]
fn readers_and_the_status_work_while_the_run_is_paused() {
    for means in ALL {
        let script = "echo ready; while :; do echo tick; sleep 0.02; done";
        let Some(run) = means.of(RunBuilder::sh(script)) else {
            continue;
        };
        let run = run.start();
        run.until_stdout("ready");
        let address = run.address();
        let types = "/events?types=run.paused,run.resumed";
        let mut reader = http::stream(&address, types, &[]);
        assert_eq!(reader.status(), 200);
        let mut next = |wanted: &str| loop {
            let frame = reader.next_frame().unwrap();
            if frame.event.as_deref() == Some(wanted) {
                return;
            }
        };
        pause(&run, means);
        next("run.paused");
        let late = http::get(&address, "/events?format=ndjson&follow=false");
        assert!(late.text().contains("\"type\":\"run.paused\""));
        let status = http::get(&address, "/status").json();
        assert_eq!(status["paused"]["by"], means.word(), "{status}");
        let metrics = || http::get(&address, "/metrics").text();
        assert!(metrics().contains("\nstockade_run_paused 1\n"));
        assert_eq!(http::get(&address, "/readyz").status, 200);
        let seen = run.recording().events_of("action.output").len();
        assert_stands(&run, Duration::from_millis(100));
        assert_eq!(ask(&run, "/resume").0, 200);
        next("run.resumed");
        let metrics = metrics();
        assert!(metrics.contains("\nstockade_run_paused 0\n"), "{metrics}");
        let paused = metrics
            .lines()
            .find_map(|line| line.strip_prefix("stockade_paused_seconds_total "));
        assert!(paused.unwrap().parse::<f64>().unwrap() >= 0.1, "{paused:?}");
        until("there is output again", || {
            (run.recording().events_of("action.output").len() > seen).then_some(())
        });
        assert_eq!(ask(&run, "/stop").0, 202);
        let run = run.finish();
        run.recording.assert_whole();
    }
}
