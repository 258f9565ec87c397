//! Real containers: the engine's default profile, and stricter ones. No launcher of namespaces starts there.

use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::engine::{Engine, until_file};
use crate::harness::need::need;
use crate::harness::run::{binary, kill};
use crate::harness::{Recording, until};
use crate::process_table;

/// Kinds of ordinary containers; the last word of each names it.
const KINDS: [&[&str]; 6] = [
    &["--name=root"],
    &["--user=1000:1000", "--name=user"],
    &["--read-only", "--name=closed-root"],
    &[
        "--read-only",
        "--tmpfs=/tmp",
        "--user=1000:1000",
        "--name=closed-user",
    ],
    &[
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--name=bare-root",
    ],
    &[
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=1000:1000",
        "--name=bare-user",
    ],
];

/// A playbook whose steps are what a tier has to give, with what must be refused.
const PLAYBOOK: &str = r#"
version: 1
name: in-a-container
steps:
  - id: write
    run: echo note > "$TMPDIR/note" && cat "$TMPDIR/note" && test -d "$HOME" && id -u
  - id: again
    run: test "$(cat "$TMPDIR/tries" 2>/dev/null)" = 1 || { echo 1 > "$TMPDIR/tries"; exit 1; }
    retries: {max: 2, delay: 10ms}
  - id: closed
    run: |
      for attempt in 'ls /' 'ls /recordings' 'cat /etc/shadow' 'touch /tmp/x' 'touch /usr/x' 'cat /proc/1/environ' 'kill -9 1'; do
        sh -c "$attempt" 2>/dev/null && echo "allowed: $attempt"
      done
      true
    expect:
      stdout: {equals: ""}
  - id: orphans
    run: |
      for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.05 &) ; done
      until ! grep -l sleep /proc/[0-9]*/comm 2>/dev/null; do sleep 0.05; done
      ! grep -l '^[0-9]* ([a-z]*) Z' /proc/[0-9]*/stat 2>/dev/null
"#;

fn volume(directory: &Path) -> String {
    format!("--volume={}:/recordings", directory.display())
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn in_container(engine: &Engine, kind: &[&str], recordings: &Path, arguments: &[&str]) -> Output {
    let volume = volume(recordings);
    let flags: Vec<&str> = kind.iter().copied().chain(["--rm", &volume]).collect();
    let run = [
        "/bin/stockade",
        "run",
        "--recordings=/recordings",
        "--run-id=run",
    ];
    let command: Vec<&str> = run.iter().chain(arguments).copied().collect();
    engine.run(&flags, &command)
}

fn missing<'a>(isolation: &'a Value, layer: &str) -> Option<&'a str> {
    let entries = isolation["missing"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["layer"] == layer)?;
    entry["reason"].as_str()
}

#[test]
fn every_kind_of_ordinary_container_gets_the_tier_container_and_runs_a_playbook_in_it() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for kind in KINDS {
        let recordings = engine.recordings();
        let playbook = recordings.path().join("playbook.yaml");
        std::fs::write(&playbook, PLAYBOOK).unwrap();
        let output = in_container(
            &engine,
            kind,
            recordings.path(),
            &["--playbook=/recordings/playbook.yaml"],
        );
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", text(&output));
        let status = Recording::at(recordings.path().join("run")).status();
        assert_eq!(status["status"], "completed", "{kind:?}");
        let isolation = &status["isolation"];
        assert_eq!(isolation["enforced"], "container", "{kind:?}");
        assert_eq!(
            missing(isolation, "user-namespace"),
            Some("cannot create the namespaces the sandbox: EPERM: Operation not permitted"),
            "{kind:?}"
        );
        for layer in ["landlock", "seccomp", "no-capabilities", "in-sandbox-init"] {
            let layers = isolation["layers"].as_array().unwrap();
            assert!(layers.iter().any(|one| one == layer), "{kind:?} {layer}");
        }
        let is_user = kind.iter().any(|flag| flag.starts_with("--user"));
        assert_eq!(
            missing(isolation, "unprivileged-id").is_none(),
            is_user,
            "{kind:?}"
        );
    }
}

#[test]
fn the_first_command_of_the_readme_runs_in_ordinary_containers() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for kind in [
        &["--name=first-root"][..],
        &["--user=1000:1000", "--name=first-user"],
    ] {
        let recordings = engine.recordings();
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart.yaml");
        std::fs::copy(example, recordings.path().join("quickstart.yaml")).unwrap();
        let playbook = "--playbook=/recordings/quickstart.yaml";
        let output = in_container(&engine, kind, recordings.path(), &[playbook]);
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", text(&output));
        let recording = Recording::at(recordings.path().join("run"));
        assert_eq!(recording.status()["isolation"]["enforced"], "container");
        let actions = recording.events_of("action");
        let refused = actions
            .iter()
            .find(|action| action["action"] == "write_into_the_system")
            .unwrap();
        // Refused and not left out: the step that is not tried says so and ends with 0.
        assert_eq!(
            (&refused["success"], &refused["exit_code"]),
            (&true.into(), &1.into()),
            "{kind:?}"
        );
        assert_eq!(actions.len(), 9, "{kind:?}: {}", text(&output));
    }
}

