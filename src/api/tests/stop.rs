//! Stopping over HTTP.

use std::time::Duration;

use super::client::post;
use super::fixture::{CONTROL_TOKEN, Fixture, patiently};
use crate::control::{StopAnswer, StopCause};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_202_while_stopping_and_200_once_finished() {
    let mut fixture = Fixture::start();
    fixture.begin().await;
    let token = format!("Bearer {CONTROL_TOKEN}");
    let headers = [("authorization", token.as_str())];
    let body = r#"{"reason":"enough","grace_seconds":0.5}"#;
    let address = fixture.address;
    let session = async {
        let call = fixture.calls.recv().await.unwrap();
        call.answer.send(StopAnswer::Stopping).unwrap();
        call.request
    };
    let (response, request) =
        patiently(async { tokio::join!(post(address, "/stop", &headers, body), session) }).await;
    assert_eq!(response.status, 202);
    assert_eq!(
        response.text(),
        r#"{"run_id":"run-1","phase":"stopping","status":"running"}"#
    );
    assert_eq!(request.cause, StopCause::Api);
    assert_eq!(request.reason.as_deref(), Some("enough"));
    assert_eq!(request.grace, Some(Duration::from_millis(500)));
    fixture.complete().await;
    fixture.calls.close();
    for _ in 0..2 {
        let response = post(address, "/stop", &headers, "").await;
        assert_eq!(response.status, 200);
        assert_eq!(
            response.text(),
            r#"{"run_id":"run-1","phase":"finished","status":"completed"}"#
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_stop_request_reaches_nobody() {
    let mut fixture = Fixture::start();
    let token = format!("Bearer {CONTROL_TOKEN}");
    let headers = [("authorization", token.as_str())];
    for body in ["{", "[]", r#"{"now":true}"#, r#"{"grace_seconds":-1}"#] {
        let response = post(fixture.address, "/stop", &headers, body).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (400, "BAD_REQUEST"),
            "{body}"
        );
    }
    assert!(fixture.calls.try_recv().is_err());
}
