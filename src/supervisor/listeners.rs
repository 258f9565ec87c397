//! Binds the addresses of the status API, before anything else may fail without being heard.
//!
//! Owns the choice of port and socket. A bind failure is a failure of the start, never a silent absence; only the default
//! socket may be absent, and then that is reported.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, fchmod};

use crate::api::{Listener, Reach};
use crate::description::listen::{DEFAULT_PORT, Listen};
use crate::description::sight::Sight;
use crate::description::supervisor::Socket;
use crate::event::lifecycle;
use crate::run::RunId;

/// Ports behind the default one that are tried when it is taken.
pub const MAX_PORT_TRIES: u16 = 64;

/// Where the socket lies for root, when there is no `XDG_RUNTIME_DIR`.
const ROOT_RUNTIME_DIR: &str = "/run";

/// Connections of a listener that may wait to be accepted: a crowd of readers that connects at once waits here, where one that
/// is turned away would come back only after a second (tcp(7): the SYN is sent again). The kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;

/// Longest path of a Unix socket, in bytes (unix(7): 108 with the final NUL).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why the status API has no address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Tcp {
        /// The address that was asked for, or the first that was tried.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket cannot be bound.
    #[error("cannot listen on the socket {path}")]
    Unix {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Bound listeners, and where they can be reached.
#[derive(Debug)]
pub struct Bound {
    /// For the API.
    pub listeners: Vec<Listener>,
    /// For the record.
    pub listen: lifecycle::Listen,
    /// Removed when the run ends.
    pub socket_file: Option<SocketFile>,
}

/// The file of a Unix socket; removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Who removed it before us has done the same.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds what was asked for. `own_network` says whether the workload has a network namespace of its own, `sight` which files
/// it sees.
///
/// # Errors
/// When an address that was asked for by name cannot be bound, or no default port is free.
pub fn bind(
    listen: &Listen,
    socket: &Socket,
    run_id: &RunId,
    own_network: bool,
    sight: &Sight,
) -> Result<Bound, ListenError> {
    let mut bound = Bound {
        listeners: Vec::new(),
        listen: lifecycle::Listen::default(),
        socket_file: None,
    };
    if let Some(listener) = bind_tcp(listen)? {
        let address = listener.local_addr().map_err(|source| ListenError::Tcp {
            address: wanted(listen),
            source,
        })?;
        let is_private = own_network && address.ip().is_loopback();
        let reach = if is_private {
            Reach::Private
        } else {
            Reach::Exposed
        };
        bound.listeners.push(Listener::Tcp { listener, reach });
        bound.listen.address = Some(address.to_string());
    }
    let path = match socket {
        Socket::Off => return Ok(bound),
        Socket::Path(path) => path.clone(),
        Socket::Default { runtime_dir } => match default_socket(runtime_dir.as_deref(), run_id) {
            Some(path) => path,
            None => return Ok(bound),
        },
    };
    let place = sight.place_of(&path);
    if let (Socket::Default { .. }, Some(place)) = (socket, place) {
        tracing::info!(path = %path.display(), place = place.name, "no default socket: the workload would see it");
        return Ok(bound);
    }
    let reach = match sight {
        Sight::Places(_) if place.is_none() => Reach::Private,
        Sight::Places(_) | Sight::Everything => Reach::Exposed,
    };
    if reach == Reach::Exposed && matches!(socket, Socket::Path(_)) {
        tracing::warn!(path = %path.display(), "the workload reaches the socket: control needs a token there");
    }
    match bind_unix(&path) {
        Ok(listener) => {
            bound.listeners.push(Listener::Unix { listener, reach });
            bound.listen.socket = Some(path.display().to_string());
            bound.socket_file = Some(SocketFile(path));
            Ok(bound)
        }
        // Nobody asked for the default socket by name: its absence is on record, and no reason to fail.
        Err(error) if matches!(socket, Socket::Default { .. }) => {
            tracing::info!(path = %path.display(), %error, "no default socket");
            Ok(bound)
        }
        Err(source) => Err(ListenError::Unix { path, source }),
    }
}

fn wanted(listen: &Listen) -> SocketAddr {
    match listen {
        Listen::Address(address) => *address,
        Listen::Default | Listen::Off => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT)
        }
    }
}

