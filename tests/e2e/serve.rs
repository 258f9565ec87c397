//! The control plane over real runs: created, followed, found again, stopped, lost.

mod client;
mod docker;
mod place;
mod quota;
mod retention;
mod steps;
mod unasked;

use std::path::Path;

use serde_json::json;

use super::harness::http::{Stream, request};
use super::harness::{Reply, until};
use place::Place;

fn ids_and_lines(stream: Stream) -> (Vec<u64>, Vec<String>) {
    let events = stream.events();
    let ids = events
        .iter()
        .map(|event| event.id.as_ref().unwrap().parse().unwrap());
    let lines = events.iter().map(|event| event.data.clone().unwrap());
    (ids.collect(), lines.collect())
}

fn kill(pid: i32) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_run_is_created_followed_to_its_end_and_told_by_its_record_afterwards() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let id = plane.create(&json!({
            "command": ["sh", "-c", "for n in 1 2 3; do echo line $n; sleep 0.2; done"],
            "labels": {"team": "red"},
        }));
        let (ids, lines) = ids_and_lines(plane.stream(&id, 0));
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
        assert_eq!(
            lines,
            place.events(&id),
            "what was given is what is on record"
        );
        assert!(
            lines.last().unwrap().contains("\"type\":\"complete\""),
            "{lines:?}"
        );
        let status = plane.until_status(&id, "completed");
        assert_eq!(
            (&status["source"], &status["stale"]),
            (&json!("persisted"), &json!(false))
        );
        assert_eq!(status["handle"]["engine"], place.engine_name());
        // The same again from the record, and nothing for who has it all.
        assert_eq!(ids_and_lines(plane.stream(&id, 2)).0, ids[2..]);
        let last = ids.len() as u64;
        assert_eq!(plane.stream(&id, last).status(), 204);
        let red = plane
            .ask("GET", "/runs?label=team=red&status=completed", &[], "")
            .json();
        assert_eq!(red["runs"][0]["run_id"], id.as_str());
        let blue = plane.ask("GET", "/runs?label=team=blue", &[], "").json();
        assert_eq!(blue["runs"], json!([]));
    });
}

#[test]
fn a_reader_that_comes_back_by_id_to_another_replica_misses_nothing() {
    Place::for_each_engine(|place| {
        let (first, second) = (place.serve(), place.serve());
        assert_eq!(first.token, second.token);
        let id = first.create(
            &json!({"command": ["sh", "-c", "for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done"]}),
        );
        let mut seen = Vec::new();
        let mut reader = first.stream(&id, 0);
        while seen.len() < 6 {
            let frame = reader.next_frame().expect("the run goes on");
            if let (Some(id), Some(data)) = (frame.id, frame.data) {
                seen.push((id.parse::<u64>().unwrap(), data));
            }
        }
        first.kill();
        let (ids, lines) = ids_and_lines(second.stream(&id, seen.last().unwrap().0));
        seen.extend(ids.into_iter().zip(lines));
        let expected: Vec<_> = (1..).zip(place.events(&id)).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_control_plane_that_is_killed_takes_no_run_with_it_and_forgets_none() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let id = plane.create(
            &json!({"command": ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; echo done"]}),
        );
        plane.until_status(&id, "running");
        plane.kill();
        let plane = place.serve();
        let status = plane.status(&id);
        assert_eq!(
            (&status["status"], &status["source"]),
            (&json!("running"), &json!("live"))
        );
        place.let_go(&id);
        let (ids, lines) = ids_and_lines(plane.stream(&id, 0));
        assert_eq!(ids.len(), place.events(&id).len());
        assert!(lines.last().unwrap().contains("\"status\":\"completed\""));
    });
}

#[test]
fn a_stop_is_heard_by_any_replica_told_truly_and_may_be_repeated() {
    Place::for_each_engine(|place| {
        let (first, second) = (place.serve(), place.serve());
        let id = first.create(&json!({"command": ["sleep", "1000"]}));
        first.until_status(&id, "running");
        let reply = second.ask(
            "POST",
            &format!("/runs/{id}/stop"),
            &[],
            r#"{"reason":"enough","grace_seconds":1}"#,
        );
        assert_eq!(
            (reply.status, reply.json()["phase"].as_str()),
            (202, Some("stopping"))
        );
        let status = first.until_status(&id, "terminated");
        assert_eq!(status["error"]["code"], "RUN_TERMINATED");
        assert_eq!(status["outcome"]["by"], "api");
        let again = first.ask("POST", &format!("/runs/{id}/stop"), &[], "");
        assert_eq!(
            (again.status, &again.json()["status"]),
            (200, &json!("terminated"))
        );
        // The record may go, and goes once.
        until("nobody serves the run any more", || {
            let reply = second.ask("DELETE", &format!("/runs/{id}"), &[], "");
            (reply.status == 204).then_some(())
        });
        for method in ["GET", "DELETE"] {
            assert_eq!(
                first.ask(method, &format!("/runs/{id}"), &[], "").status,
                404
            );
        }
    });
}

#[test]
fn a_run_whose_every_process_is_killed_is_lost_on_record_and_its_readers_get_the_end() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let id = plane.create(&json!({"command": ["sleep", "1000"]}));
        plane.until_status(&id, "running");
        let reader = plane.stream(&id, 0);
        kill(place.processes(&id).0);
        let (ids, lines) = ids_and_lines(reader);
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
        assert!(
            lines.last().unwrap().contains("\"code\":\"LOST\""),
            "{:?}",
            lines.last()
        );
        let status = plane.until_status(&id, "failed");
        assert_eq!(status["error"]["code"], "LOST");
        assert_eq!(lines, place.events(&id));
    });
}

