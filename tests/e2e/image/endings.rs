//! How runs end in real containers, and that each leaves a whole record.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{BASED, Container, engine, text};
use crate::harness::run::binary;
use crate::harness::{Recording, until};

/// Containers that run at the same time.
const N_AT_ONCE: usize = 4;

#[test]
fn the_exit_code_of_the_command_is_that_of_the_container() {
    let Some(engine) = engine() else { return };
    let recordings = engine.recordings();
    let volume = format!("--volume={}:/recordings", recordings.path().display());
    // All 256 in a soak; else those that mean something to a shell or an engine, and every eighth.
    let is_soak = std::env::var_os("STOCKADE_SOAK_ROUNDS").is_some();
    let with_a_meaning = [1, 2, 124, 125, 126, 127, 137, 143, 255];
    let chosen = |code: &u8| is_soak || code.is_multiple_of(8) || with_a_meaning.contains(code);
    let codes = Mutex::new((0..=255_u8).filter(chosen));
    let n_ended = AtomicUsize::new(0);
    let one = || {
        loop {
            let next = codes.lock().unwrap().next();
            let Some(code) = next else { break };
            let id = format!("--run-id=code-{code}");
            let script = format!("exit {code}");
            let flags = [
                "run",
                "--rm",
                "--network=none",
                "--env=STOCKADE_LINGER_SECONDS=0",
            ];
            let command = [&volume, BASED, &id, "--", "sh", "-c", &script];
            let ended = engine.docker(flags.into_iter().chain(command));
            assert_eq!(ended.status.code(), Some(code.into()), "{}", text(&ended));
            let recording = Recording::at(recordings.path().join(format!("code-{code}")));
            let status = recording.status();
            assert_eq!(status["outcome"]["exit_code"], code, "{status}");
            let expected = if code == 0 { "completed" } else { "failed" };
            assert_eq!(status["status"], expected);
            // Each has its record; of every sixteenth each byte is looked at.
            if code.is_multiple_of(16) {
                let verified = recording.verified();
                assert!(verified.status.success(), "{code}: {}", text(&verified));
            }
            n_ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..N_AT_ONCE {
            scope.spawn(one);
        }
    });
    assert_eq!(n_ended.into_inner(), if is_soak { 256 } else { 41 });
}

/// Kinds of containers in which a run is stopped.
const PLACES: [(&str, &[&str]); 4] = [
    ("plain", &[]),
    ("init", &["--init"]),
    (
        "closed",
        &[
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--tmpfs=/run/stockade:mode=1777",
            "--tmpfs=/tmp:mode=1777",
        ],
    ),
    ("root", &["--user=0:0"]),
];

#[test]
fn stops_and_kills_of_the_engine_end_as_they_should_and_leave_a_whole_record() {
    let Some(engine) = engine() else { return };
    let script =
        "trap 'echo asked; exit 0' TERM; (sleep 600 &) ; echo ready; while :; do sleep 0.1; done";
    let orders: [(&[&str], &str); 4] = [
        (&["stop", "--time=30"], "143"),
        (&["kill", "--signal=TERM"], "143"),
        (&["kill", "--signal=INT"], "130"),
        (&["kill", "--signal=QUIT"], "131"),
    ];
    for (place, flags) in PLACES {
        for (order, code) in orders {
            let name = format!("image-{place}-{code}-{}", order[0]);
            let flags: Vec<&str> = flags
                .iter()
                .copied()
                .chain(["--env=STOCKADE_LINGER_SECONDS=0"])
                .collect();
            let container = Container::start(&engine, &name, &flags, &["--", "sh", "-c", script]);
            container.until_output("ready");
            let asked = engine.docker(order.iter().copied().chain([name.as_str()]));
            assert!(asked.status.success(), "{name}: {}", text(&asked));
            assert_eq!(container.wait(), code, "{name}");
            let status = container.verified();
            assert_eq!(status["status"], "terminated", "{name}: {status}");
            assert_eq!(status["outcome"]["by"], "signal", "{name}");
            assert!(container.run().output().contains("asked"), "{name}");
        }
    }
}

