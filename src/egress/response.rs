//! What an origin answers to a plain HTTP request.
//!
//! Owns the reading of a response's head and its new writing for the client. Never looks at a body. Invariant: every
//! response ends its connection, so no byte of it can be taken for another response.

use super::body::Body;
use super::head::{Head, HeadError, push_field};

/// Largest head of a response, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// Interim responses (`100 Continue`, `103 Early Hints`) that may come before the final one.
pub const MAX_INTERIM: usize = 16;

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The head, written anew.
    pub head: Vec<u8>,
    /// What follows; none for an interim response, behind which another one comes.
    pub body: Option<Body>,
}

impl Response {
    /// Reads a whole head, the empty line included; `is_head_request` says that there is no body.
    ///
    /// # Errors
    /// When it could be read in two ways, or changes to another protocol, which nobody asked for.
    pub fn parse(bytes: &[u8], is_head_request: bool) -> Result<Self, HeadError> {
        let head = Head::parse(bytes)?;
        let status = status_of(head.first_line).ok_or(HeadError::FirstLine)?;
        let framed = head.body()?;
        let body = match status {
            101 => return Err(HeadError::FirstLine),
            100..=199 => None,
            204 | 304 => Some(Body::Length(0)),
            _ if is_head_request => Some(Body::Length(0)),
            _ => Some(framed.clone().unwrap_or(Body::UntilEnd)),
        };
        let mut out = Vec::with_capacity(bytes.len() + 64);
        out.extend_from_slice(head.first_line);
        out.extend_from_slice(b"\r\n");
        for field in head.end_to_end()? {
            push_field(&mut out, field.name, field.value);
        }
        if let Some(Body::Chunked(_)) = framed {
            push_field(&mut out, "Transfer-Encoding", b"chunked");
        }
        if body.is_some() {
            push_field(&mut out, "Via", b"1.1 stockade");
            push_field(&mut out, "Connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        Ok(Self { head: out, body })
    }
}

/// The status of `HTTP/1.x NNN REASON`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let status: u16 = digits.parse().ok().filter(|_| is_number)?;
    let is_whole = reason.is_empty() || reason.starts_with(b" ");
    (is_whole && (100..=599).contains(&status)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, Option<Body>), HeadError> {
        let response = Response::parse(text.as_bytes(), false)?;
        Ok((String::from_utf8(response.head).unwrap(), response.body))
    }

    #[test]
    fn a_response_ends_its_connection_and_keeps_its_framing() {
        let (head, body) = parse(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\nX: y\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\nVia: 1.1 stockade\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(body, Some(Body::Length(3)));
        for (text, expected) in [
            ("HTTP/1.0 200 OK\r\n\r\n", Some(Body::UntilEnd)),
            ("HTTP/1.1 200\r\n\r\n", Some(Body::UntilEnd)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some(Body::Length(0))),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                Some(Body::Length(0)),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(Body::chunked()),
            ),
        ] {
            assert_eq!(parse(text).unwrap().1, expected, "{text:?}");
        }
        let to_head = Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true);
        assert_eq!(to_head.unwrap().body, Some(Body::Length(0)));
    }

    #[test]
    fn responses_that_could_be_split_are_refused() {
        for text in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "200 OK\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
