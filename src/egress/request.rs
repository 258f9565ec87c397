//! What a client of the proxy asks for: a tunnel, or one plain HTTP exchange.
//!
//! Owns the one reading of a request. Never decides whether it is allowed. Invariant: the host that is decided on is the
//! host that is told to the origin: the head that is passed on is written anew from what was read.

use super::body::Body;
use super::head::{Field, Head, HeadError, is_of_token, push_field};
use super::host::{HostError, Target};

/// Largest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// What the target of a plain request begins with, in any case.
const SCHEME: &[u8] = b"http://";

/// The port of plain HTTP.
const HTTP_PORT: u16 = 80;

/// Why a request is refused before any rule is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The head cannot be read.
    #[error("{0}")]
    Head(HeadError),
    /// The version is not one that a proxy can answer.
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// The target of `CONNECT` is not `HOST:PORT`.
    #[error("the target of CONNECT is not HOST:PORT: {0}")]
    Authority(HostError),
    /// A path alone: the client takes the proxy for a server.
    #[error(
        "the target is a path; a proxy is asked for http://HOST/PATH, or for a tunnel with CONNECT"
    )]
    Path,
    /// Another scheme than `http`.
    #[error("the scheme is not http; for https ask for a tunnel with CONNECT")]
    Scheme,
    /// The host of the target.
    #[error("the target is not http://HOST/PATH: {0}")]
    Host(HostError),
    /// A name or password, a fragment or a character that a target cannot have.
    #[error("the target has a user, a fragment, or a character that no target has")]
    Target,
    /// `Host` is absent, twice there, or names another host than the target.
    #[error("the field Host is not the host of the target")]
    HostField,
}

/// A request that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where it goes.
    pub target: Target,
    /// What is asked for.
    pub kind: Kind,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Bytes in both directions, whatever they are.
    Tunnel,
    /// One request and its response.
    Exchange(Exchange),
}

/// A plain HTTP request, as the origin gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The head, written anew.
    pub head: Vec<u8>,
    /// What follows it.
    pub body: Body,
    /// Whether the response has no body whatever its head says.
    pub is_head_request: bool,
}

impl Request {
    /// Reads a whole head, the empty line included.
    ///
    /// # Errors
    /// When it is not a request to a proxy, or could be read in two ways.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let head = Head::parse(bytes).map_err(RequestError::Head)?;
        let line = FirstLine::parse(head.first_line)?;
        let body = head.body().map_err(RequestError::Head)?;
        let host = head.only("host").map_err(|_| RequestError::HostField)?;
        if line.method == "CONNECT" {
            let authority = std::str::from_utf8(line.target)
                .map_err(|_| RequestError::Authority(HostError::Character))?;
            let target = Target::parse(authority, None).map_err(RequestError::Authority)?;
            return match body {
                // A tunnel has no body (RFC 9110, section 9.3.6): what follows the head is in the tunnel.
                None | Some(Body::Length(0)) => Ok(Self {
                    target,
                    kind: Kind::Tunnel,
                }),
                Some(_) => Err(RequestError::Head(HeadError::Framing)),
            };
        }
        let (target, path) = split_absolute(line.target)?;
        check_host_field(host, &target, line.version)?;
        if line.version == Version::Http10 && matches!(body, Some(Body::Chunked(_))) {
            return Err(RequestError::Head(HeadError::Framing));
        }
        let exchange = Exchange {
            head: head_for_origin(&head, &line, &target, &path, body.as_ref())?,
            body: body.unwrap_or(Body::Length(0)),
            is_head_request: line.method == "HEAD",
        };
        Ok(Self {
            target,
            kind: Kind::Exchange(exchange),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

struct FirstLine<'a> {
    method: &'a str,
    target: &'a [u8],
    version: Version,
}

impl<'a> FirstLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, RequestError> {
        let malformed = RequestError::Head(HeadError::FirstLine);
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let method = std::str::from_utf8(method).map_err(|_| malformed)?;
        if method.is_empty() || !method.bytes().all(is_of_token) || target.is_empty() {
            return Err(malformed);
        }
        let version = match version {
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/1.1" => Version::Http11,
            _ => return Err(RequestError::Version),
        };
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

/// Splits `http://HOST[:PORT][/PATH][?QUERY]`; the path is never empty.
fn split_absolute(target: &[u8]) -> Result<(Target, Vec<u8>), RequestError> {
    if target.starts_with(b"/") || target == b"*" {
        return Err(RequestError::Path);
    }
    let (scheme, rest) = target
        .split_at_checked(SCHEME.len())
        .ok_or(RequestError::Scheme)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(RequestError::Scheme);
    }
    let authority_end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest
        .split_at_checked(authority_end)
        .ok_or(RequestError::Target)?;
    let is_of_path = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#' || !byte.is_ascii();
    if authority.contains(&b'@') || !path.iter().all(is_of_path) {
        return Err(RequestError::Target);
    }
    let authority =
        std::str::from_utf8(authority).map_err(|_| RequestError::Host(HostError::Character))?;
    let target = Target::parse(authority, Some(HTTP_PORT)).map_err(RequestError::Host)?;
    let mut whole = Vec::with_capacity(path.len() + 1);
    if !path.starts_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(path);
    Ok((target, whole))
}

fn check_host_field(
    field: Option<Field<'_>>,
    target: &Target,
    version: Version,
) -> Result<(), RequestError> {
    let Some(field) = field else {
        return match version {
            Version::Http10 => Ok(()),
            Version::Http11 => Err(RequestError::HostField),
        };
    };
    let named = field
        .text()
        .and_then(|text| Target::parse(text, Some(HTTP_PORT)).ok());
    match named {
        Some(named) if named == *target => Ok(()),
        Some(_) | None => Err(RequestError::HostField),
    }
}

fn head_for_origin(
    head: &Head<'_>,
    line: &FirstLine<'_>,
    target: &Target,
    path: &[u8],
    body: Option<&Body>,
) -> Result<Vec<u8>, RequestError> {
    let mut out = Vec::with_capacity(MAX_HEAD_BYTES / 4);
    out.extend_from_slice(line.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(match line.version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    });
    let host = match target.port {
        HTTP_PORT => target.host.to_string(),
        _ => target.to_string(),
    };
    push_field(&mut out, "Host", host.as_bytes());
    for field in head.end_to_end().map_err(RequestError::Head)? {
        if !field.is("host") {
            push_field(&mut out, field.name, field.value);
        }
    }
    if let Some(Body::Chunked(_)) = body {
        push_field(&mut out, "Transfer-Encoding", b"chunked");
    }
    push_field(&mut out, "Via", b"1.1 stockade");
    push_field(&mut out, "Connection", b"close");
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn a_tunnel_goes_to_exactly_one_host_and_port() {
        for (head, expected) in [
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
                "a.example:443",
            ),
            ("CONNECT A.Example.:8443 HTTP/1.0\r\n\r\n", "a.example:8443"),
            ("CONNECT [::1]:80 HTTP/1.1\r\n\r\n", "[::1]:80"),
            (
                "CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                "a.example:443",
            ),
        ] {
            let request = parse(head).unwrap();
            assert_eq!(request.kind, Kind::Tunnel, "{head:?}");
            assert_eq!(request.target.to_string(), expected, "{head:?}");
        }
    }