#[test]
fn root_gives_a_workload_that_writes_no_workspace_an_id_of_its_own_with_a_limit_of_processes() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let recordings = engine.recordings();
    let script =
        "id -u; n=0; while [ $n -lt 40 ]; do n=$((n+1)); sleep 600 & done 2>/dev/null; exit 7";
    let arguments = [
        "--workspace-mode=read-only",
        "--pids=16",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = in_container(&engine, &["--name=own-id"], recordings.path(), &arguments);
    let recording = Recording::at(recordings.path().join("run"));
    let status = recording.status();
    assert_eq!(
        missing(&status["isolation"], "unprivileged-id"),
        None,
        "{}",
        text(&output)
    );
    let id: u32 = recording.output().lines().next().unwrap().parse().unwrap();
    assert!(id >= 0x7000_0000, "{id}");
    let limits = status["isolation"]["limits"].as_array().unwrap();
    let pids = limits
        .iter()
        .find(|limit| limit["limit"] == "pids")
        .unwrap();
    assert_eq!(
        (&pids["by"], &pids["value"]),
        (&"rlimit".into(), &16.into())
    );
    // A shell that cannot fork ends with 2, and all that it had started is gone with the run.
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(status["survivors"]["killed"].as_u64() <= Some(16));
}

#[test]
fn an_overlay_of_the_workspace_is_refused_where_there_are_no_mounts() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for kind in [
        &["--name=overlay-root"][..],
        &["--user=1000:1000", "--name=overlay-user"],
    ] {
        let recordings = engine.recordings();
        let arguments = ["--workspace-mode=overlay", "--", "touch", "made"];
        let output = in_container(&engine, kind, recordings.path(), &arguments);
        assert_eq!(
            output.status.code(),
            Some(125),
            "{kind:?}: {}",
            text(&output)
        );
        let error = Recording::at(recordings.path().join("run")).status()["error"].clone();
        assert_eq!(error["code"], "ISOLATION_UNAVAILABLE", "{kind:?}: {error}");
        let message = error["message"].as_str().unwrap();
        for part in ["EPERM", "the tier container has no overlay of a workspace"] {
            assert!(message.contains(part), "{kind:?}: {message}");
        }
    }
}

#[test]
fn the_doctor_says_in_a_container_what_a_run_there_gets() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for kind in KINDS {
        let recordings = engine.recordings();
        let volume = volume(recordings.path());
        let flags: Vec<&str> = kind.iter().copied().chain(["--rm", &volume]).collect();
        let doctor = [
            "/bin/stockade",
            "doctor",
            "--json",
            "--recordings=/recordings",
        ];
        let output = engine.run(&flags, &doctor);
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", text(&output));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&found["holds"], &found["host"]["engine"]),
            (&true.into(), &"docker".into())
        );
        let enforced = &found["sandbox"]["enforced"];
        assert_eq!(enforced["tier"], "container", "{kind:?}: {found}");
        let trials = found["trials"].as_array().unwrap();
        let namespace = trials
            .iter()
            .find(|one| one["trial"] == "user-namespace")
            .unwrap();
        assert_eq!(namespace["refusal"]["errno"], nix::libc::EPERM, "{kind:?}");
        assert!(!found["advice"].as_array().unwrap().is_empty(), "{kind:?}");
        // The exit code is that of the question: a run that must have all layers gets no sandbox here.
        let full: Vec<&str> = doctor.iter().copied().chain(["--isolation=full"]).collect();
        let output = engine.run(&flags, &full);
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {}", text(&output));
    }
}

#[test]
fn the_end_of_a_command_is_the_end_of_the_container() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for (script, code, status, error) in [
        ("true", 0, "completed", Value::Null),
        ("exit 3", 3, "failed", "COMMAND_FAILED".into()),
        ("kill -9 $$", 137, "failed", "COMMAND_FAILED".into()),
    ] {
        let recordings = engine.recordings();
        let name = format!("--name=end-{code}");
        let output = in_container(
            &engine,
            &[&name],
            recordings.path(),
            &["--", "sh", "-c", script],
        );
        assert_eq!(
            output.status.code(),
            Some(code),
            "{script}: {}",
            text(&output)
        );
        let document = Recording::at(recordings.path().join("run")).status();
        assert_eq!(
            (&document["status"], &document["error"]["code"]),
            (&status.into(), &error),
            "{script}"
        );
    }
    // What is required and missing is refused, and says which call was.
    let recordings = engine.recordings();
    let output = in_container(
        &engine,
        &["--name=full"],
        recordings.path(),
        &["--isolation=full", "--", "true"],
    );
    assert_ne!(output.status.code(), Some(0));
    let document = Recording::at(recordings.path().join("run")).status();
    assert_eq!(
        document["error"]["code"],
        "ISOLATION_UNAVAILABLE",
        "{}",
        text(&output)
    );
    assert!(
        document["error"]["message"]
            .as_str()
            .unwrap()
            .contains("EPERM"),
        "{document}"
    );
}

