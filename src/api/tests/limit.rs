//! Every limit, reached.

use std::time::Duration;

use super::client::{Client, exchange, get, post};
use super::fixture::{CONTROL_TOKEN, Fixture, Setup, action_of, until};
use crate::api::limits::{MAX_BODY_BYTES, MAX_HEADER_BYTES};
use crate::api::{Limits, Reach};

const SHORT: Duration = Duration::from_millis(150);

fn with(limits: Limits) -> Fixture {
    Fixture::with(Setup {
        limits,
        ..Setup::default()
    })
}

/// Reads to the end of the connection, which must come.
async fn end_of(client: &mut Client) {
    while client.fill().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_headers_do_not_end_is_cut_while_others_are_served() {
    let fixture = with(Limits {
        header: SHORT,
        ..Limits::default()
    });
    let mut slow = Client::tcp(fixture.address).await;
    slow.send(b"GET /status HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        .await;
    assert_eq!(get(fixture.address, "/healthz").await.status, 200);
    end_of(&mut slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_requests_is_closed() {
    let fixture = with(Limits {
        keep_alive: SHORT,
        ..Limits::default()
    });
    let mut fresh = Client::tcp(fixture.address).await;
    end_of(&mut fresh).await;
    let mut used = Client::tcp(fixture.address).await;
    used.request("GET /healthz", &[]).await;
    assert_eq!(used.response("GET").await.unwrap().status, 200);
    end_of(&mut used).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_is_not_an_idle_connection() {
    let fixture = with(Limits {
        keep_alive: SHORT,
        header: SHORT,
        ..Limits::default()
    });
    let mut client = Client::tcp(fixture.address).await;
    client.request("GET /events?types=action", &[]).await;
    client.head().await.unwrap();
    let mut idle = Client::tcp(fixture.address).await;
    end_of(&mut idle).await;
    fixture.push(action_of(1, None, "")).await;
    client.body_until("click 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_beyond_the_limit_are_431() {
    let fixture = Fixture::start();
    let mut client = Client::tcp(fixture.address).await;
    let big = "x".repeat(MAX_HEADER_BYTES);
    client.request("GET /healthz", &[("x-big", &big)]).await;
    assert_eq!(client.head().await.unwrap().status, 431);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_limit_is_413_declared_or_not() {
    let fixture = Fixture::start();
    let token = format!("Bearer {CONTROL_TOKEN}");
    let length = (MAX_BODY_BYTES + 1).to_string();
    let declared = [
        ("authorization", token.as_str()),
        ("content-length", length.as_str()),
    ];
    let response = exchange(fixture.address, "POST /stop", &declared).await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    let mut client = Client::tcp(fixture.address).await;
    let chunked = [
        ("authorization", token.as_str()),
        ("transfer-encoding", "chunked"),
    ];
    client.request("POST /stop", &chunked).await;
    client
        .send(format!("{:x}\r\n", MAX_BODY_BYTES + 1).as_bytes())
        .await;
    client.send(&vec![b' '; MAX_BODY_BYTES + 1]).await;
    assert_eq!(
        client.response("POST").await.unwrap().code(),
        "PAYLOAD_TOO_LARGE"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_408() {
    let fixture = with(Limits {
        body: SHORT,
        ..Limits::default()
    });
    let token = format!("Bearer {CONTROL_TOKEN}");
    let headers = [("authorization", token.as_str()), ("content-length", "10")];
    let response = exchange(fixture.address, "POST /stop", &headers).await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (408, "REQUEST_TIMEOUT")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_too_long_is_503() {
    // Nobody takes the session's calls, so the stop waits for ever.
    let fixture = with(Limits {
        request: SHORT,
        ..Limits::default()
    });
    let token = format!("Bearer {CONTROL_TOKEN}");
    let response = post(fixture.address, "/stop", &[("authorization", &token)], "").await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (503, "TIMED_OUT")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_told_to_come_back_and_the_socket_is_not_shut() {
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let fixture = Fixture::with(Setup {
        limits,
        socket: Some(Reach::Private),
        ..Setup::default()
    });
    let mut first = Client::tcp(fixture.address).await;
    first.request("GET /events", &[]).await;
    first.head().await.unwrap();
    let second = Client::tcp(fixture.address).await;
    until(|| fixture.metrics.traffic.connections_open.get() == 2).await;
    let mut third = Client::tcp(fixture.address).await;
    let refused = third.response("GET").await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "TOO_MANY_CONNECTIONS")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(fixture.metrics.traffic.connections_refused.get(), 1);
    let mut operator = Client::unix(&fixture.socket).await;
    operator.request("GET /status", &[]).await;
    assert_eq!(operator.response("GET").await.unwrap().status, 200);
    drop((first, second, operator));
    until(|| fixture.metrics.traffic.connections_open.get() == 0).await;
    assert_eq!(get(fixture.address, "/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_accepts_no_byte_is_cut() {
    // The kernel gives up a TCP connection by itself, and no other.
    for is_tcp in [true, false] {
        let fixture = Fixture::with(Setup {
            limits: Limits {
                write_stall: SHORT,
                ..Limits::default()
            },
            socket: Some(Reach::Private),
            ..Setup::default()
        });
        let mut stalled = match is_tcp {
            true => Client::tcp(fixture.address).await,
            false => Client::unix(&fixture.socket).await,
        };
        stalled.request("GET /events", &[]).await;
        stalled.head().await.unwrap();
        for step in 1..=3_000 {
            fixture
                .log
                .append(action_of(step, None, &"x".repeat(10_000)))
                .await
                .unwrap();
        }
        until(|| fixture.metrics.traffic.slow_readers_cut.get() == 1).await;
        until(|| fixture.metrics.traffic.readers_connected.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_methods_are_405_and_head_and_options_are_answered() {
    let fixture = Fixture::start();
    for line in [
        "POST /status",
        "DELETE /events",
        "PUT /artifacts",
        "GET /stop",
        "PATCH /",
    ] {
        let response = exchange(fixture.address, line, &[]).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (405, "METHOD_NOT_ALLOWED"),
            "{line}"
        );
        assert!(response.header("allow").is_some());
    }
    for path in [
        "/status",
        "/events",
        "/healthz",
        "/",
        "/metrics",
        "/events?format=ndjson&wait=60",
        "/status?wait=60",
    ] {
        let response = exchange(fixture.address, &format!("HEAD {path}"), &[]).await;
        assert_eq!((response.status, response.body.len()), (200, 0), "{path}");
    }
    let options = exchange(fixture.address, "OPTIONS /status", &[]).await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(
        exchange(fixture.address, "OPTIONS /stop", &[])
            .await
            .header("allow"),
        Some("POST, OPTIONS")
    );
    until(|| fixture.metrics.traffic.readers_connected.get() == 0).await;
}
