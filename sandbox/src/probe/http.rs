//! A request, and an answer of plain HTTP/1, RFC 9112.
//!
//! Invariant: whatever the server sends, and at whatever place it is cut, the answer is the same, and no part of it grows
//! without a limit.

use super::{READ_BYTES, Seen, within_limit};
use crate::wire::Deadline;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Most bytes of the head of an HTTP answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Most interim answers before the answer; a server needs one or two.
const MAX_INTERIM_ANSWERS: usize = 10;

/// Longest first line of a chunk, in bytes: its size and what extends it.
const MAX_CHUNK_LINE_BYTES: usize = 1024;

/// Bytes read from a socket at a time.
const CHUNK_BYTES: usize = 8 * 1024;

/// Asks, and reads the answer until it is whole or the deadline passes.
pub(super) fn ask(
    addresses: &[SocketAddr],
    host: &str,
    target: &str,
    deadline: Deadline,
) -> Result<Seen, String> {
    let mut stream = connect(addresses, deadline)?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: stockade\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    stream
        .set_write_timeout(Some(left(deadline)?))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(told)?;
    let mut received = Vec::new();
    let mut chunk = [0_u8; CHUNK_BYTES];
    loop {
        stream
            .set_read_timeout(Some(left(deadline)?))
            .map_err(told)?;
        let n_read = match stream.read(&mut chunk) {
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(told(error)),
        };
        received.extend(chunk.iter().take(n_read));
        match read_answer(&received, n_read == 0)? {
            Some(answer) => return Ok(answer),
            None if n_read == 0 => return Err("the connection ended before the answer".to_owned()),
            None => {}
        }
    }
}

/// Connects to the first address that accepts.
pub(super) fn connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<TcpStream, String> {
    let mut why = "there is no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(why)
}

fn left(deadline: Deadline) -> Result<Duration, String> {
    let left = deadline.left();
    if left.is_zero() {
        return Err("no answer in time".to_owned());
    }
    Ok(left)
}

/// Reads an answer from what was received so far; none when more is needed.
fn read_answer(received: &[u8], is_whole: bool) -> Result<Option<Seen>, String> {
    let mut rest = received;
    for _ in 0..=MAX_INTERIM_ANSWERS {
        let Some((head, body)) = split_head(rest) else {
            if rest.len() > MAX_HEAD_BYTES {
                return Err(format!(
                    "the head of the answer is longer than {MAX_HEAD_BYTES} bytes"
                ));
            }
            return Ok(None);
        };
        let head = String::from_utf8_lossy(head);
        let (first, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split_ascii_whitespace().nth(1))
            .and_then(|status| status.parse::<u16>().ok())
            .ok_or("the answer is not HTTP/1")?;
        if !(100..200).contains(&status) {
            return read_body(status, fields, body, is_whole);
        }
        // An interim answer; the true one follows it (RFC 9110, 15.2).
        rest = body;
    }
    Err(format!(
        "more than {MAX_INTERIM_ANSWERS} interim answers came before the answer"
    ))
}

/// Reads the body of an answer with these header fields.
fn read_body(
    status: u16,
    fields: &str,
    body: &[u8],
    is_whole: bool,
) -> Result<Option<Seen>, String> {
    let mut length = None;
    let mut is_chunked = false;
    for (name, value) in fields.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.to_ascii_lowercase().contains("chunked");
        }
    }
    // These end with their head, whatever stands in it (RFC 9112, 6.3).
    let has_no_body = matches!(status, 204 | 304);
    let content = if has_no_body {
        Vec::new()
    } else if is_chunked {
        let Some(content) = unchunk(body)? else {
            return if is_whole {
                Err("the answer was cut".to_owned())
            } else {
                Ok(None)
            };
        };
        content
    } else {
        let wanted = length.unwrap_or(usize::MAX).min(READ_BYTES);
        if body.len() < wanted && !is_whole {
            return Ok(None);
        }
        if let Some(length) = length
            && body.len() < length.min(READ_BYTES)
        {
            return Err("the answer was cut".to_owned());
        }
        body.iter().take(wanted).copied().collect()
    };
    let (body, is_whole) = within_limit(content);
    Ok(Some(Seen::Answer {
        status,
        body,
        is_whole,
    }))
}

fn split_head(received: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((received.get(..end)?, received.get(end + 4..)?))
}

