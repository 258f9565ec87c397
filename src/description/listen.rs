//! Where the status API listens.
//!
//! It owns how an address is written; it binds nothing.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Port of the status API where none is named.
pub const DEFAULT_PORT: u16 = 8090;

/// The address of the status API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listen {
    /// Nobody named one: 127.0.0.1:8090, or the next free port.
    Default,
    /// This one and no other; a failure to bind it is a failure of the start.
    Address(SocketAddr),
    /// None.
    Off,
}

impl Listen {
    /// Reads `ADDRESS:PORT`, `localhost:PORT`, `none` or `image`, which is port 8090 of every address where there is a token, and
    /// of loopback where there is none; no other port in its place.
    pub fn parse(text: &str, has_token: bool) -> Option<Self> {
        let at = |ip: Ipv4Addr| Self::Address(SocketAddr::new(ip.into(), DEFAULT_PORT));
        match text {
            "none" => Some(Self::Off),
            "image" if has_token => Some(at(Ipv4Addr::UNSPECIFIED)),
            "image" => Some(at(Ipv4Addr::LOCALHOST)),
            _ => match text.strip_prefix("localhost:") {
                Some(port) => {
                    let port = port.parse().ok()?;
                    Some(Self::Address((Ipv4Addr::LOCALHOST, port).into()))
                }
                None => text.parse().ok().map(Self::Address),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_opens_its_port_only_to_whoever_has_a_token() {
        let at = |text: &str| Some(Listen::Address(text.parse().unwrap()));
        assert_eq!(Listen::parse("image", false), at("127.0.0.1:8090"));
        assert_eq!(Listen::parse("image", true), at("0.0.0.0:8090"));
        for has_token in [false, true] {
            assert_eq!(Listen::parse("none", has_token), Some(Listen::Off));
            assert_eq!(Listen::parse("[::1]:0", has_token), at("[::1]:0"));
            assert_eq!(Listen::parse("localhost:7", has_token), at("127.0.0.1:7"));
            for wrong in [
                "",
                "8090",
                "example.com:80",
                "localhost:",
                "Image",
                "localhost:-1",
            ] {
                assert_eq!(Listen::parse(wrong, has_token), None, "{wrong}");
            }
        }
    }
}
