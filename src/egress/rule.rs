//! Rules: which hosts a workload may reach, and which addresses a name may lead to.
//!
//! Owns their grammar and the decision. Never resolves and never dials. Invariants: what no rule names is denied, so an
//! empty list denies all; a blocked name is denied whatever allows it; an address is reached only by a rule that is that
//! address.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::host::{Host, HostError, HostName, Target, parse_port, split_port};
use super::range::{Network, Special, special};

/// Most entries of a list; each is compared with each request.
pub const MAX_ENTRIES: usize = 256;

/// The ports of a rule that names none: HTTP and HTTPS.
pub const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// What an entry that names a network begins with.
const PRIVATE: &str = "private:";

/// Why a text is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The host or the port cannot be read.
    #[error("{0}")]
    Host(HostError),
    /// A scheme or a path.
    #[error("a rule has no scheme and no path; give HOST or HOST:PORT")]
    Scheme,
    /// A `*` that is not the whole rule and not the first label.
    #[error("a * stands alone or as the first label, as in *.example.com")]
    Wildcard,
    /// A name of the host itself.
    #[error("a name never leads to this host; give an address with its port, as in 127.0.0.1:8080")]
    Localhost,
    /// An address that is reached only by address and port.
    #[error("it is a {0} address, which is allowed only with its port, as in 127.0.0.1:8080")]
    NeedsPort(Special),
    /// An address that names no host.
    #[error("it is a {0} address, which is no host that could be connected to")]
    Nowhere(Special),
    /// A network that is none, or that may not be granted.
    #[error(
        "a network is given as private:ADDRESS/PREFIX, within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or fc00::/7"
    )]
    Private,
    /// An address where names alone are taken.
    #[error("only names are blocked; an address is reached only when a rule is that address")]
    Address,
    /// A port where names alone are taken.
    #[error("a name is blocked at every port; leave the port out")]
    Port,
    /// Too many entries.
    #[error("give at most 256 entries")]
    TooMany,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(HostName),
    Below(HostName),
    AtOrBelow(HostName),
    Address(IpAddr),
}

impl Pattern {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, Host::Name(_)) => true,
            (Self::Exact(own), Host::Name(name)) => own == name,
            (Self::Below(own), Host::Name(name)) => name.is_below(own),
            (Self::AtOrBelow(own), Host::Name(name)) => own == name || name.is_below(own),
            (Self::Address(own), Host::Address(address)) => own == address,
            (
                Self::Any | Self::Exact(_) | Self::Below(_) | Self::AtOrBelow(_),
                Host::Address(_),
            )
            | (Self::Address(_), Host::Name(_)) => false,
        }
    }
}

/// One rule: a host, and its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pattern: Pattern,
    /// [`DEFAULT_PORTS`] without one.
    port: Option<u16>,
}

impl Rule {
    /// Reads `HOST`, `*.HOST`, `.HOST`, `*` or an address, each with `:PORT` or without.
    ///
    /// # Errors
    /// When it is none of them, or an address that no rule may name.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        if text.contains('/') {
            return Err(RuleError::Scheme);
        }
        let (host, digits) = split_port(text);
        let port = match digits {
            None => None,
            Some(digits) => Some(parse_port(digits).ok_or(RuleError::Host(HostError::Port))?),
        };
        let name = |text| {
            let name = HostName::parse(text).map_err(RuleError::Host)?;
            match name.is_localhost() {
                true => Err(RuleError::Localhost),
                false => Ok(name),
            }
        };
        let pattern = if host == "*" {
            Pattern::Any
        } else if let Some(rest) = host.strip_prefix("*.") {
            if rest.contains('*') {
                return Err(RuleError::Wildcard);
            }
            Pattern::Below(name(rest)?)
        } else if let Some(rest) = host.strip_prefix('.') {
            Pattern::AtOrBelow(name(rest)?)
        } else if host.contains('*') {
            return Err(RuleError::Wildcard);
        } else {
            match Host::parse(host).map_err(RuleError::Host)? {
                Host::Name(_) => Pattern::Exact(name(host)?),
                Host::Address(address) => Pattern::Address(nameable(address, port)?),
            }
        };
        Ok(Self { pattern, port })
    }

    fn has_port(&self, port: u16) -> bool {
        match self.port {
            Some(own) => own == port,
            None => DEFAULT_PORTS.contains(&port),
        }
    }
}

