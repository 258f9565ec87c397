//! A control plane that is killed between any two steps of a request: another one carries it on, or ends it truly.
//!
//! The moment is observed: the control plane is held there by a library (`fixtures/replica_shim.c`), then killed.

use serde_json::{Value, json};

use super::place::{Place, Plane};
use crate::harness::until;
use crate::held::Holds;

/// The moments of a creation, in their order, but for what the engine does.
const BEFORE_THE_ENGINE: [&str; 4] = ["key", "key-after", "spec", "spec-after"];

/// Kills a control plane that was asked for something when it comes to the moment.
fn kill_at(place: &Place, holds: &Holds, moment: &str, ask: impl FnOnce(&Plane) + Send) {
    let holds = holds.another();
    holds.hold(moment);
    let plane = place.serve_held(&holds);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            // Nobody answers.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&plane)));
        });
        until(&format!("the control plane is at {moment}"), || {
            holds.is_at(moment).then_some(())
        });
        plane.strike();
        drop(asked);
    });
}

fn described(moment: &str) -> Value {
    json!({"command": ["sh", "-c", "echo ran"], "labels": {"moment": moment}})
}

fn create(plane: &Plane, moment: &str) -> crate::harness::Reply {
    let key = [("Idempotency-Key", moment)];
    plane.ask("POST", "/runs", &key, &described(moment).to_string())
}

/// The runs that were asked for at a moment, by their labels.
fn runs(plane: &Plane, moment: &str) -> Vec<Value> {
    let path = format!("/runs?label=moment={moment}");
    let list = plane.ask("GET", &path, &[], "").json();
    list["runs"].as_array().unwrap().clone()
}

fn times_it_ran(place: &Place, id: &str) -> usize {
    let events = place.events(id);
    let output = events
        .iter()
        .filter(|event| event.contains("action.output"));
    output.filter(|event| event.contains("ran")).count()
}

#[test]
fn whoever_asks_again_after_a_creation_was_cut_short_gets_the_one_run() {
    let Some(holds) = Holds::of("replica_shim") else {
        return;
    };
    Place::for_each_engine(|place| {
        let of_engine: &[&str] = match place.engine_name() {
            "docker" => &["engine-create", "engine-start", "answer"],
            _ => &["spawn", "spawn-after", "answer"],
        };
        let moments = BEFORE_THE_ENGINE.iter().chain(of_engine);
        for moment in moments.clone() {
            kill_at(place, &holds, moment, |plane| drop(create(plane, moment)));
        }
        let plane = place.serve();
        for moment in moments {
            let reply = create(&plane, moment);
            assert_eq!(reply.status / 100, 2, "{moment}: {}", reply.text());
            let id = reply.json()["run_id"].as_str().unwrap().to_owned();
            plane.until_status(&id, "completed");
            assert_eq!(runs(&plane, moment).len(), 1, "{moment}");
            assert_eq!(times_it_ran(place, &id), 1, "{moment}");
        }
    });
}

#[test]
fn a_creation_that_was_cut_short_is_no_run_or_ends_truly_though_nobody_asks_again() {
    let Some(holds) = Holds::of("replica_shim") else {
        return;
    };
    let place = Place::new();
    let of_engine = ["spawn", "spawn-after", "answer"];
    for moment in BEFORE_THE_ENGINE.iter().chain(&of_engine) {
        kill_at(&place, &holds, moment, |plane| drop(create(plane, moment)));
    }
    let plane = place.serve();
    for (moment, wanted) in [
        ("spec-after", "LOST"),
        ("spawn", "LOST"),
        ("spawn-after", "completed"),
        ("answer", "completed"),
    ] {
        let [run] = runs(&plane, moment).try_into().unwrap();
        let id = run["run_id"].as_str().unwrap();
        let status = match wanted {
            "LOST" => plane.until_status(id, "failed"),
            _ => plane.until_status(id, wanted),
        };
        let code = status["error"]["code"].as_str();
        assert_eq!(code, (wanted == "LOST").then_some("LOST"), "{moment}");
    }
    for moment in ["key", "key-after", "spec"] {
        assert_eq!(runs(&plane, moment), [Value::Null; 0], "{moment}");
    }
}

#[test]
fn a_stop_that_was_cut_short_is_carried_on_as_soon_as_it_is_on_disk() {
    let Some(holds) = Holds::of("replica_shim") else {
        return;
    };
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let moments = ["stop", "stop-after", "tell", "answer"];
        let ids = moments.map(|_| plane.create(&json!({"command": ["sleep", "1000"]})));
        for id in &ids {
            plane.until_status(id, "running");
        }
        plane.kill();
        // One after the other: a control plane carries on whatever it finds, and would be held by that.
        for (moment, id) in moments.iter().zip(&ids) {
            let path = format!("/runs/{id}/stop");
            let stop = |plane: &Plane| plane.ask("POST", &path, &[], r#"{"grace_seconds": 2}"#);
            kill_at(place, &holds, moment, |plane| drop(stop(plane)));
            let plane = place.serve();
            if *moment == "stop" {
                // Nobody has heard of it, and who asked was not answered.
                assert_eq!(plane.status(id)["status"], "running");
                let reply = stop(&plane);
                assert_eq!(reply.status, 202, "{}", reply.text());
            }
            plane.until_status(id, "terminated");
        }
    });
}
