//! The URLs that a playbook may look at: plain HTTP on the loopback of the sandbox.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_000;

const FORM: &str = "give http://127.0.0.1:PORT/PATH; only the loopback of the sandbox is looked at";

/// A checked URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    /// Where to connect; `localhost` is 127.0.0.1.
    pub address: SocketAddr,
    /// The value of the `Host` field.
    pub host: String,
    /// What stands in the request line: path and query, with a slash first.
    pub target: String,
}

/// A text that is no URL to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no URL of the loopback; {FORM}")]
pub struct UrlError;

impl LoopbackUrl {
    /// Reads `http://HOST[:PORT][/PATH][?QUERY]`, where the host is `localhost`, `[::1]` or in 127.0.0.0/8.
    ///
    /// # Errors
    /// Anything else: another scheme or host, a user name, a fragment, a space or control character, too many bytes.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > MAX_URL_BYTES || !is_visible || text.contains('#') {
            return Err(UrlError);
        }
        let rest = text.strip_prefix("http://").ok_or(UrlError)?;
        let target_start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(target_start);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| is_number && *port > 0);
                (name, port.ok_or(UrlError)?)
            }
            _ => (host, 80),
        };
        let ip = match name {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            "[::1]" => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(name.parse().map_err(|_| UrlError)?),
        };
        if !ip.is_loopback() {
            return Err(UrlError);
        }
        Ok(Self {
            address: SocketAddr::new(ip, port),
            host: host.to_owned(),
            target: if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("/{target}")
            },
        })
    }
}