#[test]
fn a_container_that_is_killed_leaves_a_record_that_finalize_ends() {
    let Some(engine) = engine() else { return };
    let container = Container::start(
        &engine,
        "image-killed",
        &[],
        &["--", "sh", "-c", "echo ready; sleep 600"],
    );
    container.until_output("ready");
    assert!(engine.docker(["kill", "image-killed"]).status.success());
    assert_eq!(container.wait(), "137");
    let finalized = Command::new(binary())
        .arg("finalize")
        .arg(container.run().path())
        .output()
        .unwrap();
    assert_eq!(finalized.status.code(), Some(0), "{}", text(&finalized));
    assert_eq!(container.verified()["error"]["code"], "LOST");
}

#[test]
fn memory_that_runs_out_is_told_whether_the_command_or_its_child_took_it() {
    let Some(engine) = engine() else { return };
    let hog = "head -c 300000000 /dev/zero | tail | wc -c";
    let kinds = [
        ("child", format!("sh -c '{hog}'; echo after: $?; exit 3")),
        ("main", "exec tail /dev/zero".to_owned()),
    ];
    for (kind, script) in kinds {
        let name = format!("image-oom-{kind}");
        let flags = [
            "--memory=96m",
            "--memory-swap=96m",
            "--env=STOCKADE_LINGER_SECONDS=0",
        ];
        let container = Container::start(&engine, &name, &flags, &["--", "sh", "-c", &script]);
        let code = container.wait();
        let status = container.verified();
        if kind == "main" {
            assert_eq!(
                (code.as_str(), &status["error"]["code"]),
                ("137", &"OOM_KILLED".into()),
                "{status}"
            );
            assert_eq!(status["outcome"]["oom"]["limit_bytes"], 96 << 20);
        } else {
            // The command itself decided how the run ended; what the kernel did is on record.
            assert_eq!(code, "3", "{status}");
            assert!(status["usage"]["oom_kills"].as_u64() >= Some(1), "{status}");
            let told = container.run().events_of("limit");
            assert!(
                told.iter().any(|event| event["rule"] == "limits.memory"),
                "{told:?}"
            );
        }
        let limits = status["isolation"]["limits"].as_array().unwrap();
        let memory = limits.iter().find(|limit| limit["limit"] == "memory");
        assert_eq!(memory.unwrap()["value"], 96 << 20, "{status}");
    }
}

#[test]
fn a_fork_bomb_below_the_pids_limit_of_the_container_leaves_the_supervisor_alive() {
    let Some(engine) = engine() else { return };
    let script = "echo ready; n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 600 & done 2>/dev/null; exit 5";
    let flags = ["--pids-limit=64", "--env=STOCKADE_LINGER_SECONDS=0"];
    let container = Container::start(&engine, "image-pids", &flags, &["--", "sh", "-c", script]);
    let code = container.wait();
    let status = container.verified();
    assert_eq!(status["status"], "failed", "{status}");
    assert_ne!(code, "0");
}

#[test]
fn a_named_volume_belongs_to_the_user_of_the_image() {
    let Some(engine) = engine() else { return };
    let run = |id: &str| {
        let id = format!("--run-id={id}");
        engine.docker([
            "run",
            "--rm",
            "--volume=named:/recordings",
            BASED,
            &id,
            "--",
            "id",
            "-u",
        ])
    };
    for id in ["first", "second"] {
        let output = run(id);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "65532");
    }
    let mountpoint = engine.docker(["volume", "inspect", "--format={{.Mountpoint}}", "named"]);
    let mountpoint = PathBuf::from(text(&mountpoint).trim());
    for id in ["first", "second"] {
        let recording = Recording::at(mountpoint.join(id));
        assert!(recording.verified().status.success());
        assert_eq!(recording.status()["status"], "completed");
    }
}

#[test]
fn no_zombie_is_left_in_a_container_while_its_run_goes_on() {
    let Some(engine) = engine() else { return };
    let script = "n=0; while [ $n -lt 50 ]; do n=$((n+1)); (sleep 0.01 &) ; done; sleep 0.2; echo orphaned; sleep 600";
    let container = Container::start(&engine, "image-zombies", &[], &["--", "sh", "-c", script]);
    container.until_output("orphaned");
    until("no zombie is left", || {
        let top = engine.docker(["top", "image-zombies", "-eo", "pid,stat,comm"]);
        assert!(top.status.success(), "{}", text(&top));
        let table = text(&top);
        assert!(table.contains("stockade"), "{table}");
        (!table.lines().any(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|stat| stat.starts_with('Z'))
        }))
        .then_some(())
    });
}
