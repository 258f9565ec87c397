//! What is true of containers alone.

use serde_json::{Value, json};

use super::place::Place;
use crate::harness::engine::Engine;
use crate::harness::need::need;
use crate::harness::run::binary;
use crate::harness::until;

fn inspected(place: &Place, id: &str) -> Value {
    let text = place.docker(&["inspect", &place.container(id)]);
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

#[test]
fn a_container_sees_its_own_run_and_nothing_else_of_the_host() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    let other = plane.create(&json!({"command": ["true"]}));
    plane.until_status(&other, "completed");
    let secret = "correct-horse-battery-staple";
    let id = plane.create(&json!({
        "command": ["sh", "-c", "id -u; pwd; ls /.stockade/recordings; while [ ! -e go ]; do sleep 0.05; done"],
        "credentials": {"A_KEY": secret},
    }));
    plane.until_status(&id, "running");
    let found = inspected(&place, &id);
    let host = &found["HostConfig"];
    assert_eq!(host["NetworkMode"], "none");
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(found["Config"]["User"], "65532:65532");
    assert!(host["Memory"].as_i64().unwrap() > 0 && host["PidsLimit"].as_i64().unwrap() > 0);
    assert!(!found.to_string().contains(secret));
    let token = std::fs::read_to_string(place.recordings().join(".stockade/token")).unwrap();
    assert!(!found.to_string().contains(token.trim()));
    place.let_go(&id);
    plane.until_status(&id, "completed");
    let log = place.events(&id).join("\n");
    assert!(log.contains("65532"), "{log}");
    assert!(!log.contains(&other), "another run is in sight: {log}");
}

#[test]
fn the_container_of_an_ended_run_goes_and_a_deleted_id_is_free_again() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    let description = json!({"run_id": "again", "command": ["true"]});
    for _ in 0..2 {
        plane.create(&description);
        plane.until_status("again", "completed");
        until("the run can be deleted", || {
            let reply = plane.ask("DELETE", "/runs/again", &[], "");
            (reply.status == 204).then_some(())
        });
        assert_eq!(place.container("again"), "");
    }
    let id = plane.create(&json!({"command": ["true"]}));
    plane.until_status(&id, "completed");
    until("the container is removed though nobody asks", || {
        place.container(&id).is_empty().then_some(())
    });
}

#[test]
fn what_the_engine_refuses_is_told_and_leaves_no_container() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    let body = r#"{"run_id":"no-image","image":"absent","command":["true"]}"#;
    let reply = plane.ask("POST", "/runs", &[], body);
    assert_eq!(
        (reply.status, reply.json()["code"].as_str()),
        (502, Some("CREATE_FAILED"))
    );
    let status = plane.status("no-image");
    let message = status["error"]["message"].as_str().unwrap();
    assert!(message.contains("No such image"), "{message}");
    assert_eq!(place.container("no-image"), "");
    let body = r#"{"command":["true"],"workspace":"/etc","rw":["/root"]}"#;
    let reply = plane.ask("POST", "/runs", &[], body);
    let answer = reply.json();
    assert_eq!(
        (reply.status, answer["code"].as_str()),
        (422, Some("UNSUPPORTED"))
    );
    let keys: Vec<_> = answer["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| &fault["key"])
        .collect();
    assert_eq!(keys, ["workspace", "rw"]);
}

#[test]
fn a_container_of_somebody_else_is_no_run() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    // A name as ours are, made from a run of ours, and labels that are not all ours.
    let id = plane.create(&json!({"command": ["true"]}));
    let name = inspected(&place, &id)["Name"]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .replace(&id, "foreign");
    let image = Engine::IMAGE;
    place.docker(&[
        "create",
        "--name",
        &name,
        "--label",
        "stockade.run-id=foreign",
        image,
        "/bin/true",
    ]);
    assert_eq!(plane.ask("GET", "/runs/foreign", &[], "").status, 404);
    assert_eq!(plane.ask("POST", "/runs/foreign/stop", &[], "").status, 404);
    let reply = plane.ask(
        "POST",
        "/runs",
        &[],
        r#"{"run_id":"foreign","command":["true"]}"#,
    );
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_ne!(place.container("foreign"), "", "it is not ours to remove");
    place.docker(&["rm", &name]);
}

#[test]
fn no_address_that_a_container_tells_is_asked() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    let id = plane.create(&json!({"command": ["sleep", "1000"]}));
    plane.until_status(&id, "running");
    // The container's user owns the directory: it may put a link to another socket in the place of its own.
    let directory = place.recordings().join(&id);
    let elsewhere = place.directory.path().join("elsewhere.sock");
    let listener = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::fs::remove_file(directory.join("api.sock")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.join("api.sock")).unwrap();
    let status = plane.status(&id);
    assert_eq!(
        (&status["status"], &status["stale"], &status["source"]),
        (&json!("running"), &json!(true), &json!("persisted"))
    );
    let refused = listener.accept().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    // It is stopped by its engine all the same.
    assert_eq!(
        plane
            .ask("POST", &format!("/runs/{id}/stop"), &[], "")
            .status,
        202
    );
    plane.until_status(&id, "terminated");
}

#[test]
fn an_engine_that_is_away_ends_no_run_hides_none_and_stops_no_reader() {
    let Some(place) = Place::in_containers() else {
        return;
    };
    let plane = place.serve();
    let id = plane.create(&json!({
        "command": ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; echo and on"],
    }));
    plane.until_status(&id, "running");
    let mut reader = plane.stream(&id, 0);
    assert!(reader.next_frame().is_some());
    place.reach_engine(false);
    // The run answers though its engine does not.
    let status = plane.status(&id);
    assert_eq!(
        (&status["source"], &status["stale"]),
        (&json!("live"), &json!(false))
    );
    let reply = plane.ask("GET", "/runs/nobody", &[], "");
    assert_eq!(
        (reply.status, reply.json()["code"].as_str()),
        (503, Some("ENGINE_UNAVAILABLE"))
    );
    // Neither answers.
    let socket = place.recordings().join(&id).join("api.sock");
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let status = plane.status(&id);
    assert_eq!(
        (
            &status["status"],
            &status["stale"],
            &status["handle"]["phase"]
        ),
        (&json!("running"), &json!(true), &json!("unknown"))
    );
    std::fs::rename(&aside, &socket).unwrap();
    place.let_go(&id);
    let lines: Vec<_> = reader
        .events()
        .into_iter()
        .filter_map(|event| event.data)
        .collect();
    assert!(
        lines.last().unwrap().contains("\"type\":\"complete\""),
        "{lines:?}"
    );
    assert_eq!(plane.until_status(&id, "completed")["source"], "persisted");
    place.reach_engine(true);
    until("the container is removed once the engine is back", || {
        place.container(&id).is_empty().then_some(())
    });
}

/// The script is for a person and an engine of their own; here it has the engine of the tests.
#[test]
fn the_acceptance_of_the_predecessor_holds_in_a_real_container() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    for tool in ["curl", "jq"] {
        if need(tool).is_none() {
            return;
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seed-acceptance");
    let output = std::process::Command::new("bash")
        .arg(script)
        .env("STOCKADE", binary())
        .env("DOCKER_HOST", engine.host())
        .env("IMAGE", Engine::IMAGE)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    let n_passed = told
        .lines()
        .filter(|line| line.starts_with("PASS "))
        .count();
    assert_eq!(n_passed, 5, "{told}{errors}");
    // For whoever runs it alone, with `--nocapture`.
    print!("{told}");
}
