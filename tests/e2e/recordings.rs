//! Recordings after the run: retention, pins, and the commands that read them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::run::binary;
use crate::harness::{Recording, RunBuilder, until};

/// Runs a command of the binary.
pub fn stockade<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A finished run in `recordings`.
fn add(recordings: &Path, id: &str) {
    let run = RunBuilder::sh("echo kept")
        .with_recordings(recordings)
        .flag(format!("--run-id={id}"));
    assert_eq!(run.finish().code(), 0);
}

fn prune(recordings: &Path, flags: &[&str]) -> Output {
    let recordings = recordings.to_str().unwrap();
    let mut arguments = vec!["prune", "--recordings", recordings];
    arguments.extend(flags);
    stockade(arguments)
}

#[test]
fn a_dry_run_says_why_and_a_pin_keeps_what_the_limits_would_remove() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["first", "second", "third"] {
        add(&recordings, id);
    }
    let pinned = stockade(["pin", "first", "--recordings", recordings.to_str().unwrap()]);
    assert!(pinned.status.success(), "{}", text(&pinned));
    let dry = prune(&recordings, &["--keep-runs=1", "--dry-run"]);
    let said = text(&dry);
    assert!(
        said.contains("would remove second: beyond the number of runs"),
        "{said}"
    );
    assert!(said.contains("would keep first: pinned"), "{said}");
    assert!(said.contains("would keep third: the newest run"), "{said}");
    assert!(recordings.join("second").exists());
    let done = prune(&recordings, &["--keep-runs=1", "--json"]);
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["removed"], serde_json::json!(["second"]));
    assert!(!recordings.join("second").exists());
    assert!(recordings.join("first/status.json").exists());
    let unpinned = stockade([
        "pin",
        "--unpin",
        "first",
        "--recordings",
        recordings.to_str().unwrap(),
    ]);
    assert!(unpinned.status.success(), "{}", text(&unpinned));
    prune(&recordings, &["--keep-runs=1"]);
    assert!(!recordings.join("first").exists());
    let absent = stockade(["pin", "first", "--recordings", recordings.to_str().unwrap()]);
    assert_eq!(absent.status.code(), Some(125));
    assert!(text(&absent).contains("no run first"), "{}", text(&absent));
}

#[test]
fn a_run_prunes_earlier_recordings_while_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["first", "second", "third"] {
        add(&recordings, id);
    }
    // What a pruning that was cut short left.
    let rest = recordings.join(".stockade/trash-0123456789abcdef/artifacts");
    std::fs::create_dir_all(&rest).unwrap();
    let run = RunBuilder::sh("exit 0")
        .with_recordings(&recordings)
        .flag("--keep-runs=2")
        .flag("--run-id=run")
        .flag("--progress=log");
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let mut left: Vec<_> = std::fs::read_dir(&recordings)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "latest")
        .collect();
    left.sort();
    assert_eq!(left, ["run", "third"], "{}", run.stderr);
    assert!(!rest.exists());
    assert!(run.stderr.contains("pruned"), "{}", run.stderr);
}

#[test]
fn a_limit_of_retention_that_is_none_is_refused_by_its_name() {
    for flag in ["--keep-runs=0", "--keep-days=x", "--keep-bytes=1G"] {
        let run = RunBuilder::sh("exit 0").flag(flag).finish();
        assert_eq!(run.code(), 2, "{flag}: {}", run.stderr);
        let name = flag.split('=').next().unwrap().trim_start_matches("--");
        assert!(run.stderr.contains(name), "{flag}: {}", run.stderr);
    }
}

/// Three reported steps, the last of which fails, then output that a terminal would obey.
const STEPS: &str = r#"
    step() { echo "{\"tool\":\"make\",\"action\":\"$1\",\"success\":$2,\"duration_ms\":$3,\"result_text\":\"$4\"}" >&3; }
    step "${FIRST:-fetch}" true 10 fetched
    step build true 4000 built
    step test false 300 "1 failed"
    printf '\033[2J\033]0;title\007\033[31mlast words\033[0m\n'
    echo "${KEPT:-kept}" > "$STOCKADE_OUTPUT_DIR/report.md"
    exit "${CODE:-3}"
"#;

fn show(recording: &Path, flags: &[&str]) -> Output {
    let mut arguments = vec!["show", recording.to_str().unwrap()];
    arguments.extend(flags);
    stockade(arguments)
}

