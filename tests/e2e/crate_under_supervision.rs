//! A real crate is built and tested under supervision, and the recording is held against what the tools themselves say.
//!
//! The crate is a dependency of ours, so its source is in the cargo cache wherever this test can be compiled. Two tests are
//! added to its own, one that fails and one that is ignored: a comparison in which everything passes shows little.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stockade::log::Selection;

use crate::harness::{Recording, RunBuilder, need::skip, stream, tree::copy_tree};

/// The crate; without its optional and development dependencies it stands alone.
const CRATE: &str = "regex-syntax";

/// Fewest lines and actions that make it real input.
const MIN_LINES: usize = 5_000;
const MIN_ACTIONS: usize = 50;

/// Limit of the run; on two idle cores it takes about fifteen seconds.
const RUN_LIMIT: Duration = Duration::from_secs(85);

/// The tools say hundredths of a second, rounded or cut; the agent says milliseconds.
const ROUNDING: Duration = Duration::from_millis(10);

/// Most by which an action may be longer than its tool says: the start and the end of a process on a busy machine, and what
/// cargo does before it looks at its clock.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Added to the crate.
const PROBES: &str = r#"
#[cfg(test)]
mod added_by_stockade {
    #[test]
    fn fails() {
        panic!("as it must: \"quoted\" \\ {}", 1);
    }

    #[test]
    #[ignore = "it would fail"]
    fn is_ignored() {
        panic!();
    }
}
"#;

