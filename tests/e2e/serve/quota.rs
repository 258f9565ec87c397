//! How many runs go on at once.

use serde_json::json;

use super::place::Place;
use crate::harness::until;

#[test]
fn one_run_more_than_may_go_on_is_refused_until_another_has_ended() {
    let place = Place::new();
    let limit = ["--max-runs", "2"];
    let planes = [place.serve_with(&limit), place.serve_with(&limit)];
    let body = json!({"command": ["sleep", "1000"]});
    let ids = planes.each_ref().map(|plane| plane.create(&body));
    for plane in &planes {
        let key = [("Idempotency-Key", "later")];
        let reply = plane.ask("POST", "/runs", &key, &body.to_string());
        let code = reply.json()["code"].clone();
        assert_eq!((reply.status, code.as_str()), (429, Some("QUOTA_EXCEEDED")));
        assert_eq!(reply.header("retry-after"), Some("5"));
    }
    // An id that is taken is that, however many go on.
    let taken = json!({"command": ["sleep", "1000"], "run_id": ids[0]}).to_string();
    assert_eq!(planes[1].ask("POST", "/runs", &[], &taken).status, 409);
    let list = planes[0].ask("GET", "/runs", &[], "").json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 2);
    let path = format!("/runs/{}/stop", ids[0]);
    planes[1].ask("POST", &path, &[], r#"{"grace_seconds": 1}"#);
    let later = until("there is room", || {
        let key = [("Idempotency-Key", "later")];
        let reply = planes[1].ask("POST", "/runs", &key, &body.to_string());
        (reply.status / 100 == 2).then(|| reply.json())
    });
    // The request that was refused made nothing, and its key still stands for one run.
    let id = later["run_id"].as_str().unwrap();
    assert!(!ids.iter().any(|other| other == id));
    planes[0].until_status(id, "running");
}