fn bind_tcp(listen: &Listen) -> Result<Option<TcpListener>, ListenError> {
    let first = wanted(listen);
    let tries = match listen {
        Listen::Off => return Ok(None),
        Listen::Address(_) => 1,
        Listen::Default => MAX_PORT_TRIES,
    };
    let mut failure = None;
    for offset in 0..tries {
        let address = SocketAddr::new(first.ip(), first.port().saturating_add(offset));
        match TcpListener::bind(address) {
            Ok(listener) => {
                // std asks for 128; a second listen(2) changes that.
                let longer = Backlog::new(BACKLOG)
                    .and_then(|backlog| nix::sys::socket::listen(&listener, backlog));
                return longer
                    .map(|()| Some(listener))
                    .map_err(|errno| ListenError::Tcp {
                        address,
                        source: errno.into(),
                    });
            }
            Err(error) => {
                let is_taken = error.kind() == io::ErrorKind::AddrInUse;
                failure.get_or_insert(error);
                if !is_taken {
                    break;
                }
            }
        }
    }
    let source = failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(ListenError::Tcp {
        address: first,
        source,
    })
}

/// The directory of the default sockets: `$XDG_RUNTIME_DIR/stockade`, for root `/run/stockade`; none when there is neither.
pub fn socket_directory(runtime_dir: Option<&Path>) -> Option<PathBuf> {
    let is_root = nix::unistd::geteuid().is_root();
    let base = runtime_dir.or_else(|| is_root.then_some(Path::new(ROOT_RUNTIME_DIR)))?;
    Some(base.join("stockade"))
}

/// The run's socket in the directory of the default sockets, which is made; none when there is none.
fn default_socket(runtime_dir: Option<&Path>, run_id: &RunId) -> Option<PathBuf> {
    let directory = socket_directory(runtime_dir)?;
    let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            tracing::info!(path = %directory.display(), %error, "no directory for the default socket");
            return None;
        }
    }
    Some(directory.join(format!("{run_id}.sock")))
}

/// Binds a socket with mode 0600; a file of a dead supervisor at its place is removed, a living one's is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        let message = format!("the path is longer than {MAX_SOCKET_PATH_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // Before the bind, so that the file never has another mode (unix(7): it takes the socket's, less the umask).
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::api::ListenerTrust;
    use crate::description::sight::Place;

    #[test]
    fn a_crowd_that_connects_at_once_waits_and_is_not_turned_away() {
        // The kernel caps what is asked for.
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let n_clients = most.trim().parse::<usize>().unwrap().min(500);
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let listener = bind_tcp(&Listen::Address(any)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let limit = std::time::Duration::from_millis(900);
        // Nobody accepts. The kernel answers each within the first try, or not before a second has passed.
        let clients: Vec<_> = (0..n_clients)
            .map(|_| TcpStream::connect_timeout(&address, limit).unwrap())
            .collect();
        assert_eq!(clients.len(), n_clients);
    }

    #[test]
    fn the_default_socket_is_absent_where_the_workload_sees_it_and_less_trusted_without_isolation()
    {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        let link = dir.path().join("link");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let seen = |path: PathBuf| {
            Sight::Places(vec![Place {
                name: "the workspace".to_owned(),
                path: path.canonicalize().unwrap(),
            }])
        };
        for (sight, expected) in [
            (seen(real), None),
            (seen(dir.path().to_owned()), None),
            (seen("/usr".into()), Some(ListenerTrust::Everything)),
            (Sight::Everything, Some(ListenerTrust::Reading)),
        ] {
            let runtime_dir = Some(link.clone());
            let socket = Socket::Default { runtime_dir };
            let run_id = "run".parse().unwrap();
            let bound = bind(&Listen::Off, &socket, &run_id, true, &sight).unwrap();
            let trust = bound.listeners.first().map(Listener::trust);
            assert_eq!(trust, expected, "{sight:?}");
            assert_eq!(bound.listen.socket.is_some(), expected.is_some());
        }
    }
}
