//! Live, replay, and everything between.

use std::time::Duration;

use super::client::{Client, blocks, exchange, get, ids};
use super::fixture::{Fixture, Setup, action, action_of, note, patiently};
use crate::api::Limits;
use crate::log::LogOptions;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_the_stream_are_the_lines_of_the_file() {
    let fixture = Fixture::start();
    fixture.begin().await;
    fixture
        .push(note("a\r\nb \u{2028} \u{0} é \u{1F600}"))
        .await;
    fixture.push(action(1)).await;
    fixture.complete().await;
    let response = get(fixture.address, "/events").await;
    let data: Vec<_> = blocks(response.text())
        .into_iter()
        .filter_map(|block| block.data)
        .collect();
    assert_eq!(data, fixture.lines());
    let lines = exchange(
        fixture.address,
        "GET /events",
        &[("accept", "application/x-ndjson")],
    )
    .await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        lines.body,
        std::fs::read(fixture.dir.path().join("events.jsonl")).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_begins_at_once_with_its_headers_retry_and_a_comment() {
    let fixture = Fixture::start();
    fixture.published(1).await;
    let mut client = Client::tcp(fixture.address).await;
    client.request("GET /events?after=1", &[]).await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
        ("x-log-epoch", fixture.source.epoch()),
        ("x-first-event-id", "1"),
        ("x-last-event-id", "1"),
    ] {
        assert_eq!(head.header(name), Some(value));
    }
    let first = String::from_utf8(client.chunk().await.unwrap()).unwrap();
    let retry = first
        .strip_prefix("retry: ")
        .unwrap()
        .strip_suffix("\n\n: stockade\n\n")
        .unwrap();
    assert!(
        (1_000..=3_000).contains(&retry.parse::<u64>().unwrap()),
        "{retry}"
    );
}

/// Regression 1 of SEED.md: what was pushed during the replay was lost when the run then ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_01_nothing_is_lost_when_events_and_the_end_come_during_the_replay() {
    let fixture = Fixture::with(Setup {
        options: LogOptions {
            tail_bytes: 64 * 1024,
            ..LogOptions::default()
        },
        ..Setup::default()
    });
    for step in 1..=400 {
        fixture
            .log
            .append(action_of(step, None, &"x".repeat(5_000)))
            .await
            .unwrap();
    }
    let mut client = Client::tcp(fixture.address).await;
    client.request("GET /events", &[]).await;
    client.head().await.unwrap();
    let mut body = client.body_until("id: 1\n").await;
    for step in 401..=500 {
        fixture.push(action(step)).await;
    }
    let end = fixture.complete().await;
    while let Some(chunk) = client.chunk().await {
        body.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(ids(&body), (1..=end).collect::<Vec<_>>());
}

