//! The agent's own channel: it is told of a stop before any signal.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::run::Finished;
use crate::harness::{Run, RunBuilder};

fn started(builder: RunBuilder) -> Run {
    let run = builder.start();
    run.until_stdout("ready");
    run
}

/// The rungs of a stop, in their order.
fn rungs(run: &Finished) -> Vec<String> {
    let steps = run.recording.events_of("stop.step");
    let rung = |step: &Value| step["rung"].as_str().unwrap().to_owned();
    steps.iter().map(rung).collect()
}

#[test]
fn an_agent_with_a_channel_is_told_of_the_stop_and_ends_by_itself() {
    let script = r#"trap 'echo signalled' TERM; echo ready; read -r line <&"$STOCKADE_CONTROL_FD"; echo "told: $line"; echo '{"type":"action","tool":"t","action":"last words"}' >&3"#;
    for isolation in ["full", "none"] {
        let run = RunBuilder::sh(script)
            .flag("--isolation")
            .flag(isolation)
            .env("STOCKADE_STOP_MESSAGE_SECONDS", "3");
        let run = started(run);
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        assert!(
            run.stdout.contains(r#"told: {"type":"stop","left_ms":"#),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("signalled"), "{}", run.stdout);
        assert_eq!(rungs(&run)[0], "channel");
        let actions = run.recording.events_of("action");
        assert!(
            actions
                .iter()
                .any(|action| action["action"] == "last words"),
            "{actions:?}"
        );
        assert_eq!(run.recording.status()["status"], "terminated");
        run.recording.assert_whole();
    }
}

#[test]
fn who_does_not_listen_on_its_channel_or_has_none_is_signalled() {
    let deaf = "trap 'echo signalled; exit 0' TERM; echo fd ${STOCKADE_CONTROL_FD-none}; echo ready; while :; do sleep 0.05; done";
    let closed = format!("exec 4<&-; {deaf}");
    for (script, seconds, expected) in [
        (deaf, "1", &["channel", "signal"][..]),
        (closed.as_str(), "3", &["signal"]),
        (deaf, "0", &["signal"]),
    ] {
        let run = started(RunBuilder::sh(script).env("STOCKADE_STOP_MESSAGE_SECONDS", seconds));
        run.signal(Signal::SIGTERM);
        let run = run.finish();
        assert_eq!(run.code(), 143, "{}", run.stderr);
        assert!(run.stdout.contains("signalled"), "{}", run.stdout);
        assert_eq!(rungs(&run)[..expected.len()], *expected, "{script}");
        let fd = if seconds == "0" { "fd none" } else { "fd 4" };
        assert!(run.stdout.contains(fd), "{}", run.stdout);
    }
}
