//! Every command in README.md and in `docs` is run: what the documentation shows works.
//!
//! A block marked `sh` is run by sh(1) with `set -eu`, from top to bottom of a page, in one directory for each page. It must
//! exit with 0, or with the code of its line `# exit: N`. The binary under test is `stockade` in PATH; `cargo run … -- X` is
//! `stockade X`, other cargo commands are recognised and not run. A block that names `localhost:8090` or the socket of a run
//! called `live` has such a run beside it. Everything stays on loopback. A block whose tool is missing is skipped aloud;
//! with `STOCKADE_TEST_REQUIRE=all` it fails.

#![cfg(feature = "operator")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the lints exempt tests, but not the functions that tests share"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest time for one block.
const BLOCK_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition that nobody signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Where tools are looked for: what a workload finds too.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Tools that a block may need beside a shell and coreutils.
const TOOLS: [&str; 3] = ["jq", "curl", "python3"];

/// Languages of the blocks that are not run; those in `bash` need a container engine, and tests/e2e/image.rs runs them.
const NOT_RUN: [&str; 8] = [
    "text", "console", "json", "toml", "yaml", "rust", "http", "bash",
];

/// Stands before every block: cargo is not called from within its own tests.
const PROLOGUE: &str = r#"set -eu
cargo() {
    case "$1" in
    run)
        while [ "$1" != -- ]; do shift; done
        shift
        stockade "$@"
        ;;
    test | build | install | bench | fmt | clippy | doc) echo "recognised: cargo $*" ;;
    *) echo "unknown: cargo $*" >&2; exit 97 ;;
    esac
}
"#;

/// What the run beside a block does: a few lines of output, then its end.
const LIVE_RUN: &str = "for i in 1 2 3 4; do echo line $i; sleep 0.5; done";

struct Block {
    /// Line of the opening fence, from 1.
    line: usize,
    text: String,
    exit_code: i32,
}

/// What one page needs: a home, a state directory, a runtime directory and a place to work in.
struct Place {
    directory: tempfile::TempDir,
}

/// A process that is killed, with its group, when it is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the pages of `docs`, by their paths from the root.
fn pages() -> Vec<String> {
    let mut pages: Vec<_> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.sort();
    pages.insert(0, "README.md".to_owned());
    pages
}

/// The blocks of a page that are run; what is wrong with the others goes to `faults`.
fn blocks(page: &str, text: &str, faults: &mut String) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((line_idx, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<_> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim_start() != "```")
            .collect();
        if language == "sh" {
            let exit_code = body
                .first()
                .and_then(|line| line.strip_prefix("# exit: "))
                .map_or(0, |code| code.trim().parse().expect("a number"));
            blocks.push(Block {
                line: line_idx + 1,
                text: body.join("\n"),
                exit_code,
            });
        } else if !NOT_RUN.contains(&language) {
            let _ = writeln!(
                faults,
                "{page}:{}: a block is marked {language:?}; use sh for what is run, else one of {NOT_RUN:?}",
                line_idx + 1
            );
        }
    }
    blocks
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["work", "home", "state", "run", "bin"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        std::fs::set_permissions(
            directory.path().join("run"),
            std::fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        symlink(
            env!("CARGO_BIN_EXE_stockade"),
            directory.path().join("bin/stockade"),
        )
        .unwrap();
        let examples = root().join("examples");
        if examples.is_dir() {
            let copies = directory.path().join("work/examples");
            std::fs::create_dir(&copies).unwrap();
            for entry in std::fs::read_dir(examples).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    std::fs::copy(&path, copies.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command with the environment of a user on a fresh machine, in a process group of its own.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                format!("{}:{PATH}", self.path("bin").to_string_lossy()),
            )
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            // The default port may be somebody else's.
            .env("STOCKADE_LISTEN", "127.0.0.1:0")
            .current_dir(self.path("work"))
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Starts the run called `live`; gives its address once its agent runs.
    fn live(&self) -> (Group, String) {
        let recordings = self.path("live");
        // A block before this one had such a run too.
        let _ = std::fs::remove_dir_all(&recordings);
        let child = self
            .command("stockade")
            .args(["run", "--run-id", "live", "--recordings"])
            .arg(&recordings)
            .args(["--", "sh", "-c", LIVE_RUN])
            .stdout(Stdio::null())
            .stderr(File::create(self.path("live.log")).unwrap())
            .spawn()
            .unwrap();
        let child = Group(child);
        let begun = Instant::now();
        loop {
            let status = std::fs::read(recordings.join("live/status.json")).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
            if status["phase"] == "running"
                && let Some(address) = status["listen"]["address"].as_str()
            {
                return (child, address.to_owned());
            }
            assert!(
                begun.elapsed() < BLOCK_LIMIT,
                "the run beside the block did not begin:\n{}",
                std::fs::read_to_string(self.path("live.log")).unwrap_or_default()
            );
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Runs a block; an error says what went wrong and shows its output.
    fn run(&self, page: &str, block: &Block) -> Result<(), String> {
        let mut script = format!("{PROLOGUE}{}\n", block.text);
        let needs_live = ["localhost:8090", "live.sock"]
            .iter()
            .any(|name| block.text.contains(name));
        let live = needs_live.then(|| self.live());
        if let Some((_, address)) = &live {
            script = script.replace("localhost:8090", address);
        }
        let output = self.path("output");
        let file = File::create(&output).unwrap();
        let mut child = Group(
            self.command("sh")
                .args(["-c", &script])
                .stdout(file.try_clone().unwrap())
                .stderr(file)
                .spawn()
                .unwrap(),
        );
        let status = within(BLOCK_LIMIT, &mut child.0);
        let output = std::fs::read(&output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let fault = match status {
            Some(status) if status.code() == Some(block.exit_code) => return Ok(()),
            Some(status) => format!("{status}, expected exit code {}", block.exit_code),
            None => format!("did not end within {BLOCK_LIMIT:?}"),
        };
        Err(format!(
            "{page}:{}: {fault}\n{}\n--- output ---\n{output}\n",
            block.line, block.text
        ))
    }
}

fn within(limit: Duration, child: &mut Child) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if begun.elapsed() > limit => return None,
            None => std::thread::park_timeout(LOOK_INTERVAL),
        }
    }
}

/// The first tool that the block names and that is not installed.
fn missing_tool(block: &Block) -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| {
        let is_named = block
            .text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == *tool);
        is_named
            && !PATH
                .split(':')
                .any(|directory| Path::new(directory).join(tool).is_file())
    })
}