    #[test]
    fn a_plain_request_is_written_anew_for_its_origin() {
        let request = parse(
            "POST HTTP://A.example:8080/p?q=1 HTTP/1.1\r\nHost: a.example:8080\r\nProxy-Connection: keep-alive\r\n\
             Proxy-Authorization: Basic eA==\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
        let Kind::Exchange(exchange) = request.kind else {
            panic!("no exchange");
        };
        assert_eq!(
            String::from_utf8(exchange.head).unwrap(),
            "POST /p?q=1 HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\
             Via: 1.1 stockade\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(exchange.body, Body::chunked());
        for (target, path) in [
            ("http://a.example", "/"),
            ("http://a.example?x", "/?x"),
            ("http://a.example/a//b", "/a//b"),
            ("http://a.example/\u{e4}", "/\u{e4}"),
        ] {
            let request = parse(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
            let Kind::Exchange(exchange) = request.unwrap().kind else {
                panic!("no exchange");
            };
            let head = String::from_utf8(exchange.head).unwrap();
            assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n")));
        }
    }

    #[test]
    fn requests_that_could_mean_two_things_are_refused() {
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        for (head, expected) in [
            (get("/"), RequestError::Path),
            (get("*"), RequestError::Path),
            (get("https://a.example/"), RequestError::Scheme),
            (get("ftp://a.example/"), RequestError::Scheme),
            (get("file:///etc/passwd"), RequestError::Scheme),
            (get("data:,x"), RequestError::Scheme),
            (get("a.example:80"), RequestError::Scheme),
            (get("http://user:pw@a.example/"), RequestError::Target),
            (get("http://a.example/#x"), RequestError::Target),
            (get("http://a.example\\@b.example/"), RequestError::Target),
            (get("http:///x"), RequestError::Host(HostError::Empty)),
            (get("http://a.example:/"), RequestError::Host(HostError::Port)),
            (get("http://127.1/"), RequestError::Host(HostError::Number)),
            (get("http://a%2eexample/"), RequestError::Host(HostError::Character)),
            (get("http://b.example/"), RequestError::HostField),
            (get("http://a.example:81/"), RequestError::HostField),
            (
                "GET http://a.example/ HTTP/1.1\r\n\r\n".to_owned(),
                RequestError::HostField,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n".to_owned(),
                RequestError::HostField,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n".to_owned(),
                RequestError::HostField,
            ),
            (
                "GET  http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
                RequestError::Head(HeadError::FirstLine),
            ),
            (
                "GET http://a.example/ HTTP/1.1 \r\nHost: a.example\r\n\r\n".to_owned(),
                RequestError::Head(HeadError::FirstLine),
            ),
            (
                "GET http://a.example/ HTTP/2.0\r\nHost: a.example\r\n\r\n".to_owned(),
                RequestError::Version,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .to_owned(),
                RequestError::Head(HeadError::Framing),
            ),
            (
                "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                RequestError::Head(HeadError::Framing),
            ),
            (
                "CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n".to_owned(),
                RequestError::Head(HeadError::Framing),
            ),
            (
                "CONNECT a.example HTTP/1.1\r\n\r\n".to_owned(),
                RequestError::Authority(HostError::Port),
            ),
            (
                "CONNECT http://a.example:443 HTTP/1.1\r\n\r\n".to_owned(),
                RequestError::Authority(HostError::Brackets),
            ),
            (
                "CONNECT a.example\0.b.example:443 HTTP/1.1\r\n\r\n".to_owned(),
                RequestError::Head(HeadError::Control),
            ),
            (
                "CONNECT a@b.example:443 HTTP/1.1\r\n\r\n".to_owned(),
                RequestError::Authority(HostError::Character),
            ),
            ("\r\n".to_owned(), RequestError::Head(HeadError::FirstLine)),
        ] {
            assert_eq!(parse(&head), Err(expected), "{head:?}");
        }
    }
}
