//! The listeners and what is known of them: who can reach them and by which names.
//!
//! Owns the rule which `Host` is ours. It neither binds nor accepts.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixListener;

/// Who can reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only this host, and the workload cannot: loopback, while the workload has a network namespace of its own; a socket's
    /// file that it does not see.
    Private,
    /// The workload, and of a TCP listener that is not on loopback anybody.
    Exposed,
}

/// How far a listener's clients are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTrust {
    /// A private Unix socket: file permissions say who may connect. Everything is open.
    Everything,
    /// A private TCP listener; a Unix socket that the workload can reach, which can read the recording's files as well.
    /// Reading is open.
    Reading,
    /// A TCP listener that others can reach: everything needs a token.
    Nothing,
}

/// A listener, bound by the caller.
#[derive(Debug)]
pub enum Listener {
    /// A TCP listener.
    Tcp {
        /// The bound listener.
        listener: std::net::TcpListener,
        /// Who can reach it.
        reach: Reach,
    },
    /// A Unix stream socket.
    Unix {
        /// The bound listener; its file has mode 0600.
        listener: UnixListener,
        /// Whether the workload can reach it.
        reach: Reach,
    },
}

impl Listener {
    /// How far its clients are trusted.
    pub fn trust(&self) -> ListenerTrust {
        match self {
            Self::Unix {
                reach: Reach::Private,
                ..
            } => ListenerTrust::Everything,
            Self::Unix {
                reach: Reach::Exposed,
                ..
            }
            | Self::Tcp {
                reach: Reach::Private,
                ..
            } => ListenerTrust::Reading,
            Self::Tcp {
                reach: Reach::Exposed,
                ..
            } => ListenerTrust::Nothing,
        }
    }
}

/// Names by which a connection may address us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// Any: a browser cannot reach a Unix socket, so no name can be rebound to it.
    Any,
    /// `localhost`, loopback addresses, the connection's own address, and this one.
    Only {
        /// The address that the listener is bound to.
        bound: IpAddr,
        /// Whether the listener is bound to all addresses. Then every address is ours, for behind a port mapping we do not
        /// know it; a rebound name is still refused.
        is_unspecified: bool,
    },
}

impl Names {
    pub(super) fn of_tcp(bound: SocketAddr) -> Self {
        Self::Only {
            bound: bound.ip().to_canonical(),
            is_unspecified: bound.ip().is_unspecified(),
        }
    }

    /// True when `authority` (`host[:port]`) is a name of ours; the port does not matter. `local` is the address at our
    /// end of the connection.
    pub(super) fn contains(&self, authority: &str, local: Option<IpAddr>) -> bool {
        let Self::Only {
            bound,
            is_unspecified,
        } = self
        else {
            return true;
        };
        let host = bare_host(authority);
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                let ip = ip.to_canonical();
                *is_unspecified
                    || ip.is_loopback()
                    || local.is_some_and(|local| local.to_canonical() == ip)
                    || *bound == ip
            }
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The host of `host[:port]`, without brackets and without the dot of a fully qualified name.
fn bare_host(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        // More than one colon: an address without brackets, as a configuration may have it.
        None if authority.matches(':').count() > 1 => authority,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_ours_or_not() {
        let loopback = Names::of_tcp("127.0.0.1:8090".parse().unwrap());
        let all = Names::of_tcp("0.0.0.0:8090".parse().unwrap());
        let local = Some("127.0.0.1".parse().unwrap());
        for (authority, on_loopback, on_all) in [
            ("localhost", true, true),
            ("LOCALHOST:99", true, true),
            ("127.0.0.1:8090", true, true),
            ("127.0.0.2", true, true),
            ("[::1]:8090", true, true),
            ("LocalHost.", true, true),
            ("box.example:1", false, false),
            ("evil.example", false, false),
            ("localhost.evil.example", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("10.0.0.1:8090", false, true),
            ("", false, false),
        ] {
            assert_eq!(
                loopback.contains(authority, local),
                on_loopback,
                "{authority}"
            );
            assert_eq!(all.contains(authority, local), on_all, "{authority}");
            assert!(Names::Any.contains(authority, None));
        }
    }

    #[test]
    fn the_connections_own_address_is_ours() {
        let names = Names::of_tcp("[::]:8090".parse().unwrap());
        assert!(names.contains("10.1.2.3", Some("::ffff:10.1.2.3".parse().unwrap())));
    }
}
