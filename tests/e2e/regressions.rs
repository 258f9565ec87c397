//! Defects that were found by review, each with the test that shows its absence.

use std::io::Read;

use nix::sys::signal::Signal;
use stockade::log::Selection;

use crate::crash_follower::{StatusWatcher, is_terminal};
use crate::harness::run::kill;
use crate::harness::{RunBuilder, get, request, until};

#[test]
fn a_result_as_large_as_a_line_may_be_does_not_keep_the_run_from_its_end() {
    let script = r#"
        printf '{"type":"result","result":"done","data":"'
        head -c 1048000 /dev/zero | tr '\0' x
        printf '"}\n'
    "#;
    let run = RunBuilder::sh(script).flag("--adapter=jsonl").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.recording.assert_whole();
    let status = run.recording.status();
    assert_eq!(
        (&status["status"], &status["result"]),
        (&"completed".into(), &"done".into())
    );
    assert_eq!(status["data"]["truncated"], true);
    let path = status["data"]["artifact"].as_str().unwrap();
    let kept = std::fs::metadata(run.recording.path().join("artifacts").join(path)).unwrap();
    assert_eq!(kept.len(), 1_048_002);
}

#[test]
fn a_stop_loses_no_action_between_two_that_are_on_record() {
    for round in 0..4 {
        let script = r#"
            text=$(head -c 20000 /dev/zero | tr '\0' y)
            i=0
            while :; do
                i=$((i + 1))
                printf '{"tool":"t","action":"a","step":%d,"result_text":"%s"}\n' $i "$text"
            done
        "#;
        let run = RunBuilder::sh(script)
            .flag("--adapter=jsonl")
            .flag("--max-steps=100000")
            .env("STOCKADE_GUARDRAILS_STUCK_CYCLE", "0")
            .start();
        run.until_status("some actions are done", |status| {
            status["action_count"].as_u64().unwrap() > 20 + round
        });
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        run.recording.assert_whole();
        let steps: Vec<u64> = run
            .recording
            .events_of("action")
            .iter()
            .map(|action| action["agent_step"].as_u64().unwrap())
            .collect();
        assert_eq!(
            steps,
            (1..=steps.len() as u64).collect::<Vec<_>>(),
            "round {round}"
        );
        assert!(
            !run.stderr.contains("there is an artifact"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_secret_at_the_cut_of_a_text_is_gone_whole() {
    let secret = "s3cr3t-0123456789-abcdefghij-XYZ";
    for n_before in [980, 990, 1000, 1010, 1020] {
        let run = RunBuilder::new([
            "true".to_owned(),
            format!("{}{secret}", "p".repeat(n_before)),
        ])
        .env("SEC", secret)
        .flag("--credential=TOK=env:SEC")
        .finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
        let log = run.recording.lines().join("\n");
        for part in secret.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!log.contains(part), "{part} behind {n_before} characters");
        }
    }
}

#[test]
fn finished_is_answered_only_when_the_end_is_on_disk() {
    let token = "a-token-of-sufficient-length";
    for _ in 0..4 {
        let run = RunBuilder::sh("sleep 0.2; exit 0")
            .env("STOCKADE_TOKEN", token)
            .flag("--linger=3")
            .start();
        let address = run.address();
        run.until_running();
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let finished = until("the run has finished", || {
            let reply = request(&address, "POST", "/stop", &headers, b"{}");
            (reply.status == 200).then(|| reply.json())
        });
        assert_eq!(finished["phase"], "finished");
        assert_eq!(run.recording().status()["phase"], "finished", "{finished}");
        assert_eq!(get(&address, "/status").json()["phase"], "finished");
        assert_eq!(request(&address, "POST", "/stop", &[], b"{}").status, 401);
        run.signal(Signal::SIGTERM);
        run.finish();
    }
}

#[test]
fn recordings_that_the_workload_could_move_away_are_refused() {
    let builder = RunBuilder::sh("true");
    let nested = builder.workspace().join("out/recordings");
    let run = builder.with_recordings(&nested).finish();
    assert_eq!(run.code(), 125);
    assert!(
        run.stderr.contains("RECORDINGS_UNUSABLE") && run.stderr.contains("--recordings"),
        "{}",
        run.stderr
    );
    // Directly below the workspace they are a mount point, which nobody inside can rename.
    let builder = RunBuilder::sh("ls recordings; mv recordings elsewhere && echo MOVED; true");
    let direct = builder.workspace().join("recordings");
    let run = builder.with_recordings(&direct).finish();
    assert_eq!((run.code(), run.stdout.as_str()), (0, ""), "{}", run.stderr);
    run.recording.assert_whole();
}

/// SEED, regression 12: what had happened was gone with the process that had kept it.
#[test]
fn regression_12_the_history_of_a_run_whose_supervisor_was_killed_is_still_served() {
    let script = "for i in 1 2 3 4 5 6 7 8; do echo tick $i; done; exec sleep 1000";
    let run = RunBuilder::sh(script).start();
    let address = run.address();
    let seen = until("a reader has seen what happened", || {
        let seen = get(&address, "/events?format=ndjson&follow=false").text();
        seen.contains("tick 8").then_some(seen)
    });
    kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    run.recording.assert_whole();
    let served = String::from_utf8(run.recording.replayed(Selection::NDJSON)).unwrap();
    assert!(served.starts_with(&seen), "{served}");
    assert!(served.len() > seen.len(), "the end is missing: {served}");
    assert_eq!(
        run.recording.status()["error"]["code"],
        "SUPERVISOR_CRASHED"
    );
}

/// SEED, regression 13: who read `status.json` while it was written got a part of it.
#[test]
fn regression_13_a_reader_of_the_status_never_sees_a_part_of_it() {
    let builder = RunBuilder::sh("until [ -e end ]; do sleep 0.02; done");
    let workspace = builder.workspace();
    let run = builder.start();
    run.until_running();
    let path = run.recording().path().join("status.json");
    let watcher = StatusWatcher::start(path.clone());
    // Half of the document is read before it is replaced, and the other half after.
    let mut file = std::fs::File::open(&path).unwrap();
    let n_bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut bytes = vec![0; n_bytes / 2];
    file.read_exact(&mut bytes).unwrap();
    std::fs::write(workspace.join("end"), b"").unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    file.read_to_end(&mut bytes).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(bytes.len(), n_bytes);
    assert!(!is_terminal(&read), "{read}");
    assert_eq!(run.recording.status()["status"], "completed");
    watcher.finish();
}
