//! From a name to its addresses, asked by the supervisor and never by the workload.
//!
//! Owns the reading of `hosts` and `resolv.conf` and the conversation with their servers: the ways of the C library
//! (`files dns`) without its code, which a static binary cannot carry. Never judges an address. Invariants: a name is
//! absolute, nothing is appended to it; nothing is remembered from one lookup to the next; every wait has a limit.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::dns::{Answer, Family, LOOPBACK, Question};
use super::host::HostName;

/// Longest lookup of a name.
pub const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// How long addresses of IPv6 are waited for when those of IPv4 are there: some servers never answer that question.
pub const SECOND_FAMILY_LIMIT: Duration = Duration::from_millis(300);

/// Servers that are asked, as in the C library (resolv.conf(5)).
pub const MAX_SERVERS: usize = 3;

/// Longest wait for one server, unless `options timeout:` gives less.
const SERVER_LIMIT: Duration = Duration::from_secs(3);

/// How often the servers are asked, unless `options attempts:` gives less.
const ATTEMPTS: u32 = 2;

/// Largest `hosts` file that is read, in bytes; what is behind it is not seen.
const MAX_HOSTS_BYTES: u64 = 4 << 20;

/// Largest `resolv.conf`.
const MAX_CONFIGURATION_BYTES: u64 = 64 << 10;

/// Largest answer over UDP that is received: more than is asked for.
const UDP_BUFFER_BYTES: usize = 4_096;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name has no address")]
    NoAddress,
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// A server said that it cannot tell.
    #[error("the name servers cannot tell")]
    Failed,
    /// The system refused.
    #[error("the name servers cannot be asked: {0}")]
    System(io::Error),
}

/// Looks names up as the host's configuration says, which is read anew each time.
#[derive(Debug, Clone)]
pub struct Resolver {
    hosts: PathBuf,
    configuration: PathBuf,
    port: u16,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            hosts: PathBuf::from("/etc/hosts"),
            configuration: PathBuf::from("/etc/resolv.conf"),
            port: 53,
        }
    }
}

impl Resolver {
    /// A resolver with other files and another port of its servers.
    pub fn with(hosts: &Path, configuration: &Path, port: u16) -> Self {
        Self {
            hosts: hosts.to_owned(),
            configuration: configuration.to_owned(),
            port,
        }
    }

    /// Looks a name up; IPv4 first, and each address once.
    ///
    /// # Errors
    /// When it has no address, or nobody could tell within [`LOOKUP_LIMIT`]. There is never an empty list.
    pub async fn lookup(&self, name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        if name.is_localhost() {
            return Ok(LOOPBACK.to_vec());
        }
        let files = (self.hosts.clone(), self.configuration.clone());
        let read = move || {
            (
                read_text(&files.0, MAX_HOSTS_BYTES),
                read_text(&files.1, MAX_CONFIGURATION_BYTES),
            )
        };
        let (hosts, configuration) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| ResolveError::System(io::Error::other(error)))?;
        let listed = addresses_in_hosts(&hosts, name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let servers = Servers::parse(&configuration, self.port);
        match timeout(LOOKUP_LIMIT, servers.lookup(name)).await {
            Ok(addresses) => addresses,
            Err(_) => Err(ResolveError::Timeout),
        }
    }
}

