//! The head of an HTTP/1 message: where it ends, its lines and its fields (RFC 9112).
//!
//! Owns the strict reading that requests and responses share. Never knows what a field means beyond how a message is
//! framed. Invariant: a head that is read has no control character, no folded line and no line end but CR LF.

use super::body::Body;

/// Most fields of a head.
pub const MAX_FIELDS: usize = 128;

/// Why a head cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// CR or LF alone, or another control character.
    #[error("a line ends with something else than CR LF, or has a control character")]
    Control,
    /// The first line.
    #[error("the first line is not well-formed")]
    FirstLine,
    /// A line that is no field, or goes on in the next one.
    #[error("a field is not NAME: VALUE on one line")]
    Field,
    /// Too many fields.
    #[error("there are more than 128 fields")]
    TooMany,
    /// Two lengths, two encodings or both.
    #[error(
        "Content-Length and Transfer-Encoding say more than one thing about the length of the body"
    )]
    Framing,
    /// `Connection` names what must not be dropped.
    #[error("Connection names a field that the message cannot do without")]
    Connection,
}

/// Fields of one connection: they are not passed on (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that `Connection` must not name: without them the message would be another one.
const NEEDED: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// What was found of a head so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Its end has not come.
    Incomplete,
    /// It has so many bytes, the empty line included.
    Whole(usize),
}

/// Looks for the end of the head at the beginning of `bytes`.
///
/// # Errors
/// When there is a line end that is not CR LF: what follows would be read differently by different readers.
pub fn scan(bytes: &[u8]) -> Result<Scan, HeadError> {
    let mut line_start = 0;
    while let Some(n_line) = memchr::memchr(b'\n', bytes.get(line_start..).unwrap_or_default()) {
        let line = bytes
            .get(line_start..line_start + n_line)
            .unwrap_or_default();
        match line.split_last() {
            Some((b'\r', [])) => return Ok(Scan::Whole(line_start + 2)),
            Some((b'\r', _)) => line_start += n_line + 1,
            Some(_) | None => return Err(HeadError::Control),
        }
    }
    Ok(Scan::Incomplete)
}

/// A field: its name as it came, and its value without blanks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// A token.
    pub name: &'a str,
    /// Any bytes but control characters.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether it has this name, given in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value, if it is ASCII.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value)
            .ok()
            .filter(|text| text.is_ascii())
    }
}

/// A head in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line, without its end.
    pub first_line: &'a [u8],
    /// The fields, in their order.
    pub fields: Vec<Field<'a>>,
}

impl<'a> Head<'a> {
    /// Reads a whole head, the empty line included.
    ///
    /// # Errors
    /// When a line of it is not well-formed.
    pub fn parse(head: &'a [u8]) -> Result<Self, HeadError> {
        let mut rest = head.strip_suffix(b"\r\n").ok_or(HeadError::Control)?;
        let mut next_line = || -> Result<Option<&'a [u8]>, HeadError> {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return match rest {
                    [] => Ok(None),
                    _ => Err(HeadError::Control),
                };
            };
            let (line, behind) = rest.split_at_checked(end + 1).ok_or(HeadError::Control)?;
            rest = behind;
            line.strip_suffix(b"\r\n")
                .map(Some)
                .ok_or(HeadError::Control)
        };
        let first_line = next_line()?.ok_or(HeadError::FirstLine)?;
        if !first_line.iter().all(|byte| is_of_value(*byte)) {
            return Err(HeadError::Control);
        }
        let mut fields = Vec::new();
        while let Some(line) = next_line()? {
            if fields.len() == MAX_FIELDS {
                return Err(HeadError::TooMany);
            }
            fields.push(parse_field(line)?);
        }
        Ok(Self { first_line, fields })
    }

    /// The one field of this name, given in lower case.
    ///
    /// # Errors
    /// When there are several.
    pub fn only(&self, name: &str) -> Result<Option<Field<'a>>, HeadError> {
        let mut found = self.fields.iter().filter(|field| field.is(name));
        match (found.next(), found.next()) {
            (first, None) => Ok(first.copied()),
            (_, Some(_)) => Err(HeadError::Field),
        }
    }

    /// How the body is framed; none when no field says so.
    ///
    /// # Errors
    /// When the fields say more than one thing, or something else than a number or `chunked`.
    pub fn body(&self) -> Result<Option<Body>, HeadError> {
        let framing = |_| HeadError::Framing;
        let length = self.only("content-length").map_err(framing)?;
        let encoding = self.only("transfer-encoding").map_err(framing)?;
        match (length, encoding) {
            (None, None) => Ok(None),
            (Some(length), None) => {
                let digits = length.text().unwrap_or_default();
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| is_number);
                number
                    .map(|number| Some(Body::Length(number)))
                    .ok_or(HeadError::Framing)
            }
            (None, Some(encoding)) if encoding.value.eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Body::chunked()))
            }
            (_, Some(_)) => Err(HeadError::Framing),
        }
    }

    /// The fields that are passed on: all but those of this connection.
    ///
    /// # Errors
    /// When `Connection` names a field that the message needs.
    pub fn end_to_end(&self) -> Result<Vec<Field<'a>>, HeadError> {
        let mut named: Vec<&[u8]> = Vec::new();
        for field in self.fields.iter().filter(|field| field.is("connection")) {
            for option in field.value.split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                if NEEDED
                    .iter()
                    .any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
                {
                    return Err(HeadError::Connection);
                }
                named.push(option);
            }
        }
        let is_dropped = |field: &Field<'_>| {
            HOP_BY_HOP.iter().any(|name| field.is(name))
                || named
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(field.name.as_bytes()))
        };
        let fields = self.fields.iter();
        Ok(fields.filter(|field| !is_dropped(field)).copied().collect())
    }
}

