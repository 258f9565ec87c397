//! Stops as people type them, signals that are none, and inits of others above the run.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Container, engine, text};
use crate::harness::need::skip;
use crate::harness::until;

/// After this an engine kills what it was asked to stop, when nobody said otherwise.
const ENGINE_PATIENCE: Duration = Duration::from_secs(10);

const NO_LINGER: &str = "--env=STOCKADE_LINGER_SECONDS=0";

#[test]
fn a_stop_as_it_is_typed_ends_an_agent_that_hears_nothing_before_the_engine_kills() {
    let Some(engine) = engine() else { return };
    let script =
        "trap '' TERM INT HUP; (setsid sleep 600 &); echo ready; while :; do sleep 0.1; done";
    // Grace and linger are those of the image.
    let container = Container::start(&engine, "image-deaf", &[], &["--", "sh", "-c", script]);
    container.until_output("ready");
    let began_at = Instant::now();
    let asked = engine.docker(["stop", "image-deaf"]);
    let took = began_at.elapsed();
    assert!(asked.status.success(), "{}", text(&asked));
    // The engine's kill would be 137, and leave a record without an end.
    assert_eq!(container.wait(), "143", "after {took:?}");
    assert!(took < ENGINE_PATIENCE, "{took:?}");
    let status = container.verified();
    assert_eq!(status["error"]["code"], "RUN_TERMINATED", "{status}");
    assert!(
        status["survivors"]["killed"].as_u64() >= Some(1),
        "{status}"
    );
}

#[test]
fn signals_that_are_no_stop_are_none_in_a_container_and_a_hangup_is_one() {
    let Some(engine) = engine() else { return };
    let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let container = Container::start(
        &engine,
        "image-signals",
        &[NO_LINGER],
        &["--", "sh", "-c", script],
    );
    container.until_output("ready");
    let signal = |name: &str| {
        let asked = engine.docker(["kill", "--signal", name, "image-signals"]);
        assert!(asked.status.success(), "{name}: {}", text(&asked));
    };
    for name in ["USR2", "WINCH", "RTMIN+3", "CONT"] {
        signal(name);
    }
    // The kernel lets nobody stop the first process of a pid namespace from inside; from outside it does.
    signal("STOP");
    signal("CONT");
    signal("USR1");
    until("the supervisor has told how the run goes", || {
        let said = text(&engine.docker(["logs", "image-signals"]));
        said.contains("last_event").then_some(())
    });
    assert_eq!(container.run().status()["phase"], "running");
    assert!(!container.run().output().contains("asked"));
    signal("HUP");
    assert_eq!(container.wait(), "129");
    let status = container.verified();
    assert_eq!(status["error"]["code"], "RUN_TERMINATED", "{status}");
    assert_eq!(status["outcome"]["stop_signal"], 1, "{status}");
}

#[test]
fn a_run_below_the_init_of_somebody_else_stops_and_reports_as_without() {
    let Some(engine) = engine() else { return };
    let script = "trap 'echo asked; exit 0' TERM; (setsid sleep 600 &); echo ready; \
                  while :; do sleep 0.1; done";
    for init in ["tini-static", "catatonit"] {
        let path = format!("/usr/bin/{init}");
        if !Path::new(&path).exists() {
            skip(&format!("{init} is not installed"));
            continue;
        }
        let shown = format!("--volume={path}:/init:ro");
        let flags = [shown.as_str(), "--entrypoint=/init", NO_LINGER];
        let above = ["--", "/usr/local/bin/stockade", "run"];
        let start = |name: &str, script: &str| {
            let name = format!("image-{init}-{name}");
            Container::start_below(&engine, &name, &flags, &above, &["--", "sh", "-c", script])
        };

        let ended = start("code", "exit 7");
        assert_eq!(ended.wait(), "7", "{init}");
        assert_eq!(ended.verified()["outcome"]["exit_code"], 7, "{init}");

        let stopped = start("stop", script);
        stopped.until_output("ready");
        let asked = engine.docker(["stop", "--time=30", &stopped.name]);
        assert!(asked.status.success(), "{init}: {}", text(&asked));
        assert_eq!(stopped.wait(), "143", "{init}");
        let status = stopped.verified();
        assert_eq!(
            status["error"]["code"], "RUN_TERMINATED",
            "{init}: {status}"
        );
        assert!(stopped.run().output().contains("asked"), "{init}");
    }
}
