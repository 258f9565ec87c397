//! The file for Compose, brought up and taken down as a user would.

use std::process::{Command, Output};

use super::{engine, root, text};
use crate::harness::engine::Engine;
use crate::harness::need::{need, skip};
use crate::harness::{Recording, http, until};

/// As the file's `TOKEN_FILE` would have it, in the form of `openssl rand -hex 24`.
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// The API stays for as long as the test may need to ask it. Nothing else differs from the file as it stands.
const OVERRIDE: &str =
    "services:\n  agent:\n    environment:\n      STOCKADE_LINGER_SECONDS: '600'\n";

/// The services of the file, taken down with their network and volume when they are dropped.
struct Project<'a> {
    engine: &'a Engine,
    name: String,
    directory: tempfile::TempDir,
    port: u16,
}

impl<'a> Project<'a> {
    /// None, said aloud, where the engine cannot make the network that Compose asks for.
    fn new(engine: &'a Engine) -> Option<Self> {
        need("docker-compose")?;
        let name = format!("stockade{}", std::process::id());
        let made = engine.docker(["network", "create", &name]);
        if !made.status.success() {
            skip(&format!("no bridge can be made here: {}", text(&made)));
            return None;
        }
        let removed = engine.docker(["network", "rm", &name]);
        assert!(removed.status.success(), "{}", text(&removed));
        let directory = engine.recordings();
        std::fs::write(directory.path().join("override.yaml"), OVERRIDE).unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        // As the file's own words make it: for the user of the image and nobody else.
        std::os::unix::fs::chown(&token, Some(65_532), None).unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o400))
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Some(Self {
            engine,
            name,
            directory,
            port,
        })
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        Command::new("docker-compose")
            .args(["--project-name", &self.name, "--file"])
            .arg(root().join("entrypoint/deploy/compose.yaml"))
            .arg("--file")
            .arg(self.directory.path().join("override.yaml"))
            .args(arguments)
            .env("DOCKER_HOST", self.engine.host())
            .env("TOKEN_FILE", self.directory.path().join("token"))
            .env("PORT", self.port.to_string())
            .output()
            .unwrap()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "1"]);
    }
}

#[test]
fn the_file_for_compose_comes_up_answers_with_its_token_alone_and_leaves_a_whole_record() {
    let Some(engine) = engine() else { return };
    let Some(project) = Project::new(&engine) else {
        return;
    };
    let up = project.compose(&["up", "--detach"]);
    assert!(up.status.success(), "{}", text(&up));
    until("the API listens", || {
        let asked = project.compose(&["exec", "-T", "agent", "stockade", "health"]);
        asked.status.success().then_some(())
    });
    let address = format!("127.0.0.1:{}", project.port);
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        http::request(&address, "GET", "/status", &headers, b"")
    };
    let status = until("the port answers with the end of the run", || {
        let answer = ask(TOKEN);
        assert_eq!(answer.status, 200, "{answer:?}");
        let status = answer.json();
        (status["phase"] == "finished").then_some(status)
    });
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(ask("wrong").status, 401);
    let down = project.compose(&["down"]);
    assert!(down.status.success(), "{}", text(&down));
    let volume = format!("{}_recordings", project.name);
    let format = "--format={{.Mountpoint}}";
    let mountpoint = text(&engine.docker(["volume", "inspect", format, &volume]));
    let latest = std::path::Path::new(mountpoint.trim()).join("latest");
    let recording = Recording::at(latest.canonicalize().unwrap());
    let verified = recording.verified();
    assert!(verified.status.success(), "{}", text(&verified));
    assert_eq!(recording.status()["status"], "completed");
    let output = recording.output();
    assert!(output.contains("uid=65532"), "{output}");
}