/// Says aloud what is skipped; an error where no skip is allowed.
fn skip(what: &str, why: &str) -> Result<(), String> {
    if std::env::var_os("STOCKADE_TEST_REQUIRE").is_some_and(|all| all == "all") {
        return Err(format!("{what}: {why}, and no skip is allowed\n"));
    }
    // Past the capture of the test harness, so that it is seen in every run.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
    Ok(())
}

/// Whether this host can build the sandbox that the documentation takes for granted.
fn lacks_isolation() -> Option<String> {
    let place = Place::new();
    let output = place
        .command("stockade")
        .args(["run", "--", "true"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    stderr.contains("ISOLATION_UNAVAILABLE").then_some(stderr)
}

/// Runs all blocks of a page and says what failed; a page stops at its first failure, because later blocks build on it.
fn faults_of(page: &str) -> String {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut faults = String::new();
    let blocks = blocks(page, &text, &mut faults);
    if blocks.is_empty() {
        return faults;
    }
    let place = Place::new();
    for block in &blocks {
        let outcome = match missing_tool(block) {
            Some(tool) => skip(
                &format!("docs_commands {page}:{}", block.line),
                &format!("{tool} is not installed"),
            ),
            None => place.run(page, block),
        };
        if let Err(fault) = outcome {
            faults.push_str(&fault);
            break;
        }
    }
    faults
}

#[test]
fn every_command_of_the_documentation_works() {
    if let Some(why) = lacks_isolation() {
        let outcome = skip("docs_commands", &format!("no sandbox here: {why}"));
        assert_eq!(outcome, Ok(()));
        return;
    }
    let pages = pages();
    let faults: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = pages
            .iter()
            .map(|page| scope.spawn(move || faults_of(page)))
            .collect();
        running
            .into_iter()
            .map(|page| page.join().unwrap())
            .collect()
    });
    let faults = faults.concat();
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn no_command_of_the_documentation_leaves_this_machine() {
    for page in pages() {
        let text = std::fs::read_to_string(root().join(&page)).unwrap();
        for block in blocks(&page, &text, &mut String::new()) {
            for (at, _) in block.text.match_indices("://") {
                let host = &block.text[at + 3..];
                assert!(
                    host.starts_with("localhost") || host.starts_with("127.0.0.1"),
                    "{page}:{}: {}",
                    block.line,
                    block.text
                );
            }
        }
    }
}