#[test]
fn a_supervisor_that_is_killed_is_told_from_a_run_that_was_lost() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let id = plane.create(&json!({"command": ["sleep", "1000"]}));
        plane.until_status(&id, "running");
        let reader = plane.stream(&id, 0);
        kill(place.processes(&id).1);
        let (_, lines) = ids_and_lines(reader);
        assert!(
            lines
                .last()
                .unwrap()
                .contains("\"code\":\"SUPERVISOR_CRASHED\""),
            "{:?}",
            lines.last()
        );
        assert_eq!(
            plane.until_status(&id, "failed")["error"]["code"],
            "SUPERVISOR_CRASHED"
        );
    });
}

#[test]
fn one_key_is_one_run_in_every_replica_and_another_body_is_refused() {
    Place::for_each_engine(|place| {
        let (first, second) = (place.serve(), place.serve());
        let key = [("Idempotency-Key", "order-7")];
        let body = r#"{"command":["true"]}"#;
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let asked: Vec<_> = [&first, &second, &first, &second]
                .map(|plane| scope.spawn(move || plane.ask("POST", "/runs", &key, body)))
                .into();
            asked
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        let ids: std::collections::BTreeSet<_> = replies
            .iter()
            .map(|reply| reply.json()["run_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 1, "{replies:?}");
        assert_eq!(
            replies.iter().filter(|reply| reply.status == 201).count(),
            1,
            "{replies:?}"
        );
        let other = second.ask("POST", "/runs", &key, r#"{"command":["false"]}"#);
        assert_eq!(
            (other.status, &other.json()["code"]),
            (409, &json!("IDEMPOTENCY_CONFLICT"))
        );
        let list = first.ask("GET", "/runs", &[], "").json();
        assert_eq!(list["runs"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn what_cannot_be_run_is_refused_with_every_fault_and_leaves_nothing() {
    let place = Place::new();
    let plane = place.serve();
    for (body, status, code) in [
        ("{", 400, "BAD_REQUEST"),
        ("[]", 400, "BAD_REQUEST"),
        (
            r#"{"command":["true"],"run_id":"../x"}"#,
            422,
            "INVALID_DESCRIPTION",
        ),
        (
            r#"{"command":["true"],"bogus":1}"#,
            422,
            "INVALID_DESCRIPTION",
        ),
        ("{}", 422, "INVALID_DESCRIPTION"),
        (
            r#"{"command":["true"],"image":"debian"}"#,
            422,
            "UNSUPPORTED",
        ),
        (
            r#"{"command":["true"],"interactive":true}"#,
            422,
            "UNSUPPORTED",
        ),
        (
            r#"{"command":["true"],"credentials":{"A_KEY":{"env":"OF_THE_CONTROL_PLANE"}}}"#,
            422,
            "INVALID_DESCRIPTION",
        ),
        (
            r#"{"command":["true"],"credentials":{"A_KEY":{"fd":5}}}"#,
            422,
            "INVALID_DESCRIPTION",
        ),
    ] {
        let reply = plane.ask("POST", "/runs", &[], body);
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (status, &json!(code)),
            "{body}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        assert!(!reply.text().contains("its-own-secret"), "{}", reply.text());
    }
    let dry = plane
        .ask(
            "POST",
            "/runs/dry-run",
            &[],
            r#"{"command":["true"],"bogus":1}"#,
        )
        .json();
    assert_eq!(
        (&dry["valid"], &dry["faults"][0]["key"]),
        (&json!(false), &json!("bogus"))
    );
    assert_eq!(plane.ask("GET", "/runs", &[], "").json()["runs"], json!([]));
}

#[test]
fn a_secret_is_in_no_file_no_answer_and_on_no_command_line() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let secret = "correct-horse-battery-staple";
        let id = plane.create(&json!({
            "command": ["sh", "-c", "test -n \"$A_KEY\" && while [ ! -e go ]; do sleep 0.05; done"],
            "credentials": {"A_KEY": secret},
        }));
        plane.until_status(&id, "running");
        let has_secret = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        };
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!has_secret(&line), "{:?}", process.path());
        }
        place.let_go(&id);
        let status = plane.until_status(&id, "completed");
        assert!(!has_secret(status.to_string().as_bytes()));
        let mut n_files = 0;
        let mut directories = vec![place.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                match entry.file_type().unwrap() {
                    found if found.is_dir() => directories.push(entry.path()),
                    found if found.is_file() => {
                        // The control plane still works here: a file may be gone since it was listed.
                        let content = match std::fs::read(entry.path()) {
                            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                            read => read.unwrap(),
                        };
                        n_files += 1;
                        assert!(!has_secret(&content), "{:?}", entry.path());
                    }
                    _ => {}
                }
            }
        }
        assert!(n_files > 3);
    });
}

#[test]
fn nothing_is_told_without_a_token_and_no_id_leads_anywhere_else() {
    let place = Place::new();
    std::fs::create_dir_all(place.recordings().join("foreign")).unwrap();
    std::fs::write(place.recordings().join("foreign/secret.txt"), "x").unwrap();
    std::fs::write(
        place.directory.path().join("status.json"),
        r#"{"status":"completed"}"#,
    )
    .unwrap();
    let plane = place.serve();
    for path in [
        "/runs",
        "/runs/x",
        "/runs/x/stream",
        "/metrics",
        "/openapi.json",
        "/runs/x/artifacts",
    ] {
        assert_eq!(
            request(&plane.address, "GET", path, &[], b"").status,
            401,
            "{path}"
        );
        let wrong = [("Authorization", "Bearer not-the-token-at-all")];
        assert_eq!(
            request(&plane.address, "GET", path, &wrong, b"").status,
            401,
            "{path}"
        );
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(
            request(&plane.address, "GET", path, &[], b"").status,
            200,
            "{path}"
        );
    }
    let long = format!("/runs/{}", "a".repeat(4_000));
    for path in [
        "/runs/..",
        "/runs/%2e%2e",
        "/runs/..%2f..%2fetc",
        "/runs/%2e%2e%2fstatus.json",
        "/runs/.stockade",
        "/runs/foreign",
        "/runs/%00",
        "/runs/%ff",
        "/runs/caf%C3%A9",
        "/runs/latest",
        &long,
        "/runs/foreign/artifacts/secret.txt",
        "/runs/foreign/stream",
    ] {
        assert_eq!(plane.ask("GET", path, &[], "").status, 404, "{path}");
        assert_eq!(
            plane.ask("POST", &format!("{path}/stop"), &[], "").status / 100,
            4,
            "{path}"
        );
    }
    assert!(place.recordings().join("foreign/secret.txt").exists());
}

#[test]
fn an_address_of_others_is_not_served_without_a_token() {
    let place = Place::new();
    let output = place.command(&["--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("give a token by --token-file"), "{said}");
}

#[test]
fn the_specification_and_the_metrics_are_those_of_the_control_plane() {
    let place = Place::new();
    let plane = place.serve();
    let id = plane.create(&json!({"command": ["true"]}));
    plane.until_status(&id, "completed");
    let specification = plane.ask("GET", "/openapi.json", &[], "").json();
    assert!(specification["paths"]["/runs/{id}/stream"]["get"].is_object());
    let metrics = plane.ask("GET", "/metrics", &[], "").text();
    assert!(
        metrics.contains("stockade_serve_runs_created_total 1\n"),
        "{metrics}"
    );
    let manifest = plane.ask("GET", &format!("/runs/{id}/artifacts"), &[], "");
    assert_eq!(manifest.json()["run_id"], id.as_str());
    assert!(Path::new(&place.recordings()).join(&id).is_dir());
}

#[test]
fn the_trace_of_a_request_is_that_of_its_run() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let traced = |value: &str| {
            let body = json!({"command": ["sh", "-c", "echo trace: $TRACEPARENT."]}).to_string();
            let reply = plane.ask("POST", "/runs", &[("traceparent", value)], &body);
            assert_eq!(reply.status, 201, "{}", reply.text());
            let id = reply.json()["run_id"].as_str().unwrap().to_owned();
            plane.until_status(&id, "completed");
            place.events(&id).join("\n")
        };
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(traced(trace).contains(&format!("trace: {trace}.")));
        // What is no trace is passed over, and fails nothing.
        assert!(traced("00-0-0-01").contains("trace: ."));
    });
}
