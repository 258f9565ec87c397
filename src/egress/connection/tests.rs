//! The proxy as its clients see it, on loopback, between real sockets.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::egress::proxy::MAX_CONNECTIONS;
use crate::egress::resolver::Resolver;
use crate::egress::{Egress, Policy, Record};
use crate::event::{Event, Network, NetworkDecision};
use crate::log::{ActionLog, LogOptions, LogThreads, Observer, Written, create};
use crate::redact::Redactor;

/// The longest that a test waits for anything.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Network>>);

impl Observer for Seen {
    fn written(&self, written: Written) {
        for entry in &written.entries {
            if let Event::Network(network) = &entry.event {
                self.0.lock().unwrap().push(network.clone());
            }
        }
    }
}

/// A proxy with the given rules, and what it records.
struct Fixture {
    egress: Option<Egress>,
    address: std::net::SocketAddr,
    log: ActionLog,
    seen: Arc<Seen>,
    directory: tempfile::TempDir,
    _threads: LogThreads,
}

impl Fixture {
    fn start(rules: &[String]) -> Self {
        Self::with_hosts(rules, "")
    }

    fn with_hosts(rules: &[String], hosts: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let seen = Arc::new(Seen::default());
        let (log, _, threads) = create(
            std::fs::File::open(directory.path()).unwrap().into(),
            "run-1".parse().unwrap(),
            LogOptions::default(),
            Redactor::default(),
            Arc::clone(&seen) as _,
        )
        .unwrap();
        std::fs::write(directory.path().join("hosts"), hosts).unwrap();
        let resolver = Resolver::with(
            &directory.path().join("hosts"),
            &directory.path().join("absent"),
            1,
        );
        let policy = Policy {
            allow: rules.to_vec().try_into().unwrap(),
            block: vec!["blocked.example".to_owned()].try_into().unwrap(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own_api = Some("127.0.0.1:8090".parse().unwrap());
        let egress = Egress::start(
            listener.into(),
            policy,
            resolver,
            own_api,
            Record::Log(log.clone()),
        );
        Self {
            egress: Some(egress.unwrap()),
            address,
            log,
            seen,
            directory,
            _threads: threads,
        }
    }

    /// Sends `bytes` and reads until the proxy ends the connection.
    async fn ask(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// Ends the proxy and gives everything that it recorded.
    async fn end(mut self) -> Vec<Network> {
        self.egress.take().unwrap().end().await;
        assert!(self.log.synced(self.log.last_seq(), PATIENCE).await);
        drop(self.directory);
        let seen = self.seen.0.lock().unwrap();
        seen.clone()
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

/// A server that answers each connection with `answer` once it has read so far as `until`, and tells what it was sent.
struct Origin {
    address: std::net::SocketAddr,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    async fn start(until: &'static str, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&sent);
        let serving = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = Vec::new();
                let mut buffer = [0; 1_024];
                while !text.ends_with(until.as_bytes()) {
                    match stream.read(&mut buffer).await {
                        Ok(n_bytes @ 1..) => text.extend_from_slice(&buffer[..n_bytes]),
                        Ok(_) | Err(_) => break,
                    }
                }
                own.lock().unwrap().push(String::from_utf8(text).unwrap());
                // A client may be gone by then.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        };
        tokio_util::task::TaskTracker::new().spawn(serving);
        Self { address, sent }
    }

    fn rule(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=9\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nsplit";

#[tokio::test]
async fn a_plain_request_is_passed_on_once_and_no_byte_behind_it() {
    let origin = Origin::start("end", OK).await;
    let fixture = Fixture::start(&origin.rule());
    let address = origin.address;
    let answer = fixture
        .ask(&format!(
            "POST http://{address}/p HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\n\r\nendGET http://{address}/smuggled HTTP/1.1\r\nHost: {address}\r\n\r\n"
        ))
        .await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 stockade\r\nConnection: close\r\n\r\nok"
    );
    let expected = format!(
        "POST /p HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\nVia: 1.1 stockade\r\nConnection: close\r\n\r\nend"
    );
    assert_eq!(origin.sent(), [expected.as_str()]);
    let events = fixture.end().await;
    assert_eq!(events.len(), 2, "{events:?}");
    let decided = &events[0];
    assert_eq!(decided.decision, NetworkDecision::Allow);
    assert_eq!(decided.target(), address.to_string());
    assert_eq!(decided.rule, Some(address.to_string()));
    assert_eq!(decided.address.as_deref(), Some("127.0.0.1"));
    assert_eq!((decided.count, decided.closed), (1, 0));
    let ended = &events[1];
    let bytes = (ended.bytes_sent, ended.bytes_received);
    assert_eq!((ended.count, ended.closed), (0, 1));
    assert_eq!(bytes, (expected.len() as u64, answer.len() as u64));
}

#[tokio::test]
async fn a_chunked_request_and_an_interim_response_pass() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nX";
    let origin = Origin::start("0\r\n\r\n", answer).await;
    let fixture = Fixture::start(&origin.rule());
    let address = origin.address;
    let answer = fixture
        .ask(&format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert!(
        answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_what_came_with_its_request() {
    let origin = Origin::start("ping", "pong").await;
    let fixture = Fixture::start(&origin.rule());
    let address = origin.address;
    let answer = fixture
        .ask(&format!(
            "CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nping"
        ))
        .await;
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\npong");
    assert_eq!(origin.sent(), ["ping"]);
    let events = fixture.end().await;
    let ended = events.last().unwrap();
    assert_eq!((ended.bytes_sent, ended.bytes_received), (4, 4));
}

#[tokio::test]
async fn what_is_not_allowed_is_answered_with_the_reason_and_never_dialled() {
    let origin = Origin::start("\r\n\r\n", OK).await;
    let port = origin.address.port();
    let rules = [
        "*".to_owned(),
        format!("*:{port}"),
        format!("127.0.0.2:{port}"),
        "127.0.0.1:8090".to_owned(),
    ];
    let hosts =
        "127.0.0.1 rebound.example\n169.254.169.254 metadata.example\n10.0.0.1 private.example\n";
    let fixture = Fixture::with_hosts(&rules, hosts);
    for (target, code) in [
        (format!("127.0.0.1:{port}"), "port"),
        (format!("[::1]:{port}"), "no-rule"),
        (format!("[::ffff:127.0.0.1]:{port}"), "port"),
        ("127.0.0.2:81".to_owned(), "port"),
        ("a.example:22".to_owned(), "port"),
        (format!("rebound.example:{port}"), "special-address"),
        ("metadata.example:80".to_owned(), "special-address"),
        ("private.example:80".to_owned(), "special-address"),
        (format!("localhost:{port}"), "special-address"),
        ("blocked.example:443".to_owned(), "blocked"),
        ("www.blocked.example.:443".to_owned(), "blocked"),
        ("127.0.0.1:8090".to_owned(), "status-api"),
    ] {
        let plain = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let tunnel = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        for request in [plain, tunnel] {
            let answer = fixture.ask(&request).await;
            let status = format!("HTTP/1.1 403 Denied by Stockade: {code}\r\n");
            assert!(answer.starts_with(&status), "{request:?}: {answer}");
            let field = format!("\r\nX-Stockade-Denied: {code}\r\n");
            assert!(answer.contains(&field), "{answer}");
            assert!(answer.contains("Denied by Stockade: "), "{answer}");
        }
    }
    assert_eq!(origin.sent(), Vec::<String>::new());
    let events = fixture.end().await;
    assert!(
        events
            .iter()
            .all(|event| event.decision == NetworkDecision::Deny)
    );
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 24);
}

#[tokio::test]
async fn requests_that_could_mean_two_things_are_refused_before_any_rule_is_looked_at() {
    let origin = Origin::start("\r\n\r\n", OK).await;
    let fixture = Fixture::start(&origin.rule());
    let address = origin.address;
    for request in [
        format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: other.example\r\n\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\nA: b\r\n c\r\n\r\n"),
        format!("GET http://{address}/ HTTP/1.1\nHost: {address}\n\n"),
        format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        "CONNECT a@b:443 HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let answer = fixture.ask(&request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{request:?}: {answer}"
        );
    }
    let large = format!(
        "GET http://{address}/ HTTP/1.1\r\nA: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    assert!(fixture.ask(&large).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(origin.sent(), Vec::<String>::new());
    let events = fixture.end().await;
    assert!(
        events
            .iter()
            .all(|event| event.decision == NetworkDecision::Error)
    );
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 7);
}

#[tokio::test]
async fn an_origin_that_is_not_there_or_answers_nonsense_is_told() {
    let nonsense = Origin::start("\r\n\r\n", "200 OK\r\n\r\n").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let absent = closed.local_addr().unwrap();
    drop(closed);
    let rules = [
        nonsense.address.to_string(),
        absent.to_string(),
        "a.example".to_owned(),
    ];
    let fixture = Fixture::start(&rules);
    for (target, status) in [
        (nonsense.address.to_string(), "HTTP/1.1 502 Bad Gateway\r\n"),
        (absent.to_string(), "HTTP/1.1 502 Not Reachable\r\n"),
        ("a.example".to_owned(), "HTTP/1.1 502 Name Not Resolved\r\n"),
    ] {
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = fixture.ask(&request).await;
        assert!(answer.starts_with(status), "{answer}");
    }
    let reasons: Vec<_> = fixture
        .end()
        .await
        .into_iter()
        .map(|event| event.reason)
        .collect();
    assert!(
        reasons.contains(&Some("unreachable".to_owned())),
        "{reasons:?}"
    );
    assert!(
        reasons.contains(&Some("unresolved".to_owned())),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_a_place_that_is_left_is_taken() {
    let fixture = Fixture::start(&[]);
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        held.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    let request = "CONNECT a.example:443 HTTP/1.1\r\n\r\n";
    let beyond = fixture.ask(request).await;
    assert!(beyond.starts_with("HTTP/1.1 503 "), "{beyond}");
    drop(held.pop());
    let served = async {
        loop {
            let answer = fixture.ask(request).await;
            if answer.starts_with("HTTP/1.1 403 ") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_request_is_let_go() {
    let fixture = Fixture::start(&[]);
    // Time passes by itself when nothing else happens.
    let answer = fixture.ask("CONNECT a.example:443 HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn the_end_cuts_open_tunnels_and_records_what_they_carried() {
    let origin = Origin::start("never", "").await;
    let fixture = Fixture::start(&origin.rule());
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let request = format!("CONNECT {} HTTP/1.1\r\n\r\nabc", origin.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut established = [0; 39];
    stream.read_exact(&mut established).await.unwrap();
    let events = fixture.end().await;
    assert_eq!(read_all(&mut stream).await, "");
    let ended = events.last().unwrap();
    assert_eq!((ended.closed, ended.decision), (1, NetworkDecision::Allow));
}
