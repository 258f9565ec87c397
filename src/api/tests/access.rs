//! Who may do what, on which listener, from which page.

use super::client::{Client, exchange, get, post};
use super::fixture::{CONTROL_TOKEN, Fixture, READ_TOKEN, Setup};
use crate::api::{Auth, Reach};

fn exposed() -> Fixture {
    Fixture::with(Setup {
        reach: Reach::Exposed,
        ..Setup::default()
    })
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

const READ_ROUTES: [&str; 7] = [
    "/status",
    "/events",
    "/artifacts",
    "/artifacts/x",
    "/recording/trace",
    "/metrics",
    "/openapi.json",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_exposed_listener_reading_needs_a_token_and_health_does_not() {
    let fixture = exposed();
    for path in READ_ROUTES {
        let response = get(fixture.address, path).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (401, "UNAUTHORIZED"),
            "{path}"
        );
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    for token in [READ_TOKEN, CONTROL_TOKEN] {
        let headers = [("authorization", bearer(token))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        assert_eq!(
            exchange(fixture.address, "GET /status", &headers)
                .await
                .status,
            200
        );
    }
    assert_eq!(get(fixture.address, "/healthz").await.text(), "ok\n");
    assert_eq!(get(fixture.address, "/readyz").await.code(), "NOT_READY");
    assert_eq!(get(fixture.address, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_private_listener_reading_is_open_and_control_is_not() {
    let fixture = Fixture::start();
    for path in READ_ROUTES.iter().filter(|path| **path != "/events") {
        assert_ne!(get(fixture.address, path).await.status, 401, "{path}");
    }
    let none = post(fixture.address, "/stop", &[], "").await;
    assert_eq!((none.status, none.code().as_str()), (401, "UNAUTHORIZED"));
    let read = bearer(READ_TOKEN);
    let lacking = post(fixture.address, "/stop", &[("authorization", &read)], "").await;
    assert_eq!(
        (lacking.status, lacking.code().as_str()),
        (403, "FORBIDDEN")
    );
    let wrong = exchange(
        fixture.address,
        "GET /status",
        &[("authorization", "Bearer nonsense")],
    )
    .await;
    assert_eq!(wrong.code(), "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_open_on_the_socket_and_where_no_auth_was_asked_for() {
    let mut fixture = Fixture::with(Setup {
        socket: Some(Reach::Private),
        reach: Reach::Exposed,
        ..Setup::default()
    });
    fixture.calls.close();
    let mut client = Client::unix(&fixture.socket).await;
    client
        .request(
            "POST /stop",
            &[("host", "whatever"), ("content-length", "0")],
        )
        .await;
    assert_eq!(client.response("POST").await.unwrap().status, 200);
    let mut insecure = Fixture::with(Setup {
        auth: Auth::insecure(),
        reach: Reach::Exposed,
        ..Setup::default()
    });
    insecure.calls.close();
    assert_eq!(get(insecure.address, "/status").await.status, 200);
    assert_eq!(post(insecure.address, "/stop", &[], "").await.status, 200);
}

/// Regression: the workload of a run without isolation could stop it, and any other of its user, through the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_socket_that_the_workload_reaches_control_needs_a_token() {
    let mut fixture = Fixture::with(Setup {
        socket: Some(Reach::Exposed),
        ..Setup::default()
    });
    fixture.calls.close();
    let control = bearer(CONTROL_TOKEN);
    let empty = ("content-length", "0");
    for (line, more, expected) in [
        ("GET /status", None, 200),
        ("POST /stop", None, 401),
        ("POST /stop", Some(("authorization", control.as_str())), 200),
    ] {
        let headers: Vec<_> = more.into_iter().chain([empty]).collect();
        let mut client = Client::unix(&fixture.socket).await;
        client.request(line, &headers).await;
        let response = client.response("POST").await.unwrap();
        assert_eq!(response.status, expected, "{line}");
    }
}

/// Regression 8 of SEED.md: it was a 500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_08_a_bearer_token_that_is_not_ascii_is_401() {
    let fixture = exposed();
    for value in [
        b"Bearer \xff\xfe\x80".as_slice(),
        "Bearer pässwörd".as_bytes(),
        b"Bearer",
        b"\xff",
    ] {
        let mut client = Client::tcp(fixture.address).await;
        client
            .send(b"GET /status HTTP/1.1\r\nhost: localhost\r\nauthorization: ")
            .await;
        client.send(value).await;
        client.send(b"\r\n\r\n").await;
        assert_eq!(client.response("GET").await.unwrap().code(), "UNAUTHORIZED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_ours_is_421_on_every_route() {
    let fixture = Fixture::start();
    for host in [
        "evil.example",
        "localhost.evil.example:8090",
        "10.9.8.7",
        "",
    ] {
        for path in ["/healthz", "/status", "/nowhere"] {
            let response =
                exchange(fixture.address, &format!("GET {path}"), &[("host", host)]).await;
            assert_eq!(
                (response.status, response.code().as_str()),
                (421, "MISDIRECTED_HOST"),
                "{host}"
            );
        }
    }
    let address = fixture.address.to_string();
    for host in [
        "localhost",
        "LocalHost:1",
        "127.0.0.1",
        "[::1]:7",
        address.as_str(),
    ] {
        assert_eq!(
            exchange(fixture.address, "GET /healthz", &[("host", host)])
                .await
                .status,
            200,
            "{host}"
        );
    }
    let absolute = exchange(fixture.address, "GET http://evil.example/status", &[]).await;
    assert_eq!(absolute.code(), "MISDIRECTED_HOST");
    let mut client = Client::tcp(fixture.address).await;
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.response("GET").await.unwrap().code(), "BAD_REQUEST");
    let twice = exchange(
        fixture.address,
        "GET /healthz",
        &[("host", "localhost"), ("host", "localhost")],
    )
    .await;
    assert_eq!(twice.code(), "BAD_REQUEST");
}

/// Regression: behind the name of a service, a listener on all addresses refused its own tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_by_every_name_and_nothing_else_does() {
    let mut fixture = exposed();
    fixture.calls.close();
    let (read, control) = (bearer(READ_TOKEN), bearer(CONTROL_TOKEN));
    let host = ("host", "my-svc.ns.svc:8090");
    let status = async |more: &[(&str, &str)]| {
        let headers: Vec<_> = [host].iter().chain(more).copied().collect();
        exchange(fixture.address, "GET /status", &headers)
            .await
            .status
    };
    assert_eq!(status(&[("authorization", &read)]).await, 200);
    assert_eq!(
        status(&[("authorization", "Bearer not-a-token")]).await,
        421
    );
    assert_eq!(status(&[]).await, 421);
    let foreign = [
        ("authorization", read.as_str()),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(status(&foreign).await, 403);
    let stop = [host, ("authorization", control.as_str())];
    assert_eq!(post(fixture.address, "/stop", &stop, "").await.status, 200);
    let login = post(fixture.address, "/session", &stop, "").await;
    assert_eq!(login.status, 200);
    let cookie = login
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let page = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    assert_eq!(status(&page).await, 421);
    let absolute = [("authorization", read.as_str())];
    let line = "GET http://my-svc.ns.svc/status";
    assert_eq!(exchange(fixture.address, line, &absolute).await.status, 200);
    let insecure = Fixture::with(Setup {
        auth: Auth::insecure(),
        ..Setup::default()
    });
    let shown = [host, ("authorization", read.as_str())];
    let response = exchange(insecure.address, "GET /status", &shown).await;
    assert_eq!(response.code(), "MISDIRECTED_HOST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_origin_is_refused_and_our_own_is_not() {
    let fixture = Fixture::start();
    let host = fixture.address.to_string();
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "file://",
        "http://127.0.0.1",
    ] {
        let headers = [("host", host.as_str()), ("origin", origin)];
        let response = exchange(fixture.address, "GET /status", &headers).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (403, "FOREIGN_ORIGIN"),
            "{origin}"
        );
    }
    for scheme in ["http", "https"] {
        let own = format!("{scheme}://{host}");
        let headers = [("host", host.as_str()), ("origin", own.as_str())];
        assert_eq!(
            exchange(fixture.address, "GET /status", &headers)
                .await
                .status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_trades_its_token_for_a_cookie_that_counts_for_itself_only() {
    let mut fixture = exposed();
    fixture.calls.close();
    let host = fixture.address.to_string();
    let (own, control) = (format!("http://{host}"), bearer(CONTROL_TOKEN));
    let login = [
        ("host", host.as_str()),
        ("origin", own.as_str()),
        ("authorization", control.as_str()),
    ];
    let response = post(fixture.address, "/session", &login, "").await;
    assert_eq!(
        (response.status, response.text()),
        (200, r#"{"scope":"control"}"#)
    );
    let cookie = response.header("set-cookie").unwrap();
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/") && !cookie.contains(CONTROL_TOKEN)
    );
    let pair = cookie.split(';').next().unwrap().to_owned();
    let base = [("host", host.as_str()), ("cookie", pair.as_str())];
    for (more, on_read, on_stop) in [
        (Some(("origin", own.as_str())), 200, 200),
        (Some(("sec-fetch-site", "same-origin")), 200, 200),
        (Some(("sec-fetch-site", "same-site")), 401, 401),
        (Some(("sec-fetch-site", "cross-site")), 401, 401),
        (None, 200, 401),
    ] {
        let headers: Vec<_> = base.into_iter().chain(more).collect();
        assert_eq!(
            exchange(fixture.address, "GET /status", &headers)
                .await
                .status,
            on_read,
            "{more:?}"
        );
        assert_eq!(
            post(fixture.address, "/stop", &headers, "").await.status,
            on_stop,
            "{more:?}"
        );
    }
    // A cookie opens no session, and is worth nothing elsewhere.
    assert_eq!(
        post(fixture.address, "/session", &base, "").await.status,
        401
    );
    assert_eq!(
        exchange(exposed().address, "GET /status", &[("cookie", &pair)])
            .await
            .status,
        401
    );
}
