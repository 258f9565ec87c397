//! The status document over HTTP.

use std::os::unix::fs::FileExt as _;

use super::client::{Client, exchange, get};
use super::fixture::{Fixture, Setup, action, action_of, patiently, until};
use crate::api::service::now_ms;
use crate::log::LogOptions;

async fn caught_up(fixture: &Fixture, seq: u64) {
    until(|| fixture.board.rendered(now_ms()).last_event_id >= seq).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_validator_gives_304_for_its_own_form_only() {
    let fixture = Fixture::start();
    fixture.begin().await;
    let end = fixture.complete().await;
    caught_up(&fixture, end).await;
    let mut etags = Vec::new();
    for form in ["", "?actions=none", "?actions=all"] {
        let response = get(fixture.address, &format!("/status{form}")).await;
        assert_eq!(response.header("content-type"), Some("application/json"));
        let etag = response.header("etag").unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'));
        let again = exchange(
            fixture.address,
            &format!("GET /status{form}"),
            &[("if-none-match", &etag)],
        )
        .await;
        assert_eq!(
            (again.status, again.header("etag")),
            (304, Some(etag.as_str()))
        );
        assert!(!etags.contains(&etag));
        etags.push(etag);
    }
    let other = exchange(
        fixture.address,
        "GET /status",
        &[("if-none-match", &etags[1])],
    )
    .await;
    assert_eq!(other.status, 200);
    assert_eq!(
        get(fixture.address, "/status?actions=some").await.code(),
        "BAD_REQUEST"
    );
    assert_eq!(
        get(fixture.address, "/status?wait=1.5").await.code(),
        "BAD_REQUEST"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_the_next_change_and_at_once_when_there_is_one_already() {
    let fixture = Fixture::start();
    fixture.begin().await;
    caught_up(&fixture, 2).await;
    let first = get(fixture.address, "/status").await;
    let etag = first.header("etag").unwrap();
    let known = [("if-none-match", etag)];
    let waiting = exchange(fixture.address, "GET /status?wait=30", &known);
    let (changed, seq) = patiently(async { tokio::join!(waiting, fixture.push(action(1))) }).await;
    assert_eq!(
        (changed.status, changed.json()["last_event_id"].as_u64()),
        (200, Some(seq))
    );
    let stale = patiently(exchange(fixture.address, "GET /status?wait=30", &known)).await;
    assert_eq!(stale.status, 200);
    let quiet = get(fixture.address, "/status?wait=1").await;
    assert_eq!(quiet.status, 200);
    let etag = quiet.header("etag").unwrap();
    let same = exchange(
        fixture.address,
        "GET /status?wait=1",
        &[("if-none-match", etag)],
    )
    .await;
    assert_eq!(same.status, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_finished_run() {
    let fixture = Fixture::start();
    let end = fixture.complete().await;
    caught_up(&fixture, end).await;
    let response = patiently(get(fixture.address, "/status?wait=60")).await;
    assert_eq!(response.json()["status"], "completed");
    assert_eq!(response.json()["phase"], "finished");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_no_actions_the_last_ones_or_all() {
    let fixture = Fixture::start();
    for step in 1..=250 {
        fixture.log.append(action(step)).await.unwrap();
    }
    fixture.published(251).await;
    caught_up(&fixture, 251).await;
    for (form, n_actions, from) in [("none", 0, 251), ("tail", 100, 151), ("all", 250, 1)] {
        let response = get(fixture.address, &format!("/status?actions={form}")).await;
        let status = response.json();
        let actions = status["actions"].as_array().unwrap();
        assert_eq!(
            (actions.len(), status["actions_from"].as_u64()),
            (n_actions, Some(from)),
            "{form}"
        );
        assert_eq!(status["action_count"], 250);
        if let Some(first) = actions.first() {
            assert_eq!(first["step"], from);
            assert_eq!(actions.last().unwrap()["step"], 250);
        }
    }
    fixture.complete().await;
    let all = get(fixture.address, "/status?actions=all").await.json();
    assert_eq!(all["actions"].as_array().unwrap().len(), 250);
}

/// Regression: the array lacked what could not be read, and nothing said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_action_is_an_error_or_a_cut_and_never_a_shorter_array() {
    let fixture = Fixture::with(Setup {
        options: LogOptions {
            tail_bytes: 1,
            ..LogOptions::default()
        },
        ..Setup::default()
    });
    for step in 1..=400 {
        let event = action_of(step, None, &"x".repeat(5_000));
        fixture.log.append(event).await.unwrap();
    }
    fixture.published(401).await;
    // The newest batch stays in memory, and on a busy machine has 200 of these: one that comes alone makes all of them go.
    fixture.push(action(401)).await;
    caught_up(&fixture, 402).await;
    let lines = fixture.lines();
    let lose = |idx: usize| {
        let offset: usize = lines[..idx].iter().map(|line| line.len() + 1).sum();
        let path = fixture.dir.path().join("events.jsonl");
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let nothing = "x".repeat(lines[idx].len());
        file.write_all_at(nothing.as_bytes(), offset as u64)
            .unwrap();
    };
    lose(390);
    let mut client = Client::tcp(fixture.address).await;
    client.request("GET /status?actions=all", &[]).await;
    assert_eq!(client.head().await.unwrap().status, 200);
    let is_cut = loop {
        match client.chunk_or_cut().await {
            None => break true,
            Some(None) => break false,
            Some(Some(_)) => {}
        }
    };
    assert!(is_cut);
    lose(1);
    let response = get(fixture.address, "/status?actions=all").await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (500, "INTERNAL")
    );
    assert_eq!(get(fixture.address, "/status").await.status, 200);
}
