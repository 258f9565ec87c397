//! Recordings, a workspace, and control planes over them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use super::parent_of;
use crate::harness::engine::Engine;
use crate::harness::http::{Stream, request, stream};
use crate::harness::run::binary;
use crate::harness::wait::until_within;
use crate::harness::{Reply, until};
use crate::held::Holds;

/// Longest wait for something that a busy machine makes slow.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Recordings and a workspace; runs that are left are stopped when it is dropped.
pub struct Place {
    pub directory: tempfile::TempDir,
    /// The container engine that hosts the runs; none where they are process trees of this host.
    containers: Option<Arc<Engine>>,
}

/// A control plane; ended by SIGKILL when dropped.
pub struct Plane {
    child: Child,
    pub address: String,
    pub token: String,
}

impl Place {
    pub fn new() -> Self {
        Self::of(None)
    }

    /// One for every engine that this machine has; one that it has not is said aloud.
    pub fn for_each_engine(test: impl Fn(&Self)) {
        test(&Self::new());
        if let Some(place) = Self::in_containers() {
            test(&place);
        }
    }

    pub fn in_containers() -> Option<Self> {
        let place = Self::of(Some(Engine::shared()?));
        place.reach_engine(true);
        Some(place)
    }

    fn of(containers: Option<Arc<Engine>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["workspace", "runtime"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            containers,
        }
    }

    pub fn recordings(&self) -> PathBuf {
        self.directory.path().join("recordings")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .arg("--recordings")
            .arg(self.recordings())
            .args(arguments)
            .args(self.of_engine())
            .current_dir(self.directory.path().join("workspace"))
            .env("XDG_RUNTIME_DIR", self.directory.path().join("runtime"))
            .env("OF_THE_CONTROL_PLANE", "its-own-secret")
            .stderr(Stdio::piped());
        command
    }

    fn of_engine(&self) -> Vec<String> {
        if self.containers.is_none() {
            return Vec::new();
        }
        let socket = self.engine_socket().display().to_string();
        let words = [
            "--engine",
            "docker",
            "--docker-socket",
            &socket,
            "--image",
            Engine::IMAGE,
        ];
        words.map(str::to_owned).into()
    }

    fn engine_socket(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    /// Puts the engine within reach of the control planes, or out of it.
    pub fn reach_engine(&self, is_in_reach: bool) {
        let engine = self.containers.as_ref().unwrap();
        let (link, socket) = (self.engine_socket(), engine.host().replace("unix://", ""));
        if is_in_reach {
            std::os::unix::fs::symlink(socket, link).unwrap();
        } else {
            std::fs::remove_file(link).unwrap();
        }
    }

    /// The name of the engine, as the handle of a run has it.
    pub fn engine_name(&self) -> &'static str {
        match self.containers {
            Some(_) => "docker",
            None => "local",
        }
    }

