//! The end of the API.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, get, ids};
use super::fixture::{Fixture, action_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_readers_waits_and_idle_connections_end_at_once() {
    let fixture = Fixture::start();
    let address = fixture.address;
    let mut reader = Client::tcp(address).await;
    reader.request("GET /events", &[]).await;
    reader.head().await.unwrap();
    reader.body_until("id: 1\n").await;
    let mut waiting = Client::tcp(address).await;
    waiting.request("GET /status?wait=60", &[]).await;
    let mut polling = Client::tcp(address).await;
    polling
        .request("GET /events?format=ndjson&wait=60&after=1", &[])
        .await;
    let mut idle = Client::tcp(address).await;
    idle.request("GET /healthz", &[]).await;
    idle.response("GET").await.unwrap();
    let silent = Client::tcp(address).await;
    super::fixture::until(|| fixture.metrics.traffic.connections_open.get() == 5).await;
    super::fixture::until(|| fixture.metrics.traffic.readers_connected.get() == 2).await;
    let started = Instant::now();
    let drained = fixture.shut_down().await;
    // The silent connection never began a request; whatever is done with it, nothing is waited for in vain.
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert!(drained.n_cut <= 1, "{drained:?}");
    assert_eq!(reader.chunk().await, None);
    assert_eq!(waiting.response("GET").await.unwrap().status, 200);
    assert_eq!(polling.response("GET").await.unwrap().body, b"");
    drop(silent);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_get_the_end_before_the_drain_ends() {
    let fixture = Fixture::start();
    let address = fixture.address;
    let mut reader = Client::tcp(address).await;
    reader.request("GET /events", &[]).await;
    reader.head().await.unwrap();
    for step in 1..=1_000 {
        fixture
            .log
            .append(action_of(step, None, "x"))
            .await
            .unwrap();
    }
    let end = fixture.complete().await;
    let served = fixture.shut_down();
    let reading = async {
        let mut body = String::new();
        while let Some(chunk) = reader.chunk().await {
            body.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        body
    };
    let (drained, body) = tokio::join!(served, reading);
    assert_eq!(drained.n_cut, 0);
    assert_eq!(ids(&body), (1..=end).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_cut_after_two_seconds() {
    let fixture = Fixture::start();
    let mut stalled = Client::tcp(fixture.address).await;
    stalled.request("GET /events", &[]).await;
    stalled.head().await.unwrap();
    for step in 1..=3_000 {
        fixture
            .log
            .append(action_of(step, None, &"x".repeat(10_000)))
            .await
            .unwrap();
    }
    fixture.complete().await;
    assert_eq!(get(fixture.address, "/healthz").await.status, 200);
    let started = Instant::now();
    let drained = fixture.shut_down().await;
    let took = started.elapsed();
    assert_eq!(drained.n_cut, 1);
    assert!(
        took >= Duration::from_millis(1_900) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_trickles_is_cut_after_four_seconds() {
    let fixture = Fixture::start();
    let mut slow = Client::tcp(fixture.address).await;
    slow.request("GET /events", &[]).await;
    slow.head().await.unwrap();
    for step in 1..=6_000 {
        fixture
            .log
            .append(action_of(step, None, &"x".repeat(20_000)))
            .await
            .unwrap();
    }
    fixture.complete().await;
    let started = Instant::now();
    let served = fixture.shut_down();
    let trickling = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            if !slow.fill().await {
                return;
            }
        }
    };
    let drained = tokio::select! {
        drained = served => drained,
        () = trickling => panic!("the reader was cut before the drain ended"),
    };
    let took = started.elapsed();
    assert_eq!(drained.n_cut, 1);
    assert!(
        took >= Duration::from_millis(3_900) && took < Duration::from_secs(8),
        "{took:?}"
    );
}