/// The beginning of a file; empty when it cannot be read, as for the C library.
fn read_text(path: &Path, max_bytes: u64) -> String {
    let mut bytes = Vec::new();
    // What was read before an error counts.
    let _ = File::open(path).and_then(|file| file.take(max_bytes).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The addresses of a name in `hosts` (hosts(5)).
fn addresses_in_hosts(text: &str, name: &HostName) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        let is_ours = |word: &str| HostName::parse(word).is_ok_and(|listed| listed == *name);
        if words.any(is_ours) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// The servers of `resolv.conf`, and how they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Servers {
    addresses: Vec<SocketAddr>,
    limit: Duration,
    attempts: u32,
}

impl Servers {
    /// Reads resolv.conf(5). `search` and `domain` have no effect: names are absolute.
    fn parse(text: &str, port: u16) -> Self {
        let mut servers = Self {
            addresses: Vec::new(),
            limit: SERVER_LIMIT,
            attempts: ATTEMPTS,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if servers.addresses.len() < MAX_SERVERS => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    let address = address.map(|address| SocketAddr::new(address, port));
                    servers.addresses.extend(address);
                }
                Some("options") => words.for_each(|option| servers.set(option)),
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            servers.addresses.push(local);
        }
        servers
    }

    fn set(&mut self, option: &str) {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        if let Some(seconds) = option.strip_prefix("timeout:").and_then(number) {
            self.limit = SERVER_LIMIT.min(Duration::from_secs(u64::from(seconds)));
        }
        if let Some(attempts) = option.strip_prefix("attempts:").and_then(number) {
            self.attempts = ATTEMPTS.min(attempts);
        }
    }

    async fn lookup(&self, name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        let (v4, v6) = (self.ask(name, Family::V4), self.ask(name, Family::V6));
        tokio::pin!(v4, v6);
        // Both go on in either case: the one that is ready first is only looked at first.
        let (v4, v6) = tokio::select! {
            v4 = &mut v4 => {
                let v6 = match &v4 {
                    Ok(found) if !found.is_empty() => timeout(SECOND_FAMILY_LIMIT, v6).await.unwrap_or(Ok(Vec::new())),
                    Ok(_) | Err(_) => v6.await,
                };
                (v4, v6)
            }
            v6 = &mut v6 => (v4.await, v6),
        };
        let mut addresses = Vec::new();
        let mut fault = None;
        for found in [v4, v6] {
            match found {
                Ok(found) => addresses.extend(found),
                Err(error) => fault = Some(error),
            }
        }
        match (addresses.is_empty(), fault) {
            (false, _) => Ok(addresses),
            (true, Some(error)) => Err(error),
            (true, None) => Err(ResolveError::NoAddress),
        }
    }

    /// Asks one server after the other for the addresses of one family.
    async fn ask(&self, name: &HostName, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        let mut fault = ResolveError::Timeout;
        for _ in 0..self.attempts {
            for server in &self.addresses {
                match timeout(self.limit, ask_server(*server, name, family)).await {
                    Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                    Ok(Ok(Answer::NoName)) => return Ok(Vec::new()),
                    Ok(Ok(Answer::Failed | Answer::Truncated)) => fault = ResolveError::Failed,
                    Ok(Err(error)) => fault = ResolveError::System(error),
                    Err(_) => {}
                }
            }
        }
        Err(fault)
    }
}

/// Asks over UDP, and over TCP when the answer does not fit.
async fn ask_server(server: SocketAddr, name: &HostName, family: Family) -> io::Result<Answer> {
    let id = getrandom::u32().map_err(io::Error::other)?.to_le_bytes();
    let question = Question::new(u16::from_le_bytes([id[0], id[1]]), name, family);
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connected: what others send is not received, and a closed port is told at once.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question.encode()).await?;
    let mut buffer = vec![0; UDP_BUFFER_BYTES];
    loop {
        let n_bytes = socket.recv(&mut buffer).await?;
        match question.read(buffer.get(..n_bytes).unwrap_or_default()) {
            // Somebody guesses; the server's own answer is still to come.
            None => {}
            Some(Answer::Truncated) => return ask_over_tcp(server, &question).await,
            Some(answer) => return Ok(answer),
        }
    }
}

async fn ask_over_tcp(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let message = question.encode();
    let length = u16::try_from(message.len()).unwrap_or(0);
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&message).await?;
    let n_bytes = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; n_bytes];
    stream.read_exact(&mut answer).await?;
    Ok(question.read(&answer).unwrap_or(Answer::Failed))
}

#[cfg(test)]
mod tests;