#[test]
fn a_crate_is_built_and_tested_as_the_tools_say() {
    let Some(source) = source_in_the_cargo_cache() else {
        return skip(&format!("the source of {CRATE} is not in the cargo cache"));
    };
    let Some(sysroot) = sysroot() else {
        return skip("rustc and cargo are not in one toolchain");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/fixtures/crate_agent.sh");
    let mut run = RunBuilder::new(["sh", "/agent.sh"])
        .flag("--adapter=jsonl")
        .flag("--max-steps=500")
        .flag(format!("--timeout={}", RUN_LIMIT.as_secs()))
        .flag(format!("--mount={}:/agent.sh", script.display()))
        .flag(format!(
            "--env=PATH={}/bin:/usr/local/bin:/usr/bin:/bin",
            sysroot.display()
        ));
    for variable in [
        "CARGO_NET_OFFLINE=true",
        "CARGO_TERM_COLOR=never",
        "CARGO_INCREMENTAL=0",
        "CARGO_PROFILE_DEV_DEBUG=0",
        "RUST_BACKTRACE=0",
    ] {
        run = run.flag(format!("--env={variable}"));
    }
    if !sysroot.starts_with("/usr") {
        run = run.flag(format!("--mount={}", sysroot.display()));
    }
    let n_lines = copy_crate(&source, &run.workspace());
    assert!(
        n_lines >= MIN_LINES,
        "{} has {n_lines} lines",
        source.display()
    );

    let run = run.start();
    let address = run.address();
    let follower = std::thread::spawn(move || stream(&address, "/events", &[]).events());
    let run = run.finish_within(RUN_LIMIT + Duration::from_secs(10));
    let seen_live = follower.join().unwrap();
    assert_eq!(run.code(), 0, "{}\n{}", run.stderr, run.stdout);
    run.recording.assert_whole();
    let status = run.recording.status();
    let actions = run.recording.events_of("action");
    assert!(actions.len() >= MIN_ACTIONS, "{} actions", actions.len());

    // Names and results: the same program, asked outside the sandbox.
    let tools = Tools::ask(&run.directory.path().join("workspace"));
    let recorded: BTreeMap<String, Option<bool>> = actions
        .iter()
        .filter(|action| action["tool"] == "test" && action["action"] != "list")
        .map(|action| (text(&action["action"]), action["success"].as_bool()))
        .collect();
    assert_eq!(recorded, tools.verdicts);
    assert_eq!(recorded["added_by_stockade::fails"], Some(false));
    assert_eq!(recorded["added_by_stockade::is_ignored"], None);
    assert_eq!(
        status["data"],
        serde_json::json!({"passed": tools.passed, "failed": 1, "ignored": 1})
    );
    assert_eq!(status["action_count"], actions.len());
    let failure = &actions
        .iter()
        .find(|action| action["action"] == "added_by_stockade::fails")
        .unwrap();
    assert!(
        text(&failure["result_text"]).contains(r#"as it must: "quoted" \ 1"#),
        "{failure}"
    );

    // Order and durations: actions came one after the other.
    let steps: Vec<u64> = actions
        .iter()
        .map(|a| a["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=actions.len() as u64).collect::<Vec<_>>());
    let took: u64 = actions
        .iter()
        .map(|action| action["duration_ms"].as_u64().unwrap())
        .sum();
    let whole = status["duration_ms"].as_u64().unwrap();
    assert!(took <= whole, "{took} ms of actions in a run of {whole} ms");
    assert_durations_as_reported(&run.recording, &actions, recorded.len());

    // What cargo wrote about warnings is too long for an event; the whole is an artifact.
    let test_build = actions
        .iter()
        .find(|a| a["action"] == "test-build")
        .unwrap();
    if let Some(artifact) = test_build["artifact"].as_str() {
        let kept = run.recording.path().join("artifacts").join(artifact);
        let whole = std::fs::read_to_string(kept).unwrap();
        assert!(whole.contains("Executable"), "{whole}");
    }

    // The sandbox is gone; the whole is read again, as it was seen live.
    let lines = run.recording.lines();
    let file = std::fs::read(run.recording.path().join("events.jsonl")).unwrap();
    assert_eq!(run.recording.replayed(Selection::NDJSON), file);
    let live: Vec<String> = seen_live
        .iter()
        .map(|frame| frame.data.clone().unwrap())
        .collect();
    assert_eq!(live, lines);
    let replayed = String::from_utf8(run.recording.replayed(Selection::SSE)).unwrap();
    let expected: String = seen_live
        .iter()
        .map(|frame| {
            let id = frame.id.as_deref().unwrap();
            let event = frame.event.as_ref();
            let event = event.map_or(String::new(), |event| format!("event: {event}\n"));
            let data = frame.data.as_deref().unwrap();
            format!("id: {id}\n{event}data: {data}\n\n")
        })
        .collect();
    assert_eq!(replayed, expected);
}

/// Asserts that no action took less than its tool says, nor much more: both builds and every test say so.
fn assert_durations_as_reported(recording: &Recording, actions: &[Value], n_tests: usize) {
    let mut n_compared = 0;
    for action in actions {
        let said = match action["artifact"].as_str() {
            Some(name) => {
                std::fs::read_to_string(recording.path().join("artifacts").join(name)).unwrap()
            }
            None => text(&action["result_text"]),
        };
        let Some(reported) = reported(&said) else {
            continue;
        };
        let took = Duration::from_millis(action["duration_ms"].as_u64().unwrap());
        assert!(took + ROUNDING >= reported, "{reported:?}: {action}");
        assert!(took <= reported + START_LIMIT, "{reported:?}: {action}");
        n_compared += 1;
    }
    assert_eq!(n_compared, n_tests + 2);
}

/// The time that a tool itself says: cargo's `Finished … in 1m 02s` or `… in 3.21s`, and `finished in 0.00s` of a test.
fn reported(said: &str) -> Option<Duration> {
    let is_report = |line: &&str| {
        line.trim_start().starts_with("Finished `") || line.starts_with("test result: ")
    };
    let (_, time) = said.lines().find(is_report)?.rsplit_once(" in ")?;
    let (minutes, seconds) = time.split_once("m ").unwrap_or(("0", time));
    let seconds: f64 = seconds.strip_suffix('s')?.parse().ok()?;
    let minutes: f64 = minutes.parse().ok()?;
    Some(Duration::from_secs_f64(minutes * 60.0 + seconds))
}

/// What the test program says of itself when nobody supervises it.
struct Tools {
    verdicts: BTreeMap<String, Option<bool>>,
    passed: u64,
}

impl Tools {
    fn ask(workspace: &Path) -> Self {
        let program = std::fs::read_dir(workspace.join("target/debug/deps"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.starts_with("regex_syntax-") && path.extension().is_none()
            })
            .unwrap();
        let output = Command::new(&program).env_clear().output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let verdicts: BTreeMap<String, Option<bool>> = said
            .lines()
            .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
            .map(|(name, verdict)| {
                let success = match verdict.split(',').next() {
                    Some("ok") => Some(true),
                    Some("FAILED") => Some(false),
                    Some("ignored") => None,
                    other => panic!("unknown verdict {other:?} of {name}"),
                };
                (name.to_owned(), success)
            })
            .collect();
        let passed = verdicts.values().filter(|v| **v == Some(true)).count() as u64;
        let result = format!("test result: FAILED. {passed} passed; 1 failed; 1 ignored;");
        assert!(said.contains(&result), "{result} is not in:\n{said}");

        let list = Command::new(&program).arg("--list").output().unwrap();
        let n_listed = String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|line| line.ends_with(": test"))
            .count();
        assert_eq!(verdicts.len(), n_listed);
        Self { verdicts, passed }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The unpacked source of [`CRATE`], in the version of our lock file.
fn source_in_the_cargo_cache() -> Option<PathBuf> {
    let lock = include_str!("../../Cargo.lock");
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains(&format!("name = \"{CRATE}\"\n")))?
        .lines()
        .find_map(|line| line.strip_prefix("version = "))?
        .trim_matches('"');
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))?;
    std::fs::read_dir(home.join("registry/src"))
        .ok()?
        .map(|registry| registry.unwrap().path().join(format!("{CRATE}-{version}")))
        .find(|source| source.join("src/lib.rs").is_file())
}

/// Where the toolchain is, without any proxy in front of it.
fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    sysroot.join("bin/cargo").is_file().then_some(sysroot)
}

/// Copies the sources with a manifest that needs nothing else; gives the number of lines.
fn copy_crate(source: &Path, target: &Path) -> usize {
    let n_lines = copy_tree(&source.join("src"), &target.join("src"));
    let library = target.join("src/lib.rs");
    let text = std::fs::read_to_string(&library).unwrap();
    std::fs::write(&library, text + PROBES).unwrap();
    let manifest = std::fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let edition = manifest["package"]["edition"].as_str().unwrap();
    let version = manifest["package"]["version"].as_str().unwrap();
    let features: String = manifest["features"]
        .as_table()
        .unwrap()
        .iter()
        // A list of plain texts is the same in JSON and in TOML.
        .map(|(name, enables)| (name, serde_json::to_string(enables).unwrap()))
        .filter(|(_, enables)| !enables.contains("dep:"))
        .map(|(name, enables)| format!("{name} = {enables}\n"))
        .collect();
    let ours = format!(
        "[package]\nname = \"{CRATE}\"\nversion = \"{version}\"\nedition = \"{edition}\"\n\n\
         [features]\n{features}\n[workspace]\n"
    );
    std::fs::write(target.join("Cargo.toml"), ours).unwrap();
    n_lines
}
