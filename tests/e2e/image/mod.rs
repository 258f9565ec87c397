//! The image: the entrypoint of a real container, as docs/containers.md and `entrypoint/Dockerfile` promise it.

mod endings;
mod promises;
mod stops;
mod compose;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;

use crate::harness::engine::Engine;
use crate::harness::static_build::static_build;
use crate::harness::{Recording, until};

/// The binary alone.
const BARE: &str = "stockade:local";
/// On a base with a shell; the documentation calls it so.
const BASED: &str = "stockade:debian";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The engine with both images; none, said aloud, where it or a static build is absent.
fn engine() -> Option<Arc<Engine>> {
    let binary = static_build()?;
    let engine = Engine::shared()?;
    for (tag, base) in [(BARE, "scratch"), (BASED, Engine::IMAGE)] {
        if engine.docker(["image", "inspect", tag]).status.success() {
            continue;
        }
        let built = Command::new(root().join("entrypoint/build-image"))
            .args([tag, base])
            .env("BINARY", &binary)
            .env("DOCKER_HOST", engine.host())
            .output()
            .unwrap();
        assert!(built.status.success(), "{tag}: {built:?}");
    }
    Some(engine)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A container that is removed, with force, at the end of its test.
struct Container<'a> {
    engine: &'a Engine,
    name: String,
    recordings: tempfile::TempDir,
}

impl<'a> Container<'a> {
    fn start(engine: &'a Engine, name: &str, flags: &[&str], arguments: &[&str]) -> Self {
        Self::start_below(engine, name, flags, &[], arguments)
    }

    /// The same with these words before those of the run: an init of somebody else, with the whole command.
    fn start_below(
        engine: &'a Engine,
        name: &str,
        flags: &[&str],
        above: &[&str],
        arguments: &[&str],
    ) -> Self {
        let recordings = engine.recordings();
        let volume = format!("--volume={}:/recordings", recordings.path().display());
        let name_flag = format!("--name={name}");
        let base = ["run", "--detach", &name_flag, &volume];
        let rest = base.iter().chain(flags).chain(&[BASED]).chain(above);
        let all = rest.chain(&["--run-id=run"]).chain(arguments);
        let started = engine.docker(all.copied());
        assert!(started.status.success(), "{name}: {}", text(&started));
        Self {
            engine,
            name: name.to_owned(),
            recordings,
        }
    }

    fn run(&self) -> Recording {
        Recording::at(self.recordings.path().join("run"))
    }

    fn inspect(&self, format: &str) -> String {
        let answer = self
            .engine
            .docker(["inspect", "--format", format, &self.name]);
        text(&answer).trim().to_owned()
    }

    fn exec(&self, arguments: &[&str]) -> Output {
        let base = ["exec", &self.name];
        self.engine.docker(base.iter().chain(arguments).copied())
    }

    /// Waits for the end; gives the exit code.
    fn wait(&self) -> String {
        let waited = self.engine.docker(["wait", &self.name]);
        text(&waited).trim().to_owned()
    }

    fn until_running(&self) {
        let recording = self.run();
        until("the run is running", || {
            (recording.try_status()?["phase"] == "running").then_some(())
        });
    }

    fn until_output(&self, words: &str) {
        let recording = self.run();
        until("the command has spoken", || {
            let lines = recording
                .path()
                .join("events.jsonl")
                .exists()
                .then(|| recording.output())?;
            lines.contains(words).then_some(())
        });
    }

    /// The record has an end, and every byte of it is right.
    fn verified(&self) -> Value {
        let recording = self.run();
        let verified = recording.verified();
        assert!(
            verified.status.success(),
            "{}: {}",
            self.name,
            text(&verified)
        );
        recording.status()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.engine.docker(["rm", "--force", &self.name]);
    }
}