/// An address that a rule with this port may name.
fn nameable(address: IpAddr, port: Option<u16>) -> Result<IpAddr, RuleError> {
    match special(address) {
        Some(special) if special.is_nowhere() => Err(RuleError::Nowhere(special)),
        Some(special) if port.is_none() && !special.can_be_granted() => {
            Err(RuleError::NeedsPort(special))
        }
        Some(_) | None => Ok(address),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Any => f.write_str("*")?,
            Pattern::Exact(name) => name.fmt(f)?,
            Pattern::Below(name) => write!(f, "*.{name}")?,
            Pattern::AtOrBelow(name) => write!(f, ".{name}")?,
            Pattern::Address(address) => Host::Address(*address).fmt(f)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// What may be reached. Its text is that of the operator, in one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct AllowList {
    rules: Vec<Rule>,
    private: Vec<Network>,
}

impl AllowList {
    /// Adds one entry: a rule, or `private:NETWORK`.
    ///
    /// # Errors
    /// When it is neither, or one more than [`MAX_ENTRIES`].
    pub fn add(&mut self, entry: &str) -> Result<(), RuleError> {
        if self.rules.len() + self.private.len() >= MAX_ENTRIES {
            return Err(RuleError::TooMany);
        }
        let beginning = entry.split_at_checked(PRIVATE.len());
        match beginning.filter(|(word, _)| word.eq_ignore_ascii_case(PRIVATE)) {
            Some((_, network)) => {
                let network = Network::parse(network).filter(Network::can_be_granted);
                self.private.push(network.ok_or(RuleError::Private)?);
            }
            None => {
                let rule = Rule::parse(entry)?;
                // A host of this name with a port would be told as a network.
                if rule.to_string().starts_with(PRIVATE) {
                    return Err(RuleError::Private);
                }
                self.rules.push(rule);
            }
        }
        Ok(())
    }

    /// The entries, in one spelling.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        let private = self.private.iter();
        let private = private.map(|network| format!("{PRIVATE}{network}"));
        self.rules.iter().map(ToString::to_string).chain(private)
    }

    /// The addresses that rules name.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.rules.iter().filter_map(|rule| match rule.pattern {
            Pattern::Address(address) => Some(address),
            Pattern::Any | Pattern::Exact(_) | Pattern::Below(_) | Pattern::AtOrBelow(_) => None,
        })
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.entries().collect();
        f.write_str(&entries.join(","))
    }
}

impl TryFrom<Vec<String>> for AllowList {
    type Error = RuleError;

    fn try_from(entries: Vec<String>) -> Result<Self, RuleError> {
        let mut list = Self::default();
        for entry in &entries {
            list.add(entry)?;
        }
        Ok(list)
    }
}

impl From<AllowList> for Vec<String> {
    fn from(list: AllowList) -> Self {
        list.entries().collect()
    }
}

/// Names that are never reached, each with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct BlockList(Vec<HostName>);

impl BlockList {
    /// Adds `NAME`; `*.NAME` and `.NAME` mean the same.
    ///
    /// # Errors
    /// When it is no name, or one more than [`MAX_ENTRIES`].
    pub fn add(&mut self, entry: &str) -> Result<(), RuleError> {
        if self.0.len() >= MAX_ENTRIES {
            return Err(RuleError::TooMany);
        }
        if entry.contains('/') {
            return Err(RuleError::Scheme);
        }
        let name = entry.strip_prefix('*').unwrap_or(entry);
        let name = name.strip_prefix('.').unwrap_or(name);
        if name.contains('*') || entry == "*" {
            return Err(RuleError::Wildcard);
        }
        if let (_, Some(_)) = split_port(name) {
            return Err(RuleError::Port);
        }
        match Host::parse(name).map_err(RuleError::Host)? {
            Host::Name(name) => self.0.push(name),
            Host::Address(_) => return Err(RuleError::Address),
        }
        Ok(())
    }

    /// Whether nothing is blocked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &HostName) -> Option<&HostName> {
        self.0
            .iter()
            .find(|blocked| *blocked == name || name.is_below(blocked))
    }
}

impl TryFrom<Vec<String>> for BlockList {
    type Error = RuleError;

    fn try_from(entries: Vec<String>) -> Result<Self, RuleError> {
        let mut list = Self::default();
        for entry in &entries {
            list.add(entry)?;
        }
        Ok(list)
    }
}

impl From<BlockList> for Vec<String> {
    fn from(list: BlockList) -> Self {
        list.0.iter().map(ToString::to_string).collect()
    }
}

/// Why a connection is denied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No rule names the host.
    NoRule,
    /// A rule names the host, and none this port.
    Port,
    /// The name is blocked, by this entry.
    Blocked(HostName),
    /// It leads to nothing but addresses that are not public.
    Address(Special),
    /// It is the status API of this run.
    OwnApi,
}

impl Denial {
    /// The stable name, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::Port => "port",
            Self::Blocked(_) => "blocked",
            Self::Address(_) => "special-address",
            Self::OwnApi => "status-api",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule names this host"),
            Self::Port => f.write_str("no rule names this port of the host"),
            Self::Blocked(entry) => write!(f, "{entry} is blocked"),
            Self::Address(special) => write!(f, "it leads to a {special} address"),
            Self::OwnApi => f.write_str("it is the status API of this run"),
        }
    }
}

/// What a run may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// What is allowed.
    pub allow: AllowList,
    /// What is denied all the same.
    pub block: BlockList,
}

impl Policy {
    /// Decides on a target before anything is resolved; gives the rule that allows it.
    ///
    /// # Errors
    /// With the reason, when it is denied.
    pub fn decide(&self, target: &Target) -> Result<&Rule, Denial> {
        if let Host::Name(name) = &target.host
            && let Some(entry) = self.block.find(name)
        {
            return Err(Denial::Blocked(entry.clone()));
        }
        let mut denial = Denial::NoRule;
        for rule in &self.allow.rules {
            if rule.pattern.matches(&target.host) {
                if rule.has_port(target.port) {
                    return Ok(rule);
                }
                denial = Denial::Port;
            }
        }
        Err(denial)
    }

    /// Decides on an address that a name leads to.
    ///
    /// # Errors
    /// With what it is, when it is not public and in no network that was named.
    pub fn admit(&self, address: IpAddr) -> Result<(), Special> {
        let is_granted = || {
            let private = &self.allow.private;
            private.iter().any(|network| network.contains(address))
        };
        match special(address) {
            None => Ok(()),
            Some(special) if special.can_be_granted() && is_granted() => Ok(()),
            Some(special) => Err(special),
        }
    }
}

#[cfg(test)]
mod tests;
