//! What the seed system's tests assert of its API (SEED.md, section 13).

use super::client::{blocks, exchange, get, ids};
use super::fixture::{Fixture, action, until};
use crate::api::service::now_ms;

const SEED_STREAM: &str = "/events?types=action,complete";

/// A run with that many actions; actions have the ids 3, 4, …
async fn with_actions(n: u64) -> Fixture {
    let fixture = Fixture::start();
    fixture.begin().await;
    for step in 1..=n {
        fixture.push(action(step)).await;
    }
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_01_a_frame_begins_with_its_id() {
    let fixture = with_actions(3).await;
    fixture.complete().await;
    let response = get(fixture.address, "/events?after=4&types=action").await;
    let frame = response.text().split_once(": stockade\n\n").unwrap().1;
    assert!(frame.starts_with("id: 5\n"), "{frame}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_02_an_action_has_its_id_then_its_data_and_no_event_name() {
    let fixture = with_actions(1).await;
    fixture.complete().await;
    let response = get(fixture.address, SEED_STREAM).await;
    let frame = response.text().split_once(": stockade\n\n").unwrap().1;
    let mut lines = frame.lines();
    assert_eq!(lines.next(), Some("id: 3"));
    let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
    let event: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&event["step"], &event["action"]),
        (&1.into(), &"click".into())
    );
    for field in [
        "timestamp",
        "tool",
        "input_summary",
        "duration_ms",
        "success",
        "result_text",
        "has_screenshot",
        "error",
    ] {
        assert!(event.get(field).is_some(), "{field} is missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_03_a_frame_ends_with_an_empty_line() {
    let fixture = with_actions(1).await;
    fixture.complete().await;
    let response = get(fixture.address, SEED_STREAM).await;
    assert!(response.text().ends_with("}\n\n"));
    assert_eq!(blocks(response.text()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_15_a_waiting_stream_gets_the_end() {
    let fixture = with_actions(1).await;
    let waiting = get(fixture.address, "/events");
    let (response, _) = tokio::join!(waiting, fixture.complete());
    let last = blocks(response.text()).pop().unwrap();
    assert_eq!(last.event.as_deref(), Some("complete"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_16_three_actions_and_the_end_are_replayed_in_order() {
    let fixture = with_actions(3).await;
    fixture.complete().await;
    let response = get(fixture.address, SEED_STREAM).await;
    assert_eq!(response.status, 200);
    let blocks = blocks(response.text());
    let steps: Vec<_> = blocks
        .iter()
        .filter(|block| block.event.is_none())
        .map(|block| {
            serde_json::from_str::<serde_json::Value>(block.data.as_ref().unwrap()).unwrap()["step"]
                .clone()
        })
        .collect();
    assert_eq!(steps, [1, 2, 3]);
    assert_eq!(blocks.last().unwrap().event.as_deref(), Some("complete"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_17_last_event_id_gives_only_what_follows() {
    let fixture = with_actions(3).await;
    let end = fixture.complete().await;
    let response = exchange(
        fixture.address,
        &format!("GET {SEED_STREAM}"),
        &[("Last-Event-ID", "4")],
    )
    .await;
    assert_eq!(ids(response.text()), [5, end]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_18_the_end_of_a_completed_run_says_completed() {
    let fixture = with_actions(0).await;
    fixture.complete().await;
    let response = get(fixture.address, "/events").await;
    assert!(response.text().contains("event: complete\ndata: "));
    assert!(response.text().contains("\"completed\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_13_19_the_status_has_run_state_and_count() {
    let fixture = with_actions(1).await;
    // The document may be a few milliseconds behind the log.
    until(|| fixture.board.rendered(now_ms()).last_event_id == 3).await;
    let response = get(fixture.address, "/status").await;
    assert_eq!(response.status, 200);
    let status = response.json();
    assert_eq!(status["run_id"], "run-1");
    assert_eq!(status["status"], "running");
    assert_eq!(status["action_count"], 1);
}
