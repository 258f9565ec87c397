//! The playbooks in `examples`: each does its job on a real tree, as the documentation shows it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::need::{need, skip};
use crate::harness::run::{Finished, binary};
use crate::harness::tree::{copy_tree, snapshot};
use crate::harness::{Recording, RunBuilder, until};

/// Longest time of the quick start, of which the README says that it takes less than a minute.
const QUICK_START_LIMIT: Duration = Duration::from_secs(60);

/// Longest time for building and testing a crate on a busy machine.
const CRATE_LIMIT: Duration = Duration::from_secs(180);

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A run of an example in an empty workspace.
fn example(name: &str) -> RunBuilder {
    RunBuilder::new::<String>([])
        .flag("--playbook")
        .flag(checkout().join("examples").join(name))
}

/// What became of each step.
fn states(run: &Finished) -> Value {
    let status = run.recording.status();
    let steps = status["data"]["steps"].as_object().unwrap().clone();
    steps
        .into_iter()
        .map(|(id, step)| (id, step["status"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn the_first_command_of_the_readme_runs_in_this_checkout_and_changes_nothing() {
    assert_quick_start(checkout(), &[]);
}

#[test]
fn the_first_command_of_the_readme_runs_in_another_directory_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    let n_lines = copy_tree(&checkout().join("sandbox/src"), &tree);
    assert!(n_lines > 1_000, "{n_lines}");
    assert_quick_start(&tree, &[OsStr::new("--workspace"), tree.as_os_str()]);
}

/// Runs the quick start from this checkout, on `tree`.
fn assert_quick_start(tree: &Path, flags: &[&OsStr]) {
    let home = tempfile::tempdir().unwrap();
    let before = snapshot(tree);
    let n_entries = std::fs::read_dir(tree).unwrap().count();
    let began = Instant::now();
    let output: Output = Command::new(binary())
        .args(["run", "--playbook", "examples/quickstart.yaml"])
        .args(flags)
        .current_dir(checkout())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(snapshot(tree), before, "the tree was changed");
    assert!(took < QUICK_START_LIMIT, "{took:?}");
    let recording = Recording::at(home.path().join(".local/state/stockade/runs/latest"));
    recording.assert_whole();
    let actions = recording.events_of("action");
    let row = |action: &Value| json!([action["action"], action["success"], action["exit_code"]]);
    let rows: Vec<_> = actions.iter().map(row).collect();
    assert_eq!(
        rows,
        [
            json!(["greet", true, 0]),
            json!(["look_around", true, 0]),
            json!(["count", true, 0]),
            json!(["write_into_the_system", true, 1]),
            json!(["unsteady", false, 1]),
            json!(["unsteady", true, 0]),
            json!(["wait_for_a_file", true, 0]),
            json!(["report", true, 0]),
            json!(["tidy_up", true, 0]),
        ]
    );
    assert_eq!(recording.events_of("retry").len(), 1);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains(" Network interfaces: lo.\n"), "{report}");
    assert!(
        report.contains(&format!("The workspace has {n_entries} entries")),
        "{report}"
    );
    assert_eq!(recording.status()["isolation"]["enforced"], "full");
}

#[test]
fn the_audit_finds_what_is_wrong_in_a_tree_and_leaves_it_alone() {
    let run = example("audit.yaml").flag("--workspace-mode=read-only");
    let tree = run.workspace();
    let run = run.flag("--workspace").flag(&tree);
    std::fs::create_dir(tree.join("sub dir")).unwrap();
    std::fs::write(tree.join("one"), "same").unwrap();
    std::fs::write(tree.join("sub dir/two\nlines"), "same").unwrap();
    let key = format!("-----BEGIN {} KEY-----\n", "RSA PRIVATE");
    std::fs::write(tree.join("key.pem"), key).unwrap();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let expected = json!({
        "inventory": "succeeded", "checksums": "succeeded", "duplicates": "failed",
        "large_files": "succeeded", "permissions": "succeeded", "private_keys": "failed",
        "verdict": "skipped", "tidy_up": "succeeded",
    });
    assert_eq!(states(&run), expected);
    let steps = &run.recording.status()["data"]["steps"];
    assert_eq!(steps["inventory"]["outputs"]["files"], "3");
    let error = steps["private_keys"]["error"].as_str().unwrap();
    assert!(error.contains("key.pem"), "{error}");

    // A tree of this checkout, in which there is nothing to be found.
    let sources = checkout().join("sandbox/src");
    let run = example("audit.yaml")
        .flag("--workspace-mode=read-only")
        .flag("--workspace")
        .flag(&sources)
        .flag("--param=strict=true")
        .finish();
    assert_eq!(run.code(), 0, "{}\n{}", run.stderr, states(&run));
    let status = run.recording.status();
    let files = status["data"]["steps"]["inventory"]["outputs"]["files"].clone();
    assert!(
        files.as_str().unwrap().parse::<u32>().unwrap() > 20,
        "{files}"
    );
}

#[test]
fn a_crate_is_built_and_tested_from_the_cargo_cache() {
    let Some((sysroot, crates)) = toolchain() else {
        return skip("the toolchain or the cargo cache is not where cargo puts it");
    };
    let run = example("crate.yaml")
        .flag(format!("--mount={}", sysroot.display()))
        .flag(format!("--mount={}:/crates", crates.display()))
        .flag(format!(
            "--env=PATH={}/bin:/usr/local/bin:/usr/bin:/bin",
            sysroot.display()
        ))
        .flag(format!("--timeout={}", CRATE_LIMIT.as_secs()))
        .flag("--param=min_tests=10")
        .start()
        .finish_within(CRATE_LIMIT + Duration::from_secs(20));
    assert_eq!(run.code(), 0, "{}\n{}", run.stderr, run.stdout);
    let steps = &run.recording.status()["data"]["steps"];
    let passed = steps["test"]["outputs"]["passed"].as_str().unwrap();
    assert!(passed.parse::<u32>().unwrap() >= 10, "{steps}");
    assert_eq!(steps["enough_tests"]["status"], "skipped");
}

/// The toolchain without any proxy in front of it, and the unpacked crates.
fn toolchain() -> Option<(PathBuf, PathBuf)> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))?;
    let crates = home.join("registry/src");
    (sysroot.join("bin/cargo").is_file() && crates.is_dir() && !sysroot.starts_with("/usr"))
        .then_some((sysroot, crates))
}

