//! Recordings, a workspace, and control planes over them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::http::{Stream, request, stream};
use crate::harness::run::binary;
use crate::harness::wait::until_within;
use crate::harness::{Reply, until};

/// Longest wait for something that a busy machine makes slow.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Recordings and a workspace; runs that are left are stopped when it is dropped.
pub struct Place {
    pub directory: tempfile::TempDir,
}

/// A control plane; ended by SIGKILL when dropped.
pub struct Plane {
    child: Child,
    pub address: String,
    pub token: String,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["workspace", "runtime"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
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
            .current_dir(self.directory.path().join("workspace"))
            .env("XDG_RUNTIME_DIR", self.directory.path().join("runtime"))
            .env("OF_THE_CONTROL_PLANE", "its-own-secret")
            .stderr(Stdio::piped());
        command
    }

    pub fn serve(&self) -> Plane {
        let mut child = self.command(&["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.split_once("http://").unwrap().1.to_owned();
        // Whoever writes to a full pipe waits.
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(self.recordings().join(".stockade/token")).unwrap();
        Plane {
            child,
            address,
            token: token.trim().to_owned(),
        }
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