#[test]
fn one_screen_says_what_happened_and_nothing_that_a_terminal_obeys() {
    let run = RunBuilder::sh(STEPS).finish();
    assert_eq!(run.code(), 3, "{}", run.stderr);
    let shown = show(run.recording.path(), &[]);
    assert!(shown.status.success(), "{}", text(&shown));
    let screen = String::from_utf8(shown.stdout).unwrap();
    assert!(screen.lines().count() <= 24, "{screen}");
    assert!(
        screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    assert!(
        !screen.replace('\n', "").contains(char::is_control),
        "{screen:?}"
    );
    for part in [
        "failed, exit 3",
        "COMMAND_FAILED",
        "4, 2 ok, 2 failed",
        "4.0 s #3 make build",
        "last words",
        "report.md",
        "1 artifact",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let json = show(run.recording.path(), &["--json"]);
    let account: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(account["life"], "ended");
    assert_eq!(account["exit_status"], 3);
    assert_eq!(account["output_tail"], serde_json::json!(["last words"]));
}

#[test]
fn what_ran_beside_the_agent_is_shown() {
    let description = "services:\n- {name: flaky, command: [sh, -c, 'echo x >> n; [ $(wc -l < n) -gt 1 ] || exit 3; : > up; exec sleep 600'], ready: {file: up}, restart: on-failure}\n\
                       hooks.post_run: [sh, -c, 'exit 9']\n";
    let run = RunBuilder::sh("true");
    let file = run.workspace().parent().unwrap().join("run.yaml");
    std::fs::write(&file, description).unwrap();
    let run = run.flag("--config").flag(file).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let shown = show(run.recording.path(), &[]);
    let screen = String::from_utf8(shown.stdout).unwrap();
    for part in [
        "flaky stopped, 1 restart",
        "post_run failed",
        "exited with code 9",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let json = show(run.recording.path(), &["--json"]);
    let account: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(account["services"][0]["restarts"], 1, "{account}");
    assert_eq!(account["hooks"][0]["exit_code"], 9, "{account}");
}

#[test]
fn a_run_that_goes_on_and_one_that_was_cut_off_are_shown_as_what_they_are() {
    let run = RunBuilder::sh("echo begun; sleep 1000").start();
    run.until_stdout("begun");
    run.until_running();
    let path = run.recording().path().to_owned();
    let shown = text(&show(&path, &[]));
    assert!(
        shown.contains("running") && shown.contains("begun"),
        "{shown}"
    );
    // Nobody is left to write an end, and the last line is torn.
    run.signal(nix::sys::signal::Signal::SIGKILL);
    let _run = run.finish();
    let log = path.join("events.jsonl");
    let mut content = std::fs::read(&log).unwrap();
    content.truncate(content.len() - 3);
    std::fs::write(&log, content).unwrap();
    let shown = until("nobody holds the lock any more", || {
        let shown = text(&show(&path, &[]));
        shown.contains("cut off while running").then_some(shown)
    });
    assert!(shown.contains("torn byte"), "{shown}");
    assert!(shown.contains("stockade finalize"), "{shown}");
}

#[test]
fn a_log_of_many_events_is_shown_in_bounded_memory() {
    let run = RunBuilder::sh("head -c 40000000 /dev/zero | tr '\\0' x | fold -w 99; echo the end")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    // 32 MB of address space beyond what the program itself needs would not hold the log.
    let shown = Command::new("sh")
        .args(["-c", "ulimit -v 400000; exec \"$0\" show \"$1\""])
        .arg(binary())
        .arg(run.recording.path())
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", text(&shown));
    assert!(text(&shown).contains("the end"), "{}", text(&shown));
}

#[test]
fn two_runs_of_a_playbook_are_the_same_whatever_time_they_took() {
    let recordings = tempfile::tempdir().unwrap();
    let book =
        |text: &str| format!("version: 1\nname: test\nsteps:\n  - {{id: one, run: {text}}}\n");
    let books = [book("sleep 0.1"), book("sleep 0.1"), book("sleep 0.2")];
    for (id, book) in ["a", "b", "c"].into_iter().zip(&books) {
        let run = RunBuilder::playbook(book)
            .with_recordings(recordings.path())
            .flag(format!("--run-id={id}"))
            .finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
    }
    // Their times differ in nearly every round, and may be the same to the millisecond.
    let place = recordings.path().to_str().unwrap();
    let diff = |second: &str| stockade(["diff", "a", second, "--recordings", place]);
    assert_eq!(diff("b").status.code(), Some(0), "{}", text(&diff("b")));
    assert_eq!(diff("c").status.code(), Some(1), "{}", text(&diff("c")));
}

#[test]
fn a_draft_of_a_run_does_again_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    let run = |id: &str, run: RunBuilder| {
        let run = run
            .with_recordings(&recordings)
            .flag(format!("--run-id={id}"))
            .finish();
        assert_eq!(run.code(), 0, "{}", run.stderr);
        run
    };
    let draft = |id: &str| stockade(["draft", id, "--recordings", recordings.to_str().unwrap()]);
    // A command with all that a shell and YAML have a meaning for.
    let script = "printf '%s|' \"a: b\" '- c' \"it's #1\" | tee out";
    run("first", RunBuilder::sh(script));
    let first = draft("first");
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    run("again", RunBuilder::playbook(&text(&first)));
    let action = &Recording::at(recordings.join("again")).events_of("action")[0];
    assert_eq!(action["result_text"], "a: b|- c|it's #1|");
    let refused = draft("again");
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("playbook.yaml: that file is what does the same again"),
        "{said}"
    );
    // An agent that did nothing that can be repeated.
    let report =
        r#"echo '{"type":"action","tool":"t","kind":"edit","input_summary":"x","success":true}'"#;
    run("nothing", RunBuilder::sh(report).flag("--adapter=jsonl"));
    let nothing = draft("nothing");
    assert_eq!(nothing.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing that run nothing did"));
}

#[test]
fn two_runs_are_compared_step_by_step() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    let changed = ["--env=FIRST=clean", "--env=CODE=0", "--env=KEPT=other"];
    for (id, flags, code) in [("a", &[][..], 3), ("b", &[], 3), ("c", &changed, 0)] {
        let run = RunBuilder::sh(STEPS)
            .with_recordings(&recordings)
            .flag(format!("--run-id={id}"));
        let run = flags.iter().fold(run, |run, flag| run.flag(*flag)).finish();
        assert_eq!(run.code(), code, "{}", run.stderr);
    }
    let diff = |first: &str, second: &str, flags: &[&str]| {
        let mut arguments = vec!["diff", first, second, "--recordings"];
        arguments.push(recordings.to_str().unwrap());
        arguments.extend(flags);
        stockade(arguments)
    };
    let same = diff("a", "b", &[]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    assert!(text(&same).contains("same: "), "{}", text(&same));
    let different = diff("a", "c", &[]);
    assert_eq!(different.status.code(), Some(1));
    let said = text(&different);
    for part in [
        "- #2 make fetch",
        "+ #2 make clean",
        "exit 3 -> exit 0",
        "~ artifact report.md",
        "failed (COMMAND_FAILED), exit 3",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let json = diff("a", "latest", &["--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["comparison"]["same"], false);
    assert_eq!(json["second"]["run_id"], "c");
    assert_eq!(diff("a", "nobody", &[]).status.code(), Some(125));
}

#[test]
fn a_recording_is_verified_and_finalized_by_its_id_as_well() {
    let run = RunBuilder::sh("true").finish();
    let store = run.recording.path().parent().unwrap().to_str().unwrap();
    for command in ["verify", "finalize"] {
        for named in ["run", "latest"] {
            let output = stockade([command, named, "--recordings", store]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        let output = stockade([command, "nobody", "--recordings", store]);
        assert_eq!(output.status.code(), Some(125));
    }
}

fn verify(recording: &Path) -> Output {
    stockade(["verify", recording.to_str().unwrap(), "--json"])
}

#[test]
fn the_manifest_has_every_final_file_and_one_changed_byte_is_found() {
    let run = RunBuilder::sh("echo kept > \"$STOCKADE_OUTPUT_DIR/report.md\"").finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let path = run.recording.path();
    let manifest = std::fs::read(path.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let listed: Vec<_> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    for file in ["claim.json", "events.jsonl", "spec.json"] {
        assert!(listed.contains(&file), "{listed:?}");
    }
    for entry in manifest["files"].as_array().unwrap() {
        let name = entry["path"].as_str().unwrap();
        let content = std::fs::read(path.join(name)).unwrap();
        assert_eq!(entry["size"], content.len(), "{name}");
    }
    let sound = verify(path);
    assert!(sound.status.success(), "{}", text(&sound));
    let report: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!(report["n_files"], listed.len() + 1);
    for name in ["artifacts/report.md", "spec.json"] {
        let before = std::fs::read(path.join(name)).unwrap();
        let mut changed = before.clone();
        changed[0] ^= 1;
        std::fs::write(path.join(name), &changed).unwrap();
        let found = verify(path);
        assert_eq!(found.status.code(), Some(1), "{name}: {}", text(&found));
        assert!(text(&found).contains(name), "{name}: {}", text(&found));
        std::fs::write(path.join(name), &before).unwrap();
    }
    assert!(verify(path).status.success());
}

#[test]
fn finalize_writes_the_manifest_of_a_run_whose_supervisor_was_killed() {
    let run = RunBuilder::sh("echo begun; sleep 1000").start();
    run.until_stdout("begun");
    crate::harness::run::kill(run.supervisor_pid(), nix::sys::signal::Signal::SIGKILL);
    let run = run.finish();
    assert_eq!(run.code(), 125, "{}", run.stderr);
    let manifest = std::fs::read(run.recording.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert!(
        manifest["files"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["path"] == "events.jsonl"),
        "{manifest}"
    );
    run.recording.assert_whole();
}

#[test]
fn a_recordings_directory_that_is_not_there_is_named_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("typing-error");
    for flags in [&["--keep-days=1"][..], &["--keep-days=1", "--dry-run"]] {
        let said = prune(&recordings, flags);
        assert_eq!(said.status.code(), Some(0));
        assert!(text(&said).contains("typing-error"), "{}", text(&said));
        assert!(!recordings.exists());
    }
}

#[test]
fn prunings_at_once_tell_what_others_removed_from_what_stays() {
    const N_RUNS: usize = 12;
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for number in 0..N_RUNS {
        let run = recordings.join(format!("r{number:02}"));
        std::fs::create_dir_all(&run).unwrap();
        let opening = "{\"type\":\"log.opened\"}\n";
        std::fs::write(run.join("events.jsonl"), opening).unwrap();
        std::fs::write(run.join("status.json"), r#"{"status":"completed"}"#).unwrap();
    }
    // As in every store of runs: without the link each pruning takes the run that changed last for the newest, and a lock that
    // another one takes is a change.
    std::os::unix::fs::symlink("r11", recordings.join("latest")).unwrap();
    let reports = std::thread::scope(|scope| {
        let prune = || prune(&recordings, &["--keep-runs=1", "--json"]);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(prune)).collect();
        let outputs = threads.into_iter().map(|thread| thread.join().unwrap());
        outputs
            .map(|output| serde_json::from_slice::<Value>(&output.stdout).unwrap())
            .collect::<Vec<_>>()
    });
    let count = |report: &Value, key: &str| report[key].as_array().unwrap().len();
    let mut n_removed = 0;
    for report in &reports {
        assert_eq!(count(report, "failed"), 0, "{report}");
        assert_eq!(count(report, "unreadable"), 0, "{report}");
        assert_eq!(
            count(report, "removed") + count(report, "skipped") + count(report, "gone"),
            count(report, "remove"),
            "{report}"
        );
        n_removed += count(report, "removed");
    }
    assert_eq!(n_removed, N_RUNS - 1);
}

#[test]
fn a_run_that_cannot_be_read_is_told_and_the_others_go() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    for id in ["first", "second", "third"] {
        add(&recordings, id);
    }
    let lock = recordings.join("second/run.lock");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &lock).unwrap();
    let done = prune(&recordings, &["--keep-runs=1"]);
    assert_eq!(done.status.code(), Some(125));
    let said = text(&done);
    assert!(said.contains("removed first"), "{said}");
    assert!(said.contains("second stays: "), "{said}");
    assert!(said.contains("1 run removed"), "{said}");
    assert!(said.contains("2 runs kept"), "{said}");
    assert!(!recordings.join("first").exists() && recordings.join("second").exists());
    // A run that prunes while it goes on does the same.
    let run = RunBuilder::sh("true")
        .with_recordings(&recordings)
        .flag("--keep-runs=1")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(run.stderr.contains("cannot be read"), "{}", run.stderr);
    assert!(!recordings.join("third").exists());
}
