//! Every way to come back to a log.

use std::os::unix::fs::FileExt as _;

use super::client::{Client, blocks, exchange, get, ids};
use super::fixture::{Fixture, Setup, action, action_of, note};
use crate::log::LogOptions;

/// Regression 3 of SEED.md: they were 500, a full replay, or silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_03_every_last_event_id_has_its_answer() {
    let fixture = Fixture::start();
    for n in 0..3 {
        fixture.push(note(format!("{n}"))).await;
    }
    let end = fixture.complete().await;
    let last = end.to_string();
    let ahead = (end + 1).to_string();
    let huge = "9".repeat(5_000);
    for (id, status, expected) in [
        ("", 200, (1..=end).collect::<Vec<_>>()),
        ("0", 200, (1..=end).collect()),
        ("2", 200, (3..=end).collect()),
        (last.as_str(), 204, vec![]),
        (ahead.as_str(), 200, (1..=end).collect()),
        ("18446744073709551615", 200, (1..=end).collect()),
        ("abc", 400, vec![]),
        ("-5", 400, vec![]),
        ("-0", 400, vec![]),
        ("1.5", 400, vec![]),
        ("1_0", 400, vec![]),
        ("007", 400, vec![]),
        ("18446744073709551616", 400, vec![]),
        (huge.as_str(), 400, vec![]),
        ("…", 400, vec![]),
    ] {
        let by_header = exchange(fixture.address, "GET /events", &[("last-event-id", id)]).await;
        assert_eq!(by_header.status, status, "{id}");
        match status {
            200 => assert_eq!(ids(by_header.text()), expected, "{id}"),
            400 => assert_eq!(by_header.code(), "INVALID_EVENT_ID", "{id}"),
            _ => assert!(by_header.header("x-log-epoch").is_some()),
        }
        if id.is_ascii() {
            for name in ["last_event_id", "after"] {
                let by_query = get(fixture.address, &format!("/events?{name}={id}")).await;
                assert_eq!(
                    (by_query.status, by_query.body.len() > 100),
                    (status, by_header.body.len() > 100),
                    "{name}={id}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_wins_and_two_different_ones_are_refused() {
    let fixture = Fixture::start();
    fixture.push(note("2")).await;
    let end = fixture.complete().await;
    let response = exchange(
        fixture.address,
        "GET /events?after=0&last_event_id=1",
        &[("Last-Event-ID", "2")],
    )
    .await;
    assert_eq!(ids(response.text()), [end]);
    let two = [("Last-Event-ID", "1"), ("Last-Event-ID", "2")];
    assert_eq!(
        exchange(fixture.address, "GET /events", &two).await.code(),
        "INVALID_EVENT_ID"
    );
    assert_eq!(
        get(fixture.address, "/events?after=0&last_event_id=1")
            .await
            .code(),
        "INVALID_EVENT_ID"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_or_epoch_of_another_log_gets_a_reset_and_everything() {
    let fixture = Fixture::start();
    fixture.push(note("2")).await;
    let epoch = fixture.source.epoch().to_owned();
    let end = fixture.complete().await;
    for path in [
        "/events?after=50".to_owned(),
        format!("/events?after={end}&epoch=other"),
        "/events?epoch=other".to_owned(),
    ] {
        let response = get(fixture.address, &path).await;
        let blocks = blocks(response.text());
        let reset = &blocks[0];
        assert_eq!(
            (reset.id, reset.event.as_deref()),
            (None, Some("reset")),
            "{path}"
        );
        assert_eq!(
            reset.data.as_deref(),
            Some(format!(r#"{{"epoch":"{epoch}","last_event_id":{end}}}"#).as_str())
        );
        assert_eq!(ids(response.text()), (1..=end).collect::<Vec<_>>());
        let lines = get(fixture.address, &format!("{path}&format=ndjson")).await;
        assert!(
            lines.text().starts_with("{\"type\":\"reset\",\"epoch\":"),
            "{}",
            lines.text()
        );
    }
    let same = get(
        fixture.address,
        &format!("/events?after={end}&epoch={epoch}"),
    )
    .await;
    assert_eq!(same.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_ahead_of_a_live_log_gets_a_reset_and_then_live_events() {
    let fixture = Fixture::start();
    fixture.push(note("2")).await;
    let mut client = Client::tcp(fixture.address).await;
    client
        .request("GET /events", &[("last-event-id", "50")])
        .await;
    assert_eq!(client.head().await.unwrap().status, 200);
    let mut body = client.body_until("id: 2\n").await;
    fixture.push(action(1)).await;
    body.push_str(&client.body_until("id: 3\n").await);
    assert_eq!(blocks(&body)[0].event.as_deref(), Some("reset"));
    assert_eq!(ids(&body), [1, 2, 3]);
}

/// Regression 4 of SEED.md: two actions shared an id, and resuming lost the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_actions_with_the_same_step_of_the_agent_have_their_own_ids() {
    let fixture = Fixture::start();
    fixture.push(action_of(1, Some(1), "")).await;
    fixture.push(action_of(2, Some(1), "")).await;
    fixture.complete().await;
    let response = get(fixture.address, "/events?types=action&after=2").await;
    let (first, second) = (&blocks(response.text())[0], &blocks(response.text())[1]);
    assert_eq!((first.id, second.id), (Some(3), Some(4)));
    assert!(first.data.as_ref().unwrap().contains("\"agent_step\":1"));
}

/// Regression 6 of SEED.md: an `EventSource` that has seen the end is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_terminal_event_gets_204_and_who_lacks_it_gets_it_again() {
    let fixture = Fixture::start();
    let end = fixture.complete().await;
    for path in [
        "/events",
        "/events?types=action",
        "/events?format=ndjson",
        "/events?format=ndjson&wait=5",
    ] {
        let id = end.to_string();
        let response = exchange(
            fixture.address,
            &format!("GET {path}"),
            &[("last-event-id", &id)],
        )
        .await;
        assert_eq!((response.status, response.body.len()), (204, 0), "{path}");
        let before = (end - 1).to_string();
        let response = exchange(
            fixture.address,
            &format!("GET {path}"),
            &[("last-event-id", &before)],
        )
        .await;
        assert!(response.text().contains("\"type\":\"complete\""), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_event_is_told_in_a_gap_frame() {
    let fixture = Fixture::with(Setup {
        options: LogOptions {
            tail_bytes: 1,
            ..LogOptions::default()
        },
        ..Setup::default()
    });
    for n in 0..3 {
        fixture.push(note(format!("{n}"))).await;
    }
    let end = fixture.complete().await;
    let lines = fixture.lines();
    let offset: usize = lines[..2].iter().map(|line| line.len() + 1).sum();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(fixture.dir.path().join("events.jsonl"))
        .unwrap();
    file.write_all_at("x".repeat(lines[2].len()).as_bytes(), offset as u64)
        .unwrap();
    let response = get(fixture.address, "/events?types=action").await;
    let gap = blocks(response.text())
        .into_iter()
        .find(|block| block.event.as_deref() == Some("gap"))
        .unwrap();
    assert_eq!(
        (gap.id, gap.data.as_deref()),
        (None, Some(r#"{"from":3,"to":3}"#))
    );
    let response = get(fixture.address, "/events").await;
    assert_eq!(ids(response.text()), [1, 2, 4, end]);
    let response = get(fixture.address, "/events?format=ndjson").await;
    assert!(
        response
            .text()
            .contains("\n{\"type\":\"gap\",\"from\":3,\"to\":3}\n")
    );
}
