//! Where a reader of the log begins.
//!
//! Owns the grammar of event ids and the resume rules; it is pure. Invariant: no request begins anywhere else than it
//! asked for without being told so by a control frame.

use axum::http::HeaderMap;

use super::problem::{Problem, ProblemCode};
use crate::log::Bounds;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Behind this event.
    After(u64),
    /// From the first event, after a `reset` frame: the id belongs to another log.
    Reset,
    /// Nowhere: the client has the terminal event, so that nothing will ever follow (204, which ends an `EventSource`).
    Acknowledged,
}

/// Reads the id that a client resumes from: the header `Last-Event-ID`, else the query parameters. None when there is
/// none; an empty one counts as absent.
pub(super) fn requested(
    headers: &HeaderMap,
    query: [Option<&str>; 2],
) -> Result<Option<u64>, Problem> {
    let in_headers = headers.get_all("last-event-id");
    let of_headers = one_of(in_headers.iter().map(|value| value.as_bytes()))?;
    match of_headers {
        Some(id) => Ok(Some(id)),
        None => one_of(query.into_iter().flatten().map(str::as_bytes)),
    }
}

/// The one id among the given ones, of which empty ones do not count.
fn one_of<'a>(given: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, Problem> {
    let mut found = None;
    for text in given.filter(|text| !text.is_empty()) {
        let id = parse(text).ok_or_else(|| {
            Problem::new(
                ProblemCode::InvalidEventId,
                "an event id is a decimal number from 0 to 18446744073709551615, without sign, blanks or leading zeros",
            )
        })?;
        if found.is_some_and(|other| other != id) {
            return Err(Problem::new(
                ProblemCode::InvalidEventId,
                "two different event ids are given",
            ));
        }
        found = Some(id);
    }
    Ok(found)
}

/// Reads an id: digits only, no leading zero but in `0` itself, at most 2^64 - 1.
fn parse(text: &[u8]) -> Option<u64> {
    let is_plain =
        text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    std::str::from_utf8(text)
        .ok()
        .filter(|_| is_plain)
        .and_then(|digits| digits.parse().ok())
}

/// Decides where to begin in a log with that `epoch` and those bounds; `given_epoch` is the one that the client knows.
pub(super) fn start(
    requested: Option<u64>,
    given_epoch: Option<&str>,
    epoch: &str,
    bounds: Bounds,
) -> Start {
    if given_epoch.is_some_and(|given| !given.is_empty() && given != epoch) {
        return Start::Reset;
    }
    match requested {
        None => Start::After(0),
        Some(id) if id > bounds.published_seq => Start::Reset,
        Some(id) if bounds.terminal_seq == Some(id) => Start::Acknowledged,
        Some(id) => Start::After(id),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of_header(value: &[u8]) -> Result<Option<u64>, ProblemCode> {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", HeaderValue::from_bytes(value).unwrap());
        requested(&headers, [Some("77"), None]).map_err(|problem| problem.code())
    }

    #[test]
    fn ids_are_strict_decimal_numbers() {
        for (given, expected) in [
            (b"".as_slice(), Ok(Some(77))),
            (b"0", Ok(Some(0))),
            (b"7", Ok(Some(7))),
            (b"18446744073709551615", Ok(Some(u64::MAX))),
        ] {
            assert_eq!(of_header(given), expected);
        }
        let huge = [b'9'; 5_000];
        for bad in [
            b"abc".as_slice(),
            b"-5",
            b"-0",
            b"+5",
            b"1.5",
            b"1_0",
            b"0x10",
            b"007",
            b"00",
            b"3 ",
            b" 3",
            b"18446744073709551616",
            b"\xe2\x80\xa6",
            b"\xff",
            &huge,
        ] {
            assert_eq!(of_header(bad), Err(ProblemCode::InvalidEventId));
        }
    }

    #[test]
    fn the_header_wins_and_two_that_differ_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(requested(&headers, [None, Some("4")]).unwrap(), Some(4));
        assert_eq!(
            requested(&headers, [Some("4"), Some("4")]).unwrap(),
            Some(4)
        );
        assert!(requested(&headers, [Some("4"), Some("5")]).is_err());
        headers.append("last-event-id", HeaderValue::from_static("9"));
        assert_eq!(requested(&headers, [Some("x"), None]).unwrap(), Some(9));
        headers.append("last-event-id", HeaderValue::from_static("9"));
        assert_eq!(requested(&headers, [None, None]).unwrap(), Some(9));
        headers.append("last-event-id", HeaderValue::from_static("10"));
        assert!(requested(&headers, [None, None]).is_err());
    }

    #[test]
    fn every_start_is_as_the_contract_says() {
        let live = Bounds {
            published_seq: 5,
            terminal_seq: None,
        };
        let ended = Bounds {
            published_seq: 5,
            terminal_seq: Some(5),
        };
        for (id, epoch, on_live, on_ended) in [
            (None, None, Start::After(0), Start::After(0)),
            (Some(0), None, Start::After(0), Start::After(0)),
            (Some(4), None, Start::After(4), Start::After(4)),
            (Some(5), None, Start::After(5), Start::Acknowledged),
            (Some(6), None, Start::Reset, Start::Reset),
            (Some(u64::MAX), None, Start::Reset, Start::Reset),
            (Some(5), Some("ours"), Start::After(5), Start::Acknowledged),
            (Some(5), Some(""), Start::After(5), Start::Acknowledged),
            (Some(5), Some("other"), Start::Reset, Start::Reset),
            (None, Some("other"), Start::Reset, Start::Reset),
        ] {
            assert_eq!(start(id, epoch, "ours", live), on_live);
            assert_eq!(start(id, epoch, "ours", ended), on_ended);
        }
    }
}