#[test]
fn a_flaky_job_succeeds_at_last_or_gives_up() {
    if need("python3").is_none() {
        return;
    }
    let on_tree = || {
        let run = example("flaky.yaml");
        let (_, n_files) = tree_of_sources(&run);
        (run, n_files)
    };
    let (run, n_files) = on_tree();
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}\n{}", run.stderr, run.stdout);
    let steps = &run.recording.status()["data"]["steps"];
    assert_eq!(steps["serve"]["attempts"], 1);
    assert_eq!(steps["fetch"]["attempts"], 3);
    assert_eq!(steps["sums"]["status"], "failed");
    assert_eq!(steps["compare"]["outputs"]["files"], n_files.to_string());
    let survivors = &run.recording.status()["survivors"];
    assert_eq!(survivors["killed"], 1, "the server ended with the run");

    let (run, _) = on_tree();
    let run = run.flag("--param=failures=20").finish();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["data"]["steps"]["fetch"]["attempts"], 6);
    assert_eq!(status["data"]["steps"]["log"]["status"], "succeeded");
}

/// Puts the event sources of this project into the workspace; gives their directory and how many files they are.
fn tree_of_sources(run: &RunBuilder) -> (PathBuf, usize) {
    let tree = run.workspace().join("event");
    copy_tree(&checkout().join("src/event"), &tree);
    let n_files = std::fs::read_dir(&tree).unwrap().count();
    assert!(n_files >= 6, "{n_files}");
    (tree, n_files)
}

#[test]
fn a_job_that_was_stopped_goes_on_where_it_was() {
    let stopped = example("resume.yaml").flag("--param=pause=1");
    let (_, n_files) = tree_of_sources(&stopped);
    let done = stopped.workspace().join("inventory/done");
    let stopped = stopped.start();
    until("two files are hashed", || {
        let done = std::fs::read_to_string(&done).unwrap_or_default();
        (done.lines().count() >= 2).then_some(())
    });
    stopped.signal(Signal::SIGTERM);
    let stopped = stopped.finish();
    assert_eq!(stopped.code(), 143, "{}", stopped.stderr);
    let workspace = stopped.directory.path().join("workspace");
    let done = std::fs::read_to_string(workspace.join("inventory/done")).unwrap();
    let n_done = done.lines().count();
    assert!((2..n_files).contains(&n_done), "{done}");

    let resumed = example("resume.yaml")
        .flag("--workspace")
        .flag(&workspace)
        .flag("--from-step=hash")
        .flag("--resumed-from")
        .flag(stopped.recording.path())
        .flag("--param=pause=1")
        .finish();
    assert_eq!(resumed.code(), 0, "{}\n{}", resumed.stderr, resumed.stdout);
    let steps = &resumed.recording.status()["data"]["steps"];
    assert_eq!(steps["list"]["status"], "skipped");
    assert_eq!(steps["list"]["taken_over"], true);
    assert_eq!(steps["check"]["outputs"]["files"], n_files.to_string());
    let n_hashed = resumed.stdout.matches("hashed ./event/").count();
    assert_eq!(n_hashed, n_files - n_done, "{}", resumed.stdout);
    let sums = std::fs::read_to_string(workspace.join("SHA256SUMS")).unwrap();
    assert!(sums.starts_with(&done), "{sums}");
    assert!(!workspace.join("inventory").exists());
}