/// Appends a field.
pub fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn parse_field(line: &[u8]) -> Result<Field<'_>, HeadError> {
    let colon = memchr::memchr(b':', line).ok_or(HeadError::Field)?;
    let (name, value) = line.split_at_checked(colon).ok_or(HeadError::Field)?;
    let value = value.get(1..).unwrap_or_default();
    // A line that begins with a blank has no token before its colon, and neither has one with a blank before the colon.
    let name = std::str::from_utf8(name).map_err(|_| HeadError::Field)?;
    if name.is_empty() || !name.bytes().all(is_of_token) {
        return Err(HeadError::Field);
    }
    if !value.iter().all(|byte| is_of_value(*byte)) {
        return Err(HeadError::Control);
    }
    Ok(Field {
        name,
        value: value.trim_ascii(),
    })
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line_and_has_no_line_end_but_cr_lf() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\n\r\nrest", Ok(Scan::Whole(18))),
            ("GET / HTTP/1.1\r\nA: b\r\n", Ok(Scan::Incomplete)),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", Ok(Scan::Incomplete)),
            ("", Ok(Scan::Incomplete)),
            ("\r\n", Ok(Scan::Whole(2))),
            ("GET / HTTP/1.1\n\n", Err(HeadError::Control)),
            (
                "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
                Err(HeadError::Control),
            ),
            ("\n", Err(HeadError::Control)),
        ] {
            assert_eq!(scan(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    fn fault(fields: &str) -> Option<HeadError> {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let head = Head::parse(head.as_bytes());
        head.and_then(|head| {
            head.body()?;
            head.end_to_end().map(drop)
        })
        .err()
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (fields, expected) in [
            ("A: b\r\n", None),
            ("A:b\r\nB: \t c \r\n", None),
            ("Content-Length: 3\r\n", None),
            ("Transfer-Encoding: Chunked\r\n", None),
            ("A : b\r\n", Some(HeadError::Field)),
            (" A: b\r\n", Some(HeadError::Field)),
            ("A: b\r\n c\r\n", Some(HeadError::Field)),
            ("A: b\r\n\tc: d\r\n", Some(HeadError::Field)),
            ("A\r\n", Some(HeadError::Field)),
            (": b\r\n", Some(HeadError::Field)),
            ("\u{e4}: b\r\n", Some(HeadError::Field)),
            ("A: b\rC: d\r\n", Some(HeadError::Control)),
            ("A: b\0\r\n", Some(HeadError::Control)),
            (
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                Some(HeadError::Framing),
            ),
            ("Content-Length: 3, 3\r\n", Some(HeadError::Framing)),
            ("Content-Length: +3\r\n", Some(HeadError::Framing)),
            ("Content-Length: -1\r\n", Some(HeadError::Framing)),
            ("Content-Length: \r\n", Some(HeadError::Framing)),
            (
                "Content-Length: 99999999999999999999\r\n",
                Some(HeadError::Framing),
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                Some(HeadError::Framing),
            ),
            (
                "Transfer-Encoding: gzip, chunked\r\n",
                Some(HeadError::Framing),
            ),
            ("Transfer-Encoding: identity\r\n", Some(HeadError::Framing)),
            ("Transfer-Encoding: xchunked\r\n", Some(HeadError::Framing)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Some(HeadError::Framing),
            ),
            (
                "Connection: close, Content-Length\r\n",
                Some(HeadError::Connection),
            ),
            ("Connection: host\r\n", Some(HeadError::Connection)),
        ] {
            assert_eq!(fault(fields), expected, "{fields:?}");
        }
        let many = "A: b\r\n".repeat(MAX_FIELDS);
        assert_eq!(fault(&many), None);
        assert_eq!(fault(&format!("{many}A: b\r\n")), Some(HeadError::TooMany));
    }

    #[test]
    fn fields_of_this_connection_are_not_passed_on() {
        let head = b"GET / HTTP/1.1\r\nConnection: X-Own, close\r\nX-Own: 1\r\nProxy-Authorization: Basic eA==\r\n\
            Upgrade: h2c\r\nAccept: */*\r\nTE: trailers\r\n\r\n";
        let head = Head::parse(head).unwrap();
        let names: Vec<_> = head
            .end_to_end()
            .unwrap()
            .iter()
            .map(|field| field.name)
            .collect();
        assert_eq!(names, ["Accept"]);
    }
}
