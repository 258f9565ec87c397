//! Which recordings a control plane removes.

use serde_json::json;

use super::place::Place;
use crate::harness::run::binary;
use crate::harness::until;

#[test]
fn a_control_plane_removes_what_is_beyond_its_limits_and_nothing_that_goes_on_or_is_pinned() {
    Place::for_each_engine(removes_what_is_beyond);
}

fn removes_what_is_beyond(place: &Place) {
    let plane = place.serve();
    let ended = || {
        let id = plane.create(&json!({"command": ["true"]}));
        plane.until_status(&id, "completed");
        id
    };
    let (pinned, first, second) = (ended(), ended(), ended());
    let recordings = place.recordings();
    let pin = std::process::Command::new(binary())
        .args(["pin", &pinned, "--recordings"])
        .arg(recordings)
        .output()
        .unwrap();
    assert!(pin.status.success(), "{pin:?}");
    let goes_on = plane.create(&json!({"command": ["sleep", "1000"]}));
    plane.until_status(&goes_on, "running");
    let pruning = [
        place.serve_with(&["--keep-runs", "1"]),
        place.serve_with(&["--keep-runs", "1"]),
    ];
    for (plane, id) in [(&pruning[0], &first), (&pruning[1], &second)] {
        until("the recording is gone", || {
            let reply = plane.ask("GET", &format!("/runs/{id}"), &[], "");
            (reply.status == 404).then_some(())
        });
    }
    for (id, status) in [(&pinned, "completed"), (&goes_on, "running")] {
        let document = pruning[0]
            .ask("GET", &format!("/runs/{id}"), &[], "")
            .json();
        assert_eq!(document["status"], status, "{document}");
    }
    let list = plane.ask("GET", "/runs", &[], "").json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn a_limit_that_would_take_a_run_as_it_is_created_is_refused() {
    let place = Place::new();
    for flag in ["--keep-days=0", "--keep-runs=0", "--keep-bytes=0"] {
        let refused = place.command(&[flag]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{flag}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains(flag.split('=').next().unwrap()), "{told}");
    }
}
