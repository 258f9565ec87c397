//! The commands that ask a control plane, over real runs, lost answers and servers that mean harm.

mod canned;

use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::place::{Place, Plane};
use crate::harness::asked::{Asked, asked};
use crate::harness::run::{Capture, binary};
use crate::harness::wait::until_within;
use crate::harness::{DEADLINE, until};
use canned::{Canned, LosingProxy};

/// A command for the control plane; the token is that of the recordings.
fn client(place: &Place, address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(place.directory.path().join("workspace"))
        .env_clear()
        .env("STOCKADE_RECORDINGS", place.recordings())
        .env("STOCKADE_SERVER", format!("http://{address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ask(place: &Place, plane: &Plane, arguments: &[&str]) -> (i32, String, String) {
    said(client(place, &plane.address, arguments).output().unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn json_of(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

fn list_of(plane: &Plane) -> Vec<Value> {
    let list = plane.ask("GET", "/runs", &[], "").json();
    list["runs"].as_array().unwrap().clone()
}

#[test]
fn a_run_is_submitted_found_followed_over_a_restart_stopped_and_removed() {
    let place = Place::new();
    let plane = place.serve();
    let workspace = place.directory.path().join("workspace");
    // The words of the output stand nowhere in the command.
    let script = "echo tic$((0+1)); while [ ! -e go ]; do sleep 0.05; done; echo tic$((1+1)); exec sleep 1000";
    let description = format!("command: [sh, -c, '{script}']\nlabels:\n  team: red\n");
    std::fs::write(workspace.join("run.yaml"), description).unwrap();
    let (code, out, err) = ask(&place, &plane, &["submit", "run.yaml", "--label", "job=7"]);
    assert_eq!(code, 0, "{err}");
    let id = out.trim_end().to_owned();
    assert!(
        err.contains(&format!("stockade logs -f {id} --server")),
        "{err}"
    );
    plane.until_status(&id, "running");

    let (code, out, _) = ask(&place, &plane, &["runs", "--label", "job=7"]);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{out}");
    assert!(lines[0].starts_with("RUN "), "{out}");
    assert!(lines[1].starts_with(&format!("{id}  running")), "{out}");
    assert!(lines[1].ends_with("job=7,team=red"), "{out}");
    let (_, out, _) = ask(&place, &plane, &["runs", "--json", "--all"]);
    assert_eq!(json_of(out.trim_end())["run_id"], id.as_str());
    let (code, out, _) = ask(&place, &plane, &["runs", "--status", "completed", "--json"]);
    assert_eq!((code, out.as_str()), (0, ""));

    let (code, out, _) = ask(&place, &plane, &["status", &id]);
    assert_eq!(code, 0);
    assert!(out.contains("by the control plane at"), "{out}");
    let (_, out, _) = ask(&place, &plane, &["status", &id, "--json"]);
    assert_eq!(json_of(out.trim_end())["source"], "live");

    let mut logs = Asked(
        client(&place, &plane.address, &["logs", "-f", &id, "--json"])
            .spawn()
            .unwrap(),
    );
    let mut stdout = Capture::of(logs.0.stdout.take().unwrap());
    let mut stderr = Capture::of(logs.0.stderr.take().unwrap());
    until("the first word is logged", || {
        stdout.so_far().contains("tic1").then_some(())
    });
    let address = plane.address.clone();
    plane.kill();
    std::fs::write(workspace.join("go"), "").unwrap();
    until("the run went on without its control plane", || {
        let events = place.events(&id).concat();
        events.contains("tic2").then_some(())
    });
    assert!(!stdout.so_far().contains("tic2"));
    let plane = place.serve_again(&address);
    until_within(2 * DEADLINE, "the second word is logged", || {
        stdout.so_far().contains("tic2").then_some(())
    });
    let (code, out, err) = ask(&place, &plane, &["stop", &id, "--grace", "2"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&format!("run {id}: ")), "{out}");
    let ended = until("logs end", || logs.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(143), "{}", stderr.all());
    let seen: Vec<String> = stdout.all().lines().map(str::to_owned).collect();
    assert_eq!(seen, place.events(&id), "each event once and in order");
    let (code, again, _) = ask(&place, &plane, &["logs", &id, "--json"]);
    assert_eq!((code, again.lines().count()), (143, seen.len()));

    let (code, out, err) = ask(&place, &plane, &["rm", &id]);
    assert_eq!((code, out), (0, format!("removed {id}\n")), "{err}");
    for arguments in [["rm", &id], ["status", &id], ["logs", &id], ["stop", &id]] {
        let (code, _, err) = ask(&place, &plane, &arguments);
        assert_eq!(code, 125, "{arguments:?}");
        assert!(err.contains("there is no such run"), "{err}");
    }
}

#[test]
fn a_lost_answer_makes_no_second_run() {
    let place = Place::new();
    let plane = place.serve();
    let proxy = LosingProxy::start(&plane.address);
    let submit = ["submit", "--json", "--", "true"];
    let (code, out, err) = said(client(&place, &proxy.address, &submit).output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("asking again"), "{err}");
    assert!(proxy.lost.lock().unwrap().starts_with("HTTP/1.1 201 "));
    let list = list_of(&plane);
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["run_id"], json_of(out.trim_end())["run_id"]);
}

#[test]
fn a_key_is_one_run_by_whoever_it_is_sent() {
    let place = Place::new();
    let plane = place.serve();
    let submit = |command| {
        ask(
            &place,
            &plane,
            &["submit", "--idempotency-key", "order 7", "--", command],
        )
    };
    let (first, second) = (submit("true"), submit("true"));
    assert_eq!((first.0, &first.1), (0, &second.1));
    let (code, out, err) = submit("false");
    assert_eq!((code, out.as_str()), (125, ""));
    assert!(err.contains("IDEMPOTENCY_CONFLICT"), "{err}");
    assert_eq!(list_of(&plane).len(), 1);
}

#[test]
fn following_ends_with_the_code_of_the_run() {
    let place = Place::new();
    let plane = place.serve();
    let submit = [
        "submit",
        "--follow",
        "--",
        "sh",
        "-c",
        "echo tic$((1+1)); exit 3",
    ];
    let (code, out, err) = ask(&place, &plane, &submit);
    assert_eq!(code, 3, "{err}");
    assert!(out.contains("tic2"), "{out}");
    let json = [
        "submit", "--follow", "--json", "--run-id", "fox", "--", "true",
    ];
    let (code, out, _) = ask(&place, &plane, &json);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((code, &json_of(lines[0])["run_id"]), (0, &"fox".into()));
    assert_eq!(lines[1..], place.events("fox"));
}

#[test]
fn what_cannot_be_run_is_told_fault_by_fault_and_a_check_starts_nothing() {
    let place = Place::new();
    let plane = place.serve();
    let path = place.directory.path().join("workspace/run.toml");
    std::fs::write(
        &path,
        "command = [\"true\"]\nbogus = 1\ntimeout_seconds = -1\n",
    )
    .unwrap();
    for arguments in [
        &["submit", "run.toml"][..],
        &["submit", "run.toml", "--dry-run"],
    ] {
        let (code, out, err) = ask(&place, &plane, arguments);
        assert_eq!((code, out.as_str()), (125, ""), "{arguments:?}");
        assert!(
            err.contains("bogus") && err.contains("timeout_seconds"),
            "{err}"
        );
    }
    std::fs::write(&path, "command = [\"true\"]\n").unwrap();
    let (code, out, _) = ask(&place, &plane, &["submit", "run.toml", "--dry-run"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "ok: the run description is valid\n")
    );
    let (_, out, _) = ask(
        &place,
        &plane,
        &["submit", "run.toml", "--dry-run", "--json"],
    );
    assert_eq!(json_of(out.trim_end())["valid"], true);
    assert_eq!(list_of(&plane).len(), 0);
    for usage in [
        &["submit"][..],
        &["submit", "--label", "x", "--", "true"],
        &["submit", "--idempotency-key", "", "--", "true"],
        &["runs", "--limit", "0"],
        &["runs", "--status", "over"],
        &["rm"],
        &["rm", "../x"],
    ] {
        assert_eq!(ask(&place, &plane, usage).0, 2, "{usage:?}");
    }
}

#[test]
fn a_server_that_is_not_there_or_wants_a_token_is_told_with_what_to_do() {
    let place = Place::new();
    let plane = place.serve();
    let address = plane.address.clone();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = asked(elsewhere.path(), &["runs", "--server", &address]).output();
    let (code, _, err) = said(output.unwrap());
    assert_eq!(code, 125);
    assert!(err.contains("--token-file"), "{err}");
    let token = place.recordings().join(".stockade/token");
    let with_token = [
        "runs",
        "--server",
        &address,
        "--token-file",
        token.to_str().unwrap(),
    ];
    let output = asked(elsewhere.path(), &with_token).output();
    assert_eq!(said(output.unwrap()).0, 0);
    plane.kill();
    for arguments in [
        &["runs"][..],
        &["submit", "--", "true"],
        &["rm", "fox"],
        &["status", "fox"],
        &["stop", "fox"],
        &["logs", "fox"],
    ] {
        let (code, _, err) = said(client(&place, &address, arguments).output().unwrap());
        assert_eq!(code, 125, "{arguments:?}");
        assert!(
            err.contains("start it with stockade serve, or name it by --server"),
            "{arguments:?}: {err}"
        );
    }
    // What only this host knows is not asked there.
    let (code, _, err) = said(
        client(&place, &address, &["status", "latest"])
            .output()
            .unwrap(),
    );
    assert_eq!(code, 125);
    assert!(err.contains("there is no run in"), "{err}");
    let named = ["status", "latest", "--server", &address];
    let (code, _, err) = said(client(&place, &address, &named).output().unwrap());
    assert_eq!(code, 125);
    assert!(err.contains("is no id of a run"), "{err}");
}

#[test]
fn pages_are_put_together_and_one_that_leads_nowhere_is_left() {
    let place = Place::new();
    let server = Canned::start(|request| match request {
        line if line.contains("after=b") => {
            Canned::json(200, r#"{"runs":[{"run_id":"c"}],"next":"b"}"#)
        }
        line if line.contains("label=x%3Dy") => Canned::json(
            200,
            r#"{"runs":[{"run_id":"a"},{"run_id":"b"}],"next":"b"}"#,
        ),
        _ => Canned::json(404, "{}"),
    });
    let runs = |more: &[&str]| {
        let arguments = [&["runs", "--json", "--label", "x=y"], more].concat();
        said(
            client(&place, &server.address, &arguments)
                .output()
                .unwrap(),
        )
    };
    let (code, out, _) = runs(&["--limit", "3"]);
    let expected = "{\"run_id\":\"a\"}\n{\"run_id\":\"b\"}\n{\"run_id\":\"c\"}\n";
    assert_eq!((code, out.as_str()), (0, expected));
    let (code, out, err) = runs(&["--all"]);
    assert_eq!((code, out.as_str()), (125, expected));
    assert!(err.contains("does not go on"), "{err}");
}

#[test]
fn a_follower_that_was_cut_asks_for_what_is_behind_its_last_event() {
    const LINES: [&str; 3] = [
        r#"{"seq":1,"ts":"t","type":"log.opened"}"#,
        r#"{"seq":2,"ts":"t","type":"action"}"#,
        r#"{"seq":3,"ts":"t","type":"complete"}"#,
    ];
    let place = Place::new();
    let server = Canned::start(|request| {
        if !request.contains("/runs/fox/stream") {
            Canned::json(200, r#"{"run_id":"fox","status":"running","epoch":"e"}"#)
        } else if request.contains("last-event-id: 0\r\n") {
            Canned::cut_stream(1, &LINES[..2])
        } else if request.contains("last-event-id: 2\r\n") {
            Canned::cut_stream(3, &LINES[2..])
        } else {
            Canned::json(400, "{}")
        }
    });
    for command in ["logs", "tail"] {
        let mut arguments = vec![command, "--json", "fox"];
        arguments.extend((command == "logs").then_some("-f"));
        let (code, out, err) = said(
            client(&place, &server.address, &arguments)
                .output()
                .unwrap(),
        );
        assert_eq!((code, out), (0, LINES.join("\n") + "\n"), "{err}");
    }
}

#[test]
fn a_hostile_server_moves_no_cursor() {
    let place = Place::new();
    let evil = "\\u001b[2J\\u001b]0;owned\\u0007\\u009b1;1H\\u202e";
    let raw = "\u{9b}2J\u{202e}";
    let server = Canned::start(move |request| {
        if request.contains("/runs/fox") {
            Canned::json(
                409,
                &format!(
                    r#"{{"code":"RUN{evil}","detail":"no {evil}{raw}\nstockade: all is well"}}"#
                ),
            )
        } else if request.starts_with("POST") {
            Canned::json(
                422,
                &format!(
                    r#"{{"detail":"{evil}","faults":[{{"message":"first {evil}{raw}"}},{{"message":"second"}}]}}"#
                ),
            )
        } else if request.contains("label=id") {
            Canned::json(200, &format!(r#"{{"runs":[{{"run_id":"fox{evil}"}}]}}"#))
        } else {
            Canned::json(
                200,
                &format!(
                    r#"{{"runs":[{{"run_id":"fox","status":"{evil}{raw}","error_code":"{evil}","started_at":"{evil}","labels":{{"{evil}":"{raw}"}}}}],"next":null}}"#
                ),
            )
        }
    });
    for (arguments, expected, word) in [
        (&["runs"][..], 0, "fox"),
        (&["runs", "--json"], 0, "fox"),
        (&["runs", "--label", "id"], 125, "DNS label"),
        (&["submit", "--", "true"], 125, "second"),
        (&["submit", "--dry-run", "--", "true"], 125, "second"),
        (&["status", "fox"], 125, "refuses"),
        (&["logs", "-f", "fox"], 125, "refuses"),
        (&["stop", "fox"], 125, "refuses"),
    ] {
        let (code, out, err) = said(client(&place, &server.address, arguments).output().unwrap());
        let all = format!("{out}{err}");
        assert_eq!(code, expected, "{arguments:?}: {all}");
        assert!(all.contains(word), "{arguments:?}: {all}");
        let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(all.chars().all(is_harmless), "{arguments:?}: {all:?}");
    }
}

#[test]
fn a_hostile_server_fills_no_memory() {
    /// Bytes that a client takes at most: 16 MiB of an answer, and what lies in the buffers of both sockets.
    const MAX_TAKEN_BYTES: usize = 48 << 20;
    let place = Place::new();
    for arguments in [
        &["runs"][..],
        &["runs", "--json"],
        &["status", "fox"],
        &["submit", "--", "true"],
        &["rm", "fox"],
    ] {
        for status in [200, 500] {
            let server = Canned::start(move |_| Canned::endless(status));
            let mut client = client(&place, &server.address, arguments);
            let mut client = Asked(client.stdout(Stdio::null()).spawn().unwrap());
            let ended = until_within(2 * DEADLINE, "the client ends", || {
                client.0.try_wait().unwrap()
            });
            let expected = if arguments[0] == "rm" && status == 200 {
                0
            } else {
                125
            };
            assert_eq!(ended.code(), Some(expected), "{arguments:?} {status}");
            let n_written = server.n_written.load(Ordering::SeqCst);
            assert!(n_written < MAX_TAKEN_BYTES, "{arguments:?}: {n_written}");
        }
    }
}
