//! Router, specification and documentation say the same.

use std::collections::BTreeSet;

use super::client::{exchange, get};
use super::fixture::{CONTROL_TOKEN, Fixture, note};
use crate::api::openapi::specification;
use crate::api::problem::ProblemCode;
use crate::api::route::Route;
use crate::api::{Readiness, limits};
use crate::event::EventType;

const API_DOC: &str = include_str!("../../../docs/api.md");

#[test]
fn router_and_specification_list_the_same_routes() {
    let specified: BTreeSet<_> = specification().paths.paths.keys().cloned().collect();
    let routed: BTreeSet<_> = Route::ALL.map(|route| route.template().to_owned()).into();
    assert_eq!(specified, routed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_reaches_its_handler() {
    let mut fixture = Fixture::start();
    fixture.calls.close();
    fixture.complete().await;
    let token = format!("Bearer {CONTROL_TOKEN}");
    for route in Route::ALL {
        let path = route
            .template()
            .replace("{*path}", "x")
            .replace("{*file}", "x");
        let method = if route.allow().starts_with("POST") {
            "POST"
        } else {
            "GET"
        };
        let headers = [("authorization", token.as_str()), ("content-length", "0")];
        let response = exchange(fixture.address, &format!("{method} {path}"), &headers).await;
        let expected = match route {
            Route::Artifact | Route::RecordingTrace | Route::RecordingScreenshot => 404,
            Route::Readyz => 503,
            // Of a run that has ended.
            Route::Pause | Route::Resume => 409,
            _ => 200,
        };
        assert_eq!(response.status, expected, "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        if expected == 404 {
            assert!(
                response.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("artifact"),
                "{path}"
            );
        }
    }
}

#[test]
fn the_documentation_lists_every_route_code_type_and_limit() {
    for route in Route::ALL {
        let path = format!("`{}`", route.template());
        let line = API_DOC
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&path));
        assert!(line.is_some(), "docs/api.md has no row for {path}");
    }
    for code in ProblemCode::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
        assert!(API_DOC.contains(&row), "docs/api.md lacks {row}");
    }
    for event_type in EventType::ALL {
        let row = format!("| `{}` |", event_type.as_str());
        let example = format!("\"type\":\"{}\"", event_type.as_str());
        assert!(
            API_DOC.contains(&row) && API_DOC.contains(&example),
            "docs/api.md lacks {row} or its example"
        );
    }
    let seconds = |limit: std::time::Duration| format!("{} s |", limit.as_secs());
    for (name, value) in [
        ("connections of one listener", "8,192 |".to_owned()),
        (
            "request line and headers",
            format!("{} KiB |", limits::MAX_HEADER_BYTES / 1024),
        ),
        ("time for the headers", seconds(limits::HEADER_LIMIT)),
        ("idle connection", seconds(limits::KEEP_ALIVE_LIMIT)),
        (
            "request body",
            format!("{} KiB |", limits::MAX_BODY_BYTES / 1024),
        ),
        ("time for the body", seconds(limits::BODY_LIMIT)),
        ("time for an answer", seconds(limits::REQUEST_LIMIT)),
        ("long-poll", seconds(limits::MAX_WAIT)),
        ("write stall", seconds(limits::WRITE_STALL_LIMIT)),
        ("heartbeat", seconds(limits::HEARTBEAT)),
        ("drain without progress", seconds(limits::DRAIN_STALL_LIMIT)),
        ("drain in all", seconds(limits::DRAIN_LIMIT)),
        ("reason of a stop", "1,024 characters |".to_owned()),
    ] {
        let row = format!("| {name} | {value}");
        assert!(API_DOC.contains(&row), "docs/api.md lacks {row}");
    }
}

#[test]
fn the_examples_in_the_documentation_are_events() {
    let mut n_examples = 0;
    for line in API_DOC.lines().filter(|line| line.starts_with("{\"seq\":")) {
        serde_json::from_str::<crate::event::Event>(line)
            .unwrap_or_else(|error| panic!("{error} in {line}"));
        n_examples += 1;
    }
    assert_eq!(n_examples, EventType::ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_and_metrics_follow_the_run() {
    let fixture = Fixture::start();
    for (readiness, status) in [
        (Readiness::Starting, 503),
        (Readiness::Ready, 200),
        (Readiness::Ended, 503),
    ] {
        fixture.readiness.send(readiness).unwrap();
        assert_eq!(get(fixture.address, "/readyz").await.status, status);
        assert_eq!(get(fixture.address, "/healthz").await.text(), "ok\n");
    }
    fixture.push(note("one")).await;
    let metrics = get(fixture.address, "/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(
        metrics
            .text()
            .contains("stockade_http_requests_total{route=\"/readyz\",status=\"5xx\"} 2")
    );
    let bytes = std::fs::metadata(fixture.dir.path().join("events.jsonl"))
        .unwrap()
        .len();
    assert!(
        metrics
            .text()
            .contains(&format!("stockade_log_bytes {bytes}\n")),
        "{}",
        metrics.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_may_run_its_own_script_only() {
    let fixture = Fixture::start();
    let page = get(fixture.address, "/").await;
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy
        .split("script-src 'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert!(policy.starts_with("default-src 'none';") && nonce.len() == 32);
    assert_eq!(
        page.text().matches(&format!("nonce=\"{nonce}\"")).count(),
        2
    );
    assert!(!page.text().contains("{{nonce}}"));
    assert_ne!(
        get(fixture.address, "/")
            .await
            .header("content-security-policy"),
        Some(policy)
    );
}