/// Joins chunks (RFC 9112, 7.1) until the last one or [`READ_BYTES`]; none when more is needed.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut content = Vec::new();
    loop {
        let line = rest.get(..MAX_CHUNK_LINE_BYTES).unwrap_or(rest);
        let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
            if line.len() == MAX_CHUNK_LINE_BYTES {
                let limit = MAX_CHUNK_LINE_BYTES;
                return Err(format!("a chunk's first line is longer than {limit} bytes"));
            }
            return Ok(None);
        };
        let size = line
            .get(..end)
            .and_then(|line| std::str::from_utf8(line).ok())
            .and_then(|line| line.split(';').next())
            .and_then(|size| usize::from_str_radix(size.trim(), 16).ok())
            .ok_or("a chunk has no size")?;
        rest = rest.get(end + 2..).unwrap_or_default();
        if size == 0 {
            return Ok(Some(content));
        }
        let space = READ_BYTES - content.len();
        if rest.len() >= size.min(space) {
            content.extend(rest.iter().take(size.min(space)));
        }
        if content.len() == READ_BYTES {
            return Ok(Some(content));
        }
        match size.checked_add(2).and_then(|size| rest.get(size..)) {
            Some(behind) => rest = behind,
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read_answer;
    use crate::probe::{MAX_SEEN_BYTES, Seen};

    fn answer(status: u16, body: &[u8]) -> Result<Option<Seen>, String> {
        Ok(Some(Seen::Answer {
            status,
            body: body.to_vec(),
            is_whole: true,
        }))
    }

    #[test]
    fn an_answer_is_read_at_whatever_place_it_is_cut() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec();
        let chunked =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
                .to_vec();
        for (whole, status) in [(plain, 200), (chunked, 201)] {
            for cut in 0..whole.len() - 4 {
                assert_eq!(read_answer(&whole[..cut], false), Ok(None), "at {cut}");
            }
            assert_eq!(read_answer(&whole, false), answer(status, b"hello"));
        }
        let until_the_end = b"HTTP/1.0 404 Not Found\r\n\r\nno".as_slice();
        assert_eq!(read_answer(until_the_end, false), Ok(None));
        assert_eq!(read_answer(until_the_end, true), answer(404, b"no"));
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_never_a_status() {
        for bad in ["220 ftp.example.org\r\n\r\n", "HTTP/2 200\r\n\r\n"] {
            assert!(read_answer(bad.as_bytes(), true).is_err(), "{bad:?}");
        }
        assert!(read_answer(&vec![b'x'; 40 * 1024], false).is_err());
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
        assert!(read_answer(cut, true).is_err());
    }

    #[test]
    fn a_body_without_end_is_bounded() {
        let bounded = Ok(Some(Seen::Answer {
            status: 200,
            body: vec![b'a'; MAX_SEEN_BYTES],
            is_whole: false,
        }));
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.extend(vec![b'a'; MAX_SEEN_BYTES + 1]);
        assert_eq!(read_answer(&endless, false), bounded);
        let mut chunk =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n".to_vec();
        chunk.extend(vec![b'a'; MAX_SEEN_BYTES + 1]);
        assert_eq!(read_answer(&chunk, false), bounded);
    }

    #[test]
    fn a_body_of_the_largest_size_is_whole_and_one_byte_more_is_not() {
        for (n_bytes, is_whole) in [(MAX_SEEN_BYTES, true), (MAX_SEEN_BYTES + 1, false)] {
            let body = "a".repeat(n_bytes);
            let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {n_bytes}\r\n\r\n{body}");
            let chunked = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{n_bytes:x}\r\n{body}\r\n0\r\n\r\n"
            );
            for whole in [plain, chunked] {
                let expected = Seen::Answer {
                    status: 200,
                    body: vec![b'a'; MAX_SEEN_BYTES],
                    is_whole,
                };
                assert_eq!(read_answer(whole.as_bytes(), false), Ok(Some(expected)));
            }
        }
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        for status in [204, 304] {
            let head = format!(
                "HTTP/1.1 {status} No\r\nConnection: keep-alive\r\nContent-Length: 7\r\n\r\n"
            );
            assert_eq!(read_answer(head.as_bytes(), false), answer(status, b""));
        }
    }

    #[test]
    fn interim_answers_and_lines_of_chunks_have_limits() {
        let row = |n: usize| {
            let mut row = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(n);
            row.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            row
        };
        assert_eq!(read_answer(&row(10), false), answer(200, b"ok"));
        let error = read_answer(&row(400_000), false).expect_err("too many");
        assert!(error.contains("more than 10 interim answers"), "{error}");
        let mut chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        chunk.extend(vec![b'1'; 1_000]);
        assert_eq!(read_answer(&chunk, false), Ok(None));
        chunk.extend(vec![b'1'; 100]);
        let error = read_answer(&chunk, false).expect_err("too long");
        assert!(error.contains("longer than 1024 bytes"), "{error}");
    }
}