/// Regression 2 of SEED.md: a stalled reader lost events, hung, and held up the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_02_a_stalled_reader_loses_nothing_and_delays_nobody() {
    let fixture = Fixture::start();
    let mut stalled = Client::tcp(fixture.address).await;
    stalled.request("GET /events", &[]).await;
    stalled.head().await.unwrap();
    for step in 1..=2_000 {
        fixture
            .log
            .append(action_of(step, None, &"x".repeat(5_000)))
            .await
            .unwrap();
    }
    let end = fixture.complete().await;
    let other = get(fixture.address, "/events?types=log.opened").await;
    assert_eq!(ids(other.text()), [1, end]);
    let mut body = String::new();
    while let Some(chunk) = stalled.chunk().await {
        body.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(ids(&body), (1..=end).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_see_every_live_event_once_and_in_order() {
    let fixture = Fixture::start();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut client = Client::tcp(fixture.address).await;
        client.request("GET /events", &[]).await;
        client.head().await.unwrap();
        readers.push(client);
    }
    for step in 1..=500 {
        fixture.log.append(action(step)).await.unwrap();
    }
    let end = fixture.complete().await;
    for mut client in readers {
        let mut body = String::new();
        while let Some(chunk) = client.chunk().await {
            body.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert_eq!(ids(&body), (1..=end).collect::<Vec<_>>());
    }
    super::fixture::until(|| fixture.metrics.traffic.readers_connected.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_has_heartbeats_and_a_filtered_one_tells_its_cursor() {
    let limits = Limits {
        heartbeat: Duration::from_millis(40),
        ..Limits::default()
    };
    let fixture = Fixture::with(Setup {
        limits,
        ..Setup::default()
    });
    let mut all = Client::tcp(fixture.address).await;
    all.request("GET /events", &[]).await;
    all.head().await.unwrap();
    let mut filtered = Client::tcp(fixture.address).await;
    filtered.request("GET /events?types=action", &[]).await;
    filtered.head().await.unwrap();
    let last = fixture.push(note("does not pass")).await;
    let body = filtered
        .body_until(&format!(": heartbeat\n\nid: {last}\n\n"))
        .await;
    assert!(blocks(&body).iter().all(|block| block.data.is_none()));
    // The cursor is told once; after that the stream only shows that it lives.
    let body = filtered.body_until(": heartbeat\n\n").await;
    assert!(ids(&body).is_empty());
    let body = all.body_until(": heartbeat\n\n").await;
    assert_eq!(
        blocks(&body)
            .iter()
            .filter(|block| block.data.is_none())
            .count(),
        0
    );
    fixture.push(action(1)).await;
    assert_eq!(ids(&filtered.body_until("click").await), [last + 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_passes_its_types_and_the_end_and_refuses_unknown_ones() {
    let fixture = Fixture::start();
    fixture.push(action(1)).await;
    fixture.push(note("3")).await;
    let end = fixture.complete().await;
    for (types, expected) in [
        ("log", vec![3, end]),
        ("action,log", vec![2, 3, end]),
        ("complete", vec![end]),
    ] {
        let response = get(fixture.address, &format!("/events?types={types}")).await;
        assert_eq!(ids(response.text()), expected, "{types}");
    }
    let response = get(fixture.address, "/events?types=action,bogus").await;
    assert_eq!(response.code(), "BAD_REQUEST");
    assert!(
        response.json()["detail"]
            .as_str()
            .unwrap()
            .contains("agent.raw")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_lines_can_be_polled_limited_and_ended() {
    let fixture = Fixture::start();
    for step in 1..=5 {
        fixture.push(action(step)).await;
    }
    let count = |text: &str| text.lines().count();
    let now = get(fixture.address, "/events?format=ndjson&follow=false").await;
    assert_eq!(
        (count(now.text()), now.header("x-last-event-id")),
        (6, Some("6"))
    );
    let two = get(fixture.address, "/events?format=ndjson&limit=2&after=1").await;
    assert_eq!(count(two.text()), 2);
    assert!(two.text().starts_with("{\"seq\":2,"), "{}", two.text());
    // Nothing passes within the wait: no line, and the header tells where to go on.
    let none = get(
        fixture.address,
        "/events?format=ndjson&wait=1&types=thought",
    )
    .await;
    assert_eq!(
        (none.status, none.body.len(), none.header("x-last-event-id")),
        (200, 0, Some("6"))
    );
    let polling = get(fixture.address, "/events?format=ndjson&wait=30&after=6");
    let (some, _) = patiently(async { tokio::join!(polling, fixture.push(note("7"))) }).await;
    assert!(
        some.text().starts_with("{\"seq\":7,") && count(some.text()) == 1,
        "{}",
        some.text()
    );
    for bad in [
        "wait=1",
        "limit=1",
        "follow=false",
        "format=ndjson&limit=0",
        "format=ndjson&wait=x",
        "format=xml",
        "format=ndjson&follow=no",
        "after=1&after=2",
    ] {
        assert_eq!(
            get(fixture.address, &format!("/events?{bad}")).await.code(),
            "BAD_REQUEST",
            "{bad}"
        );
    }
}
