//! What must hold for whatever a workload sends to the egress proxy, a server answers, and a name server says.

use stockade::egress::body::Body;
use stockade::egress::dns::{Answer, Family, MAX_ADDRESSES, Question};
use stockade::egress::head::{Head, MAX_FIELDS, Scan, scan};
use stockade::egress::host::{HostName, Target};
use stockade::egress::request::{Kind, Request};
use stockade::egress::response::Response;

/// The first byte chooses the reader: a request, a response, a chunked body, a message of a name server.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    match choice % 4 {
        0 => check_request(bytes),
        1 => check_response(bytes),
        2 => check_body(bytes),
        _ => check_names(bytes),
    }
}

/// Fields that a head gets when it is written anew: `Host`, `Transfer-Encoding`, `Via`, `Connection`.
const N_OWN_FIELDS: usize = 4;

/// The head at the beginning, if there is a whole one, and its reader takes it with our own fields as well.
fn head_of(bytes: &[u8]) -> Option<&[u8]> {
    let Ok(Scan::Whole(n_bytes)) = scan(bytes) else {
        return None;
    };
    let head = bytes.get(..n_bytes).expect("a head lies within its bytes");
    assert!(head.ends_with(b"\r\n"));
    // However little had come before, the same end is found.
    let short = bytes
        .get(..n_bytes - 1)
        .expect("a head has two bytes at least");
    assert_eq!(scan(short), Ok(Scan::Incomplete));
    let n_fields = Head::parse(head).ok()?.fields.len();
    (n_fields + N_OWN_FIELDS <= MAX_FIELDS).then_some(head)
}

fn check_request(bytes: &[u8]) {
    let Some(head) = head_of(bytes) else {
        return;
    };
    let Ok(request) = Request::parse(head) else {
        return;
    };
    let shown = request.target.to_string();
    assert_eq!(Target::parse(&shown, None).as_ref(), Ok(&request.target));
    let Kind::Exchange(exchange) = request.kind else {
        return;
    };
    // What the origin gets is one head, by the same strict reader, and it names the host that was decided on.
    assert_eq!(scan(&exchange.head), Ok(Scan::Whole(exchange.head.len())));
    let parsed = Head::parse(&exchange.head).expect("our own head is well-formed");
    let host = parsed.only("host").expect("one host").expect("a host");
    let named = Target::parse(host.text().expect("ASCII"), Some(80));
    assert_eq!(named.as_ref(), Ok(&request.target));
    let connection = parsed.only("connection").expect("one connection");
    assert_eq!(connection.map(|field| field.value), Some(&b"close"[..]));
    let body = parsed
        .body()
        .expect("one framing")
        .unwrap_or(Body::Length(0));
    assert_eq!(body, exchange.body);
    for dropped in ["proxy-authorization", "proxy-connection", "upgrade", "te"] {
        assert_eq!(parsed.only(dropped), Ok(None), "{dropped}");
    }
    let line = String::from_utf8_lossy(parsed.first_line);
    let path = line.split(' ').nth(1).expect("a target");
    assert!(path.starts_with('/'), "{line}");
}

fn check_response(bytes: &[u8]) {
    let Some(head) = head_of(bytes) else {
        return;
    };
    for is_head_request in [false, true] {
        let Ok(response) = Response::parse(head, is_head_request) else {
            return;
        };
        assert_eq!(scan(&response.head), Ok(Scan::Whole(response.head.len())));
        let parsed = Head::parse(&response.head).expect("our own head is well-formed");
        let connection = parsed.only("connection").expect("one connection");
        assert_eq!(connection.is_some(), response.body.is_some());
        assert_eq!(parsed.only("keep-alive"), Ok(None));
        if is_head_request && response.body.is_some() {
            assert_eq!(response.body, Some(Body::Length(0)));
        }
    }
}

/// A chunked body ends at the same byte whether it comes at once or byte by byte.
fn check_body(bytes: &[u8]) {
    let mut whole = Body::chunked();
    let at_once = whole.take(bytes);
    let mut body = Body::chunked();
    let mut n_own = 0;
    let mut fault = None;
    for byte in bytes {
        match body.take(std::slice::from_ref(byte)) {
            Ok(n_bytes) => n_own += n_bytes,
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
        if body.is_over() {
            break;
        }
    }
    match at_once {
        Ok(n_at_once) => {
            assert_eq!((n_own, fault), (n_at_once, None));
            assert_eq!(body, whole);
            assert!(whole.is_over() || n_at_once == bytes.len());
        }
        Err(error) => assert_eq!(fault, Some(error)),
    }
}

fn check_names(bytes: &[u8]) {
    let id = bytes
        .get(..2)
        .map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    let name = HostName::parse("www.example.com").expect("a name");
    for family in [Family::V4, Family::V6] {
        if let Some(Answer::Addresses(addresses)) = Question::new(id, &name, family).read(bytes) {
            assert!(addresses.len() <= MAX_ADDRESSES);
            let is_asked_for =
                |address: &std::net::IpAddr| address.is_ipv4() == (family == Family::V4);
            assert!(addresses.iter().all(is_asked_for));
        }
    }
}