#[test]
fn a_container_that_is_stopped_ends_its_run_in_order_and_one_that_is_killed_is_finalized() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for (name, order) in [
        ("stopped", &["stop", "--time=30"][..]),
        ("killed", &["kill", "-s", "KILL"]),
    ] {
        let recordings = engine.recordings();
        let volume = volume(recordings.path());
        let flag = format!("--name={name}");
        let started = engine.run(
            &["--detach", &flag, &volume],
            &[
                "/bin/stockade",
                "run",
                "--recordings=/recordings",
                "--run-id=run",
                "--grace=2",
                "--",
                "sh",
                "-c",
                "trap '' TERM; echo ready; while :; do sleep 1; done",
            ],
        );
        assert!(started.status.success(), "{}", text(&started));
        let directory = recordings.path().join("run");
        until_file(&directory.join("events.jsonl"));
        let recording = Recording::at(&directory);
        until("the command is ready", || {
            recording.output().contains("ready").then_some(())
        });
        let began = std::time::Instant::now();
        let ended = engine.docker(order.iter().copied().chain([name]));
        assert!(ended.status.success(), "{}", text(&ended));
        assert!(
            began.elapsed() < std::time::Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        let code = engine.docker(["inspect", "--format={{.State.ExitCode}}", name]);
        let code = text(&code).trim().to_owned();
        if name == "stopped" {
            let status = recording.status();
            assert_eq!(status["outcome"]["by"], "signal", "{status}");
            assert_eq!(
                (code.as_str(), &status["status"]),
                ("143", &"terminated".into())
            );
        } else {
            assert_eq!(code, "137");
            let finalized = std::process::Command::new(binary())
                .arg("finalize")
                .arg(&directory)
                .output()
                .unwrap();
            let status = recording.status();
            assert_eq!(status["error"]["code"], "LOST", "{}", text(&finalized));
        }
        assert!(engine.docker(["rm", name]).status.success());
    }
}

#[test]
fn a_supervisor_that_hangs_leaves_a_true_record_within_the_patience_of_docker_stop() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let recordings = engine.recordings();
    let volume = volume(recordings.path());
    let command = [
        "/bin/stockade",
        "run",
        "--recordings=/recordings",
        "--run-id=run",
    ];
    let script = "echo ready; while :; do sleep 1; done";
    let started = engine.run(
        &["--detach", "--name=hung", &volume],
        &[&command[..], &["--", "sh", "-c", script]].concat(),
    );
    assert!(started.status.success(), "{}", text(&started));
    let directory = recordings.path().join("run");
    until_file(&directory.join("events.jsonl"));
    let recording = Recording::at(&directory);
    until("the command is ready", || {
        recording.output().contains("ready").then_some(())
    });
    let guardian = engine.docker(["inspect", "--format={{.State.Pid}}", "hung"]);
    let guardian = text(&guardian).trim().parse().unwrap();
    let supervisor = process_table::live_child(guardian).unwrap();
    kill(supervisor, Signal::SIGSTOP);
    let began = std::time::Instant::now();
    // As everybody types it: it kills the container after 10 s.
    let ended = engine.docker(["stop", "hung"]);
    assert!(ended.status.success(), "{}", text(&ended));
    let took = began.elapsed();
    let status = recording.status();
    assert_eq!(status["status"], "terminated", "{took:?} {status}");
    assert_eq!(status["error"]["code"], "RUN_TERMINATED", "{status}");
    let code = engine.docker(["inspect", "--format={{.State.ExitCode}}", "hung"]);
    assert_eq!(text(&code).trim(), "143", "{took:?}");
    recording.assert_whole();
    assert!(engine.docker(["rm", "hung"]).status.success());
}

#[test]
fn a_launcher_of_namespaces_does_not_start_where_the_tier_container_does() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    if need("bwrap").is_none() {
        return;
    }
    for kind in [
        &["--name=bwrap-root"][..],
        &["--name=bwrap-user", "--user=1000:1000"],
    ] {
        let flags: Vec<&str> = kind.iter().copied().chain(["--rm"]).collect();
        let output = engine.run(&flags, &["/bin/bwrap", "--ro-bind", "/", "/", "/bin/true"]);
        assert_ne!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains("namespace"), "{}", text(&output));
    }
}
