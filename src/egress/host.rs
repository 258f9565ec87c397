//! What a request names: a host and a port, read once.
//!
//! Owns the only way from text to a host. Never resolves. Invariant: what is decided on, shown and dialled is the value
//! that was read here; two texts that could mean the same host to some reader give the same value or none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name, in bytes, without a last dot (RFC 1035, section 2.3.4).
pub const MAX_NAME_BYTES: usize = 253;

/// Longest label of a name, in bytes.
pub const MAX_LABEL_BYTES: usize = 63;

/// Why a text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing is there.
    #[error("the host is empty")]
    Empty,
    /// A letter that no name has: blanks, control characters, `@`, `%`, `/` and everything that is not ASCII.
    #[error(
        "the host has a character that no name has; a name in other letters is given in its xn-- form"
    )]
    Character,
    /// An empty label, as in `a..b` or `.a`.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// A label or the whole is too long.
    #[error("the host is longer than 253 bytes, or a label of it than 63")]
    TooLong,
    /// It ends like a number, and programs differ on which address that is (`127.1`, `0x7f.1`, `2130706433`).
    #[error("the host ends in a number and is not an address of four decimal parts")]
    Number,
    /// It stands in brackets and is not an IPv6 address, or is one without brackets.
    #[error("the host is not an IPv6 address in brackets")]
    Brackets,
    /// What follows the colon is no port from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// A name in lower-case ASCII, without a last dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Reads a name. One dot at its end is the same name.
    ///
    /// # Errors
    /// When it is none; an address is none.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !text.bytes().all(|byte| is_of_names(byte) || byte == b'.') {
            return Err(HostError::Character);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(HostError::TooLong);
        }
        let mut last = "";
        for label in text.split('.') {
            if label.is_empty() {
                return Err(HostError::EmptyLabel);
            }
            if label.len() > MAX_LABEL_BYTES {
                return Err(HostError::TooLong);
            }
            last = label;
        }
        if ends_in_number(last) {
            return Err(HostError::Number);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `parent` with labels before it.
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0
            .strip_suffix(parent.as_str())
            .is_some_and(|labels| labels.ends_with('.'))
    }

    /// Whether it means the host that looks it up (RFC 6761, section 6.3).
    pub fn is_localhost(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether some reader could take the name with this last label for an IPv4 address (WHATWG URL, "ends in a number").
fn ends_in_number(label: &str) -> bool {
    let hexadecimal = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, to be resolved.
    Name(HostName),
    /// An address; one that is mapped into IPv6 is the IPv4 address.
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address of four decimal parts, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Brackets)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| HostError::Brackets)?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        if text.contains(':') {
            return Err(HostError::Brackets);
        }
        HostName::parse(text).map(Self::Name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl Target {
    /// Reads `HOST:PORT`, or `HOST` where there is a default port.
    ///
    /// # Errors
    /// When there is no host, no port, or more than both.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostError> {
        let (host, port) = split_port(text);
        let port = match port {
            Some(digits) => parse_port(digits).ok_or(HostError::Port)?,
            None => default_port.ok_or(HostError::Port)?,
        };
        let host = Host::parse(host)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Splits at the colon before the port: the last one, unless it stands in brackets.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Reads decimal digits alone, without a leading zero.
pub(super) fn parse_port(digits: &str) -> Option<u16> {
    let is_number = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, HostError> {
        Host::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn spellings_of_one_host_are_one_host() {
        for (text, expected) in [
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.2.3.4", "1.2.3.4"),
            ("1e100.net", "1e100.net"),
            ("4.example", "4.example"),
            ("[::1]", "[::1]"),
            ("[0:0::0:1]", "[::1]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_readers_could_differ_on_is_no_host() {
        for (text, expected) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("a..b", HostError::EmptyLabel),
            (".a", HostError::EmptyLabel),
            ("a..", HostError::EmptyLabel),
            ("a b", HostError::Character),
            ("a\tb", HostError::Character),
            ("a\0.example.com", HostError::Character),
            ("a\r\n", HostError::Character),
            ("user@host", HostError::Character),
            ("a%2eb", HostError::Character),
            ("a/b", HostError::Character),
            ("a\\b", HostError::Character),
            ("*.a", HostError::Character),
            ("b\u{fc}cher.example", HostError::Character),
            ("a\u{3002}b", HostError::Character),
            ("127.1", HostError::Number),
            ("2130706433", HostError::Number),
            ("0x7f000001", HostError::Number),
            ("0x7f.0.0.1", HostError::Number),
            ("0177.0.0.1", HostError::Number),
            ("1.2.3.4.5", HostError::Number),
            ("1.2.3.256", HostError::Number),
            ("1.2.3.04", HostError::Number),
            ("1.2.3.4.", HostError::Number),
            ("a.0x", HostError::Number),
            ("::1", HostError::Brackets),
            ("[::1", HostError::Brackets),
            ("[::1]]", HostError::Brackets),
            ("[::1%lo]", HostError::Brackets),
            ("[127.0.0.1]", HostError::Brackets),
            ("[a]", HostError::Brackets),
        ] {
            assert_eq!(shown(text), Err(expected), "{text:?}");
        }
        let label = "a".repeat(MAX_LABEL_BYTES);
        assert!(shown(&label).is_ok());
        assert_eq!(shown(&format!("{label}a")), Err(HostError::TooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), MAX_NAME_BYTES);
        assert!(shown(&longest).is_ok());
        assert_eq!(shown(&format!("{longest}a")), Err(HostError::TooLong));
    }

    #[test]
    fn a_target_has_exactly_one_port() {
        let target = |text, default| Target::parse(text, default).map(|target| target.to_string());
        assert_eq!(target("a.b:443", None).as_deref(), Ok("a.b:443"));
        assert_eq!(target("a.b", Some(80)).as_deref(), Ok("a.b:80"));
        assert_eq!(target("[::1]", Some(80)).as_deref(), Ok("[::1]:80"));
        assert_eq!(target("[::1]:8080", None).as_deref(), Ok("[::1]:8080"));
        for text in [
            "a.b",
            "a.b:",
            "a.b:0",
            "a.b:065",
            "a.b:65536",
            "a.b:+1",
            "a.b:1 ",
        ] {
            assert_eq!(target(text, None), Err(HostError::Port), "{text:?}");
        }
        assert_eq!(target("a:b:80", None), Err(HostError::Brackets));
        assert_eq!(target("u@a.b:80", None), Err(HostError::Character));
    }

    #[test]
    fn a_name_is_below_another_only_at_the_boundary_of_a_label() {
        let name = |text| HostName::parse(text).unwrap();
        assert!(name("www.example.com").is_below(&name("example.com")));
        assert!(name("a.b.example.com").is_below(&name("example.com")));
        assert!(!name("example.com").is_below(&name("example.com")));
        assert!(!name("evilexample.com").is_below(&name("example.com")));
        assert!(!name("example.com.evil.org").is_below(&name("example.com")));
        assert!(name("a.LocalHost.").is_localhost());
        assert!(!name("notlocalhost").is_localhost());
    }
}
