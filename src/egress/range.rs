//! Addresses that are not the public internet: the special ranges of the IANA registries, and metadata services.
//!
//! Owns the tables and nothing else. It never resolves or dials. Invariant: of IPv6 only global unicast that embeds no
//! special IPv4 address is public, so a range that nobody knows yet is special.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not public. Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890), and the
/// documentation of the clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// `0.0.0.0/8` and `::` mean this host.
    Unspecified,
    /// This host.
    Loopback,
    /// RFC 1918 and `fc00::/7`.
    Private,
    /// `100.64.0.0/10`, behind a carrier's NAT.
    Shared,
    /// This link alone.
    LinkLocal,
    /// The metadata service of a cloud, which hands out credentials.
    Metadata,
    /// Many hosts at once.
    Multicast,
    /// `192.0.2.0/24` and its like.
    Documentation,
    /// `198.18.0.0/15`.
    Benchmarking,
    /// An IPv6 address that carries an IPv4 address: mapped, compatible, 6to4, Teredo, a translator's.
    Translated,
    /// Anything else that is not assigned to the public.
    Reserved,
}

impl Special {
    /// The words for people, and for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Translated => "translated",
            Self::Reserved => "reserved",
        }
    }

    /// Whether a private network may be named that has such addresses.
    pub fn can_be_granted(self) -> bool {
        match self {
            Self::Private | Self::Shared => true,
            Self::Unspecified
            | Self::Loopback
            | Self::LinkLocal
            | Self::Metadata
            | Self::Multicast
            | Self::Documentation
            | Self::Benchmarking
            | Self::Translated
            | Self::Reserved => false,
        }
    }

    /// Whether a TCP connection to such an address cannot mean one host, whatever rule names it.
    pub fn is_nowhere(self) -> bool {
        match self {
            Self::Unspecified | Self::Multicast | Self::Translated => true,
            Self::Loopback
            | Self::Private
            | Self::Shared
            | Self::LinkLocal
            | Self::Metadata
            | Self::Documentation
            | Self::Benchmarking
            | Self::Reserved => false,
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Services that hand out credentials to whoever asks from the right place: most clouds; Alibaba; Azure; AWS and Google
/// over IPv6.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// IPv4 ranges: first address, length of the prefix, what it is.
const V4: [(Ipv4Addr, u8, Special); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Special::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Special::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Special::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Special::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Special::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Special::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Special::Documentation),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Special::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Special::Benchmarking),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Special::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Special::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Special::Multicast),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Special::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Special::Reserved),
];

/// IPv6 ranges, the narrower first.
const V6: [(Ipv6Addr, u8, Special); 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, Special::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    // Compatible with IPv4, and mapped.
    (Ipv6Addr::UNSPECIFIED, 96, Special::Translated),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        Special::Translated,
    ),
    // A network's own translator: where in it the IPv4 address stands only that network knows (RFC 8215).
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        Special::Translated,
    ),
    // Protocols of the IETF, Teredo among them.
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        32,
        Special::Translated,
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Special::Documentation,
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        Special::Translated,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Special::Documentation,
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Special::Private,
    ),
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::LinkLocal,
    ),
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::Private,
    ),
    (
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
        Special::Multicast,
    ),
];

/// The translator's prefix that everybody knows; what it carries in its last 32 bits is what is reached (RFC 6052).
const NAT64: Network = Network {
    first: IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)),
    prefix: 96,
};

/// All of the IPv6 addresses that are assigned to the public (RFC 4291).
const GLOBAL_UNICAST: Network = Network {
    first: IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)),
    prefix: 3,
};

/// Tells what an address is, when it is not a public one.
pub fn special(address: IpAddr) -> Option<Special> {
    if METADATA.contains(&address) {
        return Some(Special::Metadata);
    }
    match address {
        IpAddr::V4(v4) => V4
            .iter()
            .find(|(first, prefix, _)| shares_prefix(bits_of_v4(*first), bits_of_v4(v4), *prefix))
            .map(|(_, _, special)| *special),
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            special(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(v6) => V6
            .iter()
            .find(|(first, prefix, _)| shares_prefix(first.to_bits(), v6.to_bits(), *prefix))
            .map(|(_, _, special)| *special)
            .or_else(|| (!GLOBAL_UNICAST.contains(address)).then_some(Special::Reserved)),
    }
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `ADDRESS/PREFIX`; none when it is not one, or has bits behind its prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, prefix) = text.split_once('/')?;
        let first: IpAddr = first.parse().ok()?;
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| is_number)?;
        let width = match first {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let network = Self { first, prefix };
        let last_bits = bits_behind(prefix.checked_add(128 - width)?)?;
        (network.bits() & last_bits == 0).then_some(network)
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                shares_prefix(bits_of_v4(first), bits_of_v4(address), self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                shares_prefix(first.to_bits(), address.to_bits(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether every address of it is one that may be granted: it lies in one private or shared range.
    pub fn can_be_granted(&self) -> bool {
        let v4 = V4.iter().map(|(first, prefix, special)| {
            let network = Self {
                first: IpAddr::V4(*first),
                prefix: *prefix,
            };
            (network, *special)
        });
        let v6 = V6.iter().map(|(first, prefix, special)| {
            let network = Self {
                first: IpAddr::V6(*first),
                prefix: *prefix,
            };
            (network, *special)
        });
        v4.chain(v6).any(|(range, special)| {
            special.can_be_granted() && self.prefix >= range.prefix && range.contains(self.first)
        })
    }

    fn bits(&self) -> u128 {
        match self.first {
            IpAddr::V4(first) => u128::from(first.to_bits()),
            IpAddr::V6(first) => first.to_bits(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// An IPv4 address in the upper bits, so that prefixes of both families are compared alike.
fn bits_of_v4(address: Ipv4Addr) -> u128 {
    u128::from(address.to_bits()) << 96
}

fn shares_prefix(one: u128, other: u128, prefix: u8) -> bool {
    bits_behind(prefix).is_some_and(|behind| one & !behind == other & !behind)
}

/// The bits behind a prefix of 128 bits; none for a longer one.
fn bits_behind(prefix: u8) -> Option<u128> {
    match prefix {
        0..=127 => Some(u128::MAX >> prefix),
        128 => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
