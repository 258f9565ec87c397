//! What the image, its guide and its manifests promise.

use std::process::Command;

use serde_json::Value;
use stockade::document::{self, Format, Node};

use super::{BARE, BASED, Container, engine, root, text};
use crate::harness::engine::Engine;
use crate::harness::until;

#[test]
fn the_image_has_its_user_its_places_its_check_and_its_labels() {
    let Some(engine) = engine() else { return };
    for tag in [BARE, BASED] {
        let inspected = engine.docker(["image", "inspect", tag]);
        let image: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        let config = &image[0]["Config"];
        assert_eq!(config["User"], "65532:65532", "{tag}");
        assert_eq!(
            config["Entrypoint"],
            serde_json::json!(["/usr/local/bin/stockade", "run"])
        );
        assert_eq!(
            config["Healthcheck"]["Test"],
            serde_json::json!(["CMD", "/usr/local/bin/stockade", "health"])
        );
        assert_eq!(config["WorkingDir"], "/work");
        assert!(config["Volumes"].is_null(), "{config}");
        let labels = &config["Labels"];
        let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str();
        assert_eq!(label("title"), Some("stockade"));
        assert_eq!(label("licenses"), Some("Apache-2.0"));
        assert_eq!(label("version"), Some(env!("CARGO_PKG_VERSION")));
        let variables = config["Env"].to_string();
        for variable in ["STOCKADE_RECORDINGS=/recordings", "STOCKADE_LISTEN=image"] {
            assert!(variables.contains(variable), "{variables}");
        }
    }
    // The binary alone, with nothing around it, does a run; its agent is the one static file that is there.
    let output = engine.docker([
        "run",
        "--rm",
        BARE,
        "--",
        "/usr/local/bin/stockade",
        "--version",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

#[test]
fn the_commands_of_the_guide_run_as_they_stand() {
    let Some(engine) = engine() else { return };
    let guide = std::fs::read_to_string(root().join("docs/containers.md")).unwrap();
    let blocks: Vec<&str> = guide
        .split("\n```bash\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .collect();
    assert!(blocks.len() >= 4, "{blocks:?}");
    let place = tempfile::tempdir().unwrap();
    for block in blocks {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(place.path())
            .env("DOCKER_HOST", engine.host())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{block}\n{}", text(&output));
    }
}

/// Addresses of TCP sockets that listen in a container's network, from its /proc/net/tcp (proc(5)).
fn listening(container: &Container<'_>) -> Vec<String> {
    let pid = container.inspect("{{.State.Pid}}");
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let fields = table.lines().skip(1).map(|line| line.split_whitespace());
    let listening = fields.filter_map(|mut fields| {
        let address = fields.nth(1)?;
        (fields.nth(1)? == "0A").then(|| address.to_owned())
    });
    listening.collect()
}

#[test]
fn without_a_token_the_port_is_on_loopback_and_with_one_on_every_address() {
    let Some(engine) = engine() else { return };
    let (_file, with) = token(&engine);
    let with: Vec<&str> = with.iter().map(String::as_str).collect();
    for (name, flags, address, told) in [
        ("image-closed", &[][..], "0100007F:1F9A", "127.0.0.1:8090"),
        ("image-open", &with, "00000000:1F9A", "0.0.0.0:8090"),
    ] {
        let container = Container::start(&engine, name, flags, &["--", "sleep", "600"]);
        container.until_running();
        assert_eq!(listening(&container), [address], "{name}");
        assert_eq!(container.run().status()["listen"]["address"], told);
        // The health check needs no token in either case.
        for question in [
            &["stockade", "health"][..],
            &["stockade", "health", "--ready"],
        ] {
            let answer = container.exec(question);
            assert_eq!(answer.status.code(), Some(0), "{name}: {}", text(&answer));
        }
    }
}

/// A file with a token that the user of the image can read, with the flags by which a container gets it.
fn token(engine: &Engine) -> (tempfile::NamedTempFile, [String; 2]) {
    let place = engine.recordings();
    let file = tempfile::NamedTempFile::new_in(place.path().parent().unwrap()).unwrap();
    std::fs::write(file.path(), "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(
        file.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o444),
    )
    .unwrap();
    let flags = [
        format!("--volume={}:/run/secrets/token:ro", file.path().display()),
        "--env=STOCKADE_TOKEN_FILE=/run/secrets/token".to_owned(),
    ];
    (file, flags)
}

#[test]
fn a_command_in_the_container_reads_the_status_and_stops_the_run_only_with_its_token_or_as_root() {
    let Some(engine) = engine() else { return };
    let (_file, with) = token(&engine);
    let with: Vec<&str> = with.iter().map(String::as_str).collect();
    for (name, flags, may_stop) in [
        ("image-exec-plain", &[][..], false),
        ("image-exec-token", &with, true),
        ("image-exec-root", &["--user=0:0"], true),
    ] {
        let container = Container::start(&engine, name, flags, &["--", "sleep", "600"]);
        container.until_running();
        let status = container.exec(&["stockade", "status"]);
        assert_eq!(status.status.code(), Some(0), "{name}: {}", text(&status));
        assert!(text(&status).contains("running"), "{}", text(&status));
        let stop = container.exec(&["stockade", "stop"]);
        let expected = if may_stop { 0 } else { 125 };
        assert_eq!(
            stop.status.code(),
            Some(expected),
            "{name}: {}",
            text(&stop)
        );
        if may_stop {
            assert_eq!(container.wait(), "143", "{name}");
            assert_eq!(container.verified()["status"], "terminated", "{name}");
        } else {
            assert!(text(&stop).contains("401 UNAUTHORIZED"), "{}", text(&stop));
            assert_eq!(container.run().status()["phase"], "running", "{name}");
        }
    }
}

#[test]
fn the_command_of_the_run_cannot_read_the_token_that_lies_beside_it() {
    let Some(engine) = engine() else { return };
    let (_file, flags) = token(&engine);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // The words of the token would be redacted, so its length is asked for.
    let script = "head -c 1 /run/secrets/token 2>/dev/null | wc -c; echo asked";
    let container = Container::start(&engine, "image-token", &flags, &["--", "sh", "-c", script]);
    assert_eq!(container.wait(), "0");
    container.verified();
    let output = container.run().output();
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    assert!(lines.ends_with(&["0", "asked"]), "{output}");
}

#[test]
fn the_engine_says_healthy_while_the_run_goes_on() {
    let Some(engine) = engine() else { return };
    let container = Container::start(
        &engine,
        "image-health",
        &["--health-interval=1s"],
        &["--", "sleep", "600"],
    );
    until("the engine says healthy", || {
        (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
}

#[test]
fn the_manifests_say_what_the_guide_says_of_them() {
    let read = |name: &str| {
        let path = root().join("entrypoint/deploy").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let kubernetes = read("kubernetes.yaml");
    let documents: Vec<Value> = kubernetes.split("\n---\n").map(yaml).collect();
    let [job, claim] = documents.as_slice() else {
        panic!("a job and a claim: {documents:?}");
    };
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(pod["securityContext"][field], 65532, "{field}");
    }
    assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
    ] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
    }
    // Each mount has its volume, and the claim that a volume names is the one beside the job.
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(
            volumes.iter().any(|volume| volume["name"] == mount["name"]),
            "{mount}"
        );
    }
    assert_eq!(
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"],
        claim["metadata"]["name"]
    );
    let compose = yaml(&read("compose.yaml"));
    let agent = &compose["services"]["agent"];
    assert_eq!(agent["read_only"], true);
    assert_eq!(
        agent["environment"]["STOCKADE_TOKEN_FILE"],
        "/run/secrets/stockade-token"
    );
    assert_eq!(agent["secrets"][0], "stockade-token");
    // From the environment it would have to be copied into a root that is read-only, which Compose refuses.
    let secret = &compose["secrets"]["stockade-token"];
    assert_eq!(secret["file"], "${TOKEN_FILE:-./token}");
    assert!(secret["environment"].is_null(), "{secret}");
    // Every variable that the file reads is one that its own words name, and the token is never committed.
    let text = read("compose.yaml");
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let comments: String = text.lines().filter(is_comment).collect();
    for part in text.split("${").skip(1) {
        let name = part.split([':', '}']).next().unwrap();
        assert!(comments.contains(name), "{name} is not explained");
    }
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap();
    assert!(
        ignored
            .lines()
            .any(|line| line == "/entrypoint/deploy/token")
    );
}

fn yaml(text: &str) -> Value {
    let document = document::read(text.as_bytes(), Format::Yaml).unwrap();
    json(&document.root)
}

fn json(node: &Node) -> Value {
    match &node.value {
        document::Value::Null => Value::Null,
        document::Value::Bool(value) => (*value).into(),
        document::Value::Integer(value) => (*value).into(),
        document::Value::OtherNumber(number) => number.as_str().into(),
        document::Value::Text(text) => text.as_str().into(),
        document::Value::List(items) => items.iter().map(json).collect(),
        document::Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| (entry.name.clone(), json(&entry.node)));
            Value::Object(entries.collect())
        }
    }
}