    /// The engine's client.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let engine = self.containers.as_ref().unwrap();
        let output = engine.docker(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The container of a run.
    pub fn container(&self, id: &str) -> String {
        let filter = format!("label=stockade.run-id={id}");
        self.docker(&["ps", "--all", "--quiet", "--filter", &filter])
    }

    /// Makes the file `go` in the workspace of a run.
    pub fn let_go(&self, id: &str) {
        if self.containers.is_some() {
            let container = self.container(id);
            self.docker(&["exec", &container, "/bin/touch", "/workspace/go"]);
        } else {
            std::fs::write(self.directory.path().join("workspace/go"), "").unwrap();
        }
    }

    /// The guardian and the supervisor of a run, as this host numbers them.
    pub fn processes(&self, id: &str) -> (i32, i32) {
        if self.containers.is_none() {
            let supervisor = self.supervisor(id);
            return (parent_of(supervisor), supervisor);
        }
        let format = "{{.State.Pid}}";
        let guardian = self.docker(&["inspect", "--format", format, &self.container(id)]);
        let children = format!("/proc/{guardian}/task/{guardian}/children");
        let supervisor = until("the guardian has its supervisor", || {
            let children = std::fs::read_to_string(&children).ok()?;
            children.split_whitespace().next()?.parse().ok()
        });
        (guardian.parse().unwrap(), supervisor)
    }

    pub fn serve(&self) -> Plane {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, arguments: &[&str]) -> Plane {
        self.try_to_serve("127.0.0.1:0", arguments).unwrap()
    }

    /// A control plane where one was before; whoever got the port meanwhile is waited for.
    pub fn serve_again(&self, address: &str) -> Plane {
        until("the port is free", || self.try_to_serve(address, &[]))
    }

    /// A control plane that is held where `holds` says.
    pub fn serve_held(&self, holds: &Holds) -> Plane {
        let mut command = self.command(&["--listen", "127.0.0.1:0"]);
        command.envs(holds.variables());
        self.started(command).unwrap()
    }

    fn try_to_serve(&self, listen: &str, arguments: &[&str]) -> Option<Plane> {
        let arguments = [&["--listen", listen], arguments].concat();
        self.started(self.command(&arguments))
    }

    /// None when it cannot listen.
    fn started(&self, mut command: Command) -> Option<Plane> {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let Some((_, address)) = first.split_once("control plane on http://") else {
            child.wait().unwrap();
            return None;
        };
        let address = address.to_owned();
        // Whoever writes to a full pipe waits.
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(self.recordings().join(".stockade/token")).unwrap();
        Some(Plane {
            child,
            address,
            token: token.trim().to_owned(),
        })
    }

    pub fn events(&self, id: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.recordings().join(id).join("events.jsonl")).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    /// The supervisor of a run.
    pub fn supervisor(&self, id: &str) -> i32 {
        let claim = self.recordings().join(id).join("claim.json");
        until("the run is claimed", || {
            let claim: Value = serde_json::from_slice(&std::fs::read(&claim).ok()?).ok()?;
            i32::try_from(claim["pid"].as_i64()?).ok()
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a failed test left running ends with its supervisor.
        let Ok(runs) = std::fs::read_dir(self.recordings()) else {
            return;
        };
        if let Some(engine) = &self.containers {
            for run in runs.flatten() {
                let filter = format!(
                    "label=stockade.run-id={}",
                    run.file_name().to_string_lossy()
                );
                let left = engine.docker(["ps", "--all", "--quiet", "--filter", &filter]);
                let left = String::from_utf8_lossy(&left.stdout).into_owned();
                for container in left.split_whitespace() {
                    engine.docker(["rm", "--force", container]);
                }
            }
            return;
        }
        for run in runs.flatten() {
            let stop = Command::new(binary())
                .arg("stop")
                .arg(run.path())
                .args(["--grace", "0", "--no-wait"])
                .output();
            drop(stop);
        }
    }
}

impl Plane {
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let length = body.len().to_string();
        let mut all = vec![
            ("Authorization", bearer.as_str()),
            ("Content-Length", &length),
        ];
        all.extend_from_slice(headers);
        request(&self.address, method, path, &all, body.as_bytes())
    }

    pub fn create(&self, description: &Value) -> String {
        let reply = self.ask("POST", "/runs", &[], &description.to_string());
        assert_eq!(reply.status, 201, "{}", reply.text());
        let id = reply.json()["run_id"].as_str().unwrap().to_owned();
        assert_eq!(
            reply.header("location"),
            Some(format!("/runs/{id}").as_str())
        );
        id
    }

    pub fn status(&self, id: &str) -> Value {
        let reply = self.ask("GET", &format!("/runs/{id}"), &[], "");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    pub fn until_status(&self, id: &str, wanted: &str) -> Value {
        until_within(PATIENCE, &format!("run {id} is {wanted}"), || {
            Some(self.status(id)).filter(|status| status["status"] == wanted)
        })
    }

    pub fn stream(&self, id: &str, after: u64) -> Stream {
        let bearer = format!("Bearer {}", self.token);
        let after = after.to_string();
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Last-Event-ID", &after),
        ];
        stream(&self.address, &format!("/runs/{id}/stream"), &headers)
    }

    /// Kills it while somebody else still waits for its answer.
    pub fn strike(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        crate::harness::run::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
