//! Where a status API listens, as people and the status document write it.
//!
//! Pure: it opens nothing.

use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::event::lifecycle::Listen;

/// One place at which a status API can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port: `host:port`, an IPv6 address in brackets.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
    /// A Unix socket that was found beneath a directory, and is held: nobody can put another one in its place.
    Held(HeldSocket),
}

/// A Unix socket by its descriptor, so that neither a link nor the length of its path matters.
#[derive(Debug, Clone)]
pub struct HeldSocket {
    socket: Arc<File>,
    shown: PathBuf,
}

impl HeldSocket {
    /// Takes the descriptor of a socket, opened with `O_PATH`, and the path that messages show.
    pub fn new(socket: File, shown: PathBuf) -> Self {
        Self {
            socket: Arc::new(socket),
            shown,
        }
    }

    /// A path by which this process connects to it; proc_pid_fd(5).
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.socket.as_raw_fd()))
    }
}

impl PartialEq for HeldSocket {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Eq for HeldSocket {}

impl Address {
    /// Reads `http://HOST:PORT[/]`, `HOST:PORT` or `unix:PATH`, also `unix://PATH`; none when the text has no such form: no run
    /// id has a colon.
    ///
    /// # Errors
    /// What would be right, when the rest is no address.
    pub fn parse(text: &str) -> Option<Result<Self, &'static str>> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Some(if path.is_empty() {
                Err("give the path of the socket, as in unix:/run/user/1000/stockade/latest.sock")
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            });
        }
        if text.starts_with("https://") {
            return Some(Err(
                "the status API speaks no TLS; give http:// and the address behind the proxy, or a tunnel to it",
            ));
        }
        let is_authority = |text: &str| {
            let port = text.rsplit_once(':').map(|(_, port)| port);
            let has_port = port
                .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
            // Without its brackets an IPv6 address ends like one with a port.
            let is_bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
            has_port && !is_bare_v6 && !text.contains('/')
        };
        let rest = match text.strip_prefix("http://") {
            Some(rest) => rest,
            None if is_authority(text) => text,
            None => return None,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        let is_whole = port.is_some_and(|port| port.parse::<u16>().is_ok())
            && !authority.starts_with(':')
            && !authority.contains(['/', '@', '?', '#', ' ']);
        Some(if is_whole {
            Ok(Self::Tcp(authority.to_owned()))
        } else {
            Err("give a host and a port and nothing else, as in http://127.0.0.1:8090")
        })
    }

    /// The addresses of a status document, the socket first: it needs no token. A wildcard address is asked by loopback.
    pub fn of(listen: &Listen) -> Vec<Self> {
        let socket = listen.socket.iter().map(|path| Self::Unix(path.into()));
        let tcp = listen.address.iter().map(|text| {
            let mut address = text.clone();
            if let Ok(SocketAddr::V4(v4)) = text.parse()
                && v4.ip().is_unspecified()
            {
                address = format!("127.0.0.1:{}", v4.port());
            } else if let Ok(SocketAddr::V6(v6)) = text.parse()
                && v6.ip().is_unspecified()
            {
                address = format!("[::1]:{}", v6.port());
            }
            Self::Tcp(address)
        });
        socket.chain(tcp).collect()
    }

    /// Whether only this host can listen there; false for a Unix socket and for a name that somebody has to look up.
    pub fn is_loopback(&self) -> bool {
        let Self::Tcp(authority) = self else {
            return false;
        };
        match authority.parse::<SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) => authority.starts_with("localhost:"),
        }
    }

    /// The `Host` header for requests to it.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) | Self::Held(_) => "localhost",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Held(held) => write!(f, "unix:{}", held.shown.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let tcp = |text: &str| Some(Ok(Address::Tcp(text.to_owned())));
        let unix = |text: &str| Some(Ok(Address::Unix(text.into())));
        assert_eq!(
            Address::parse("http://127.0.0.1:8090"),
            tcp("127.0.0.1:8090")
        );
        assert_eq!(Address::parse("http://[::1]:8090/"), tcp("[::1]:8090"));
        assert_eq!(Address::parse("http://localhost:1"), tcp("localhost:1"));
        assert_eq!(Address::parse("unix:/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("unix:///run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("127.0.0.1:8090"), tcp("127.0.0.1:8090"));
        assert_eq!(Address::parse("[::1]:8090"), tcp("[::1]:8090"));
        for name in [
            "latest",
            "fox-1",
            "/recordings/fox-1",
            "./fox:80",
            "a:b",
            "2001:db8::5",
        ] {
            assert_eq!(Address::parse(name), None, "{name}");
        }
        for wrong in [
            "unix:",
            "https://localhost:8090",
            "http://localhost",
            "http://:80",
            "http://localhost:70000",
            "http://localhost:8090/status",
            "http://user@localhost:8090",
            "user@localhost:8090",
            "localhost:70000",
            ":8090",
        ] {
            assert!(matches!(Address::parse(wrong), Some(Err(_))), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_address_and_never_by_a_part_of_a_name() {
        for (authority, expected) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:1", true),
            ("[::1]:8080", true),
            ("localhost:8080", true),
            ("localhost.example.org:8080", false),
            ("127.0.0.1.example.org:8080", false),
            ("10.0.0.1:8080", false),
            ("[::]:8080", false),
        ] {
            let address = Address::Tcp(authority.to_owned());
            assert_eq!(address.is_loopback(), expected, "{authority}");
        }
        assert!(!Address::Unix("/run/a.sock".into()).is_loopback());
    }

    #[test]
    fn the_socket_is_asked_first_and_a_wildcard_by_loopback() {
        let listen = Listen {
            address: Some("0.0.0.0:8090".to_owned()),
            socket: Some("/run/a.sock".to_owned()),
        };
        let addresses = Address::of(&listen);
        assert_eq!(
            addresses,
            [
                Address::Unix("/run/a.sock".into()),
                Address::Tcp("127.0.0.1:8090".to_owned())
            ]
        );
    }
}
