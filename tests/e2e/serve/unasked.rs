//! What a control plane does for runs that nobody asks about.

use serde_json::{Value, json};

use super::kill;
use super::place::Place;
use crate::harness::wait::until_within;

/// Several rounds of a control plane, on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn recorded_end(place: &Place, id: &str) -> Value {
    let path = place.recordings().join(id).join("status.json");
    until_within(PATIENCE, "the run has its end on record", || {
        let status: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        status["ended_at"].is_string().then_some(status)
    })
}

#[test]
fn a_lost_run_gets_its_end_on_record_though_nobody_asks() {
    Place::for_each_engine(|place| {
        let (first, second) = (place.serve(), place.serve());
        let id = first.create(&json!({"command": ["sleep", "1000"]}));
        first.until_status(&id, "running");
        first.kill();
        kill(place.processes(&id).0);
        let status = recorded_end(place, &id);
        assert_eq!(
            (&status["status"], &status["error"]["code"]),
            (&json!("failed"), &json!("LOST"))
        );
        second.kill();
    });
}

#[test]
fn a_stop_that_got_no_farther_than_the_disk_is_carried_on() {
    Place::for_each_engine(|place| {
        let plane = place.serve();
        let id = plane.create(&json!({"command": ["sleep", "1000"]}));
        plane.until_status(&id, "running");
        // As a control plane leaves it that dies before it has asked the run.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let intent = json!({"requested_at_ms": u64::try_from(now.as_millis()).unwrap(), "by": {"api": true}});
        std::fs::write(
            place.recordings().join(&id).join("stop.json"),
            intent.to_string(),
        )
        .unwrap();
        let status = recorded_end(place, &id);
        assert_eq!(
            (&status["status"], &status["error"]["code"]),
            (&json!("terminated"), &json!("RUN_TERMINATED"))
        );
    });
}
