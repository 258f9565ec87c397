//! `stockade health`: whether the run of this container answers, as a health check wants it.
//!
//! Owns where it is looked for: nothing but the addresses at which a run of this machine listens, so that a store that several
//! containers share is never asked. Invariant: it ends within [`HEALTH_LIMIT`], and 0 means that somebody answered.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::timeout;

use super::notice;
use super::place::Place;
use super::reach::{block_on, fail};
use super::results::Results;
use crate::client::{Address, Connection, Liveness, Target, Token};
use crate::description::listen::{DEFAULT_PORT, Listen};
use crate::event::lifecycle;
use crate::session::workload::chain;
use crate::supervisor::listeners::socket_directory;

/// Longest time that a check takes; a health check of an engine has a limit of its own, often 5 s or more.
pub const HEALTH_LIMIT: Duration = Duration::from_secs(3);

/// Most sockets that are asked, the newest first; a container has one run.
pub const MAX_SOCKETS: usize = 16;

/// Most addresses whose answer is told.
const MAX_REASONS: usize = 3;

/// Exit status when nobody answered (Docker takes 1 for unhealthy and reserves 2).
const UNHEALTHY: u8 = 1;

/// Which run, and what is asked.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run: latest, a run id, a run's directory, unix:PATH or HOST:PORT [default: the one that listens here]
    #[arg(value_name = "TARGET")]
    target: Option<String>,

    #[command(flatten)]
    place: Place,

    /// Ask whether the agent has been started, too
    #[arg(long)]
    ready: bool,
}

/// Asks; 0 when a run answers, 1 when none does.
pub fn main(arguments: &Arguments) -> ExitCode {
    let addresses = match &arguments.target {
        Some(named) => match arguments.place.target(named).and_then(|run| listens(&run)) {
            Ok(addresses) => addresses,
            Err(error) => return unhealthy(&error),
        },
        None => here(),
    };
    if addresses.is_empty() {
        return unhealthy("no run listens here");
    }
    let path = if arguments.ready {
        "/readyz"
    } else {
        "/healthz"
    };
    match block_on(first_answer(&addresses, path)) {
        Ok(Ok(address)) => {
            let mut results = Results::stdout();
            results.line(address.to_string());
            results.end(ExitCode::SUCCESS)
        }
        Ok(Err(reasons)) => unhealthy(&told(&reasons)),
        Err(error) => fail(&error, None),
    }
}

fn unhealthy(why: &str) -> ExitCode {
    notice::error(why);
    ExitCode::from(UNHEALTHY)
}

fn told(reasons: &[String]) -> String {
    let shown: Vec<_> = reasons
        .iter()
        .take(MAX_REASONS)
        .map(String::as_str)
        .collect();
    match reasons.len() - shown.len() {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// The first address that answers, else what each of them said.
async fn first_answer(addresses: &[Address], path: &str) -> Result<Address, Vec<String>> {
    let mut reasons = Vec::new();
    let asking = async {
        for address in addresses {
            match asked(address, path).await {
                Ok(()) => return Some(address.clone()),
                Err(reason) => reasons.push(reason),
            }
        }
        None
    };
    match timeout(HEALTH_LIMIT, asking).await {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(reasons),
        Err(_) => {
            let limit = HEALTH_LIMIT.as_secs();
            reasons.push(format!("no answer within {limit} s"));
            Err(reasons)
        }
    }
}

async fn asked(address: &Address, path: &str) -> Result<(), String> {
    let told = |error| chain(&error);
    let mut connection = Connection::open(address, &Token::default())
        .await
        .map_err(told)?;
    let answer = connection
        .ask(Method::GET, path, &[], Bytes::new())
        .await
        .map_err(told)?;
    connection.whole(answer).await.map_err(told)?;
    Ok(())
}

/// Where a named run listens, as its record says.
fn listens(run: &Target) -> Result<Vec<Address>, String> {
    match run {
        Target::Remote(address) | Target::OfPlane { plane: address, .. } => {
            Ok(vec![address.clone()])
        }
        Target::Recorded(_) | Target::Beside { .. } => {
            match run.look().map_err(|error| chain(&error))? {
                Some(found) if found.liveness == Liveness::Left => {
                    Err(format!("nobody works on run {}", found.document.run_id))
                }
                Some(found) => Ok(found.document.listen.iter().flat_map(Address::of).collect()),
                None => Ok(Vec::new()),
            }
        }
    }
}

/// Where a run of this container listens: the address that `STOCKADE_LISTEN` names, else the default one, and its socket.
fn here() -> Vec<Address> {
    let named = std::env::var("STOCKADE_LISTEN").ok();
    let address = match named.as_deref().and_then(|text| Listen::parse(text, false)) {
        Some(Listen::Off) => None,
        Some(Listen::Address(address)) => Some(address.to_string()),
        Some(Listen::Default) | None => Some(format!("127.0.0.1:{DEFAULT_PORT}")),
    };
    let tcp = lifecycle::Listen {
        address,
        socket: None,
    };
    let named = std::env::var_os("STOCKADE_SOCKET").map(PathBuf::from);
    let sockets = match named {
        Some(path) if path == Path::new("none") => Vec::new(),
        Some(path) => vec![path],
        None => default_sockets(),
    };
    let sockets = sockets.into_iter().map(Address::Unix);
    sockets.chain(Address::of(&tcp)).collect()
}

/// Sockets at the place where they are by default, at most [`MAX_SOCKETS`].
fn default_sockets() -> Vec<PathBuf> {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let Some(directory) = socket_directory(given.as_deref().filter(|path| path.is_absolute()))
    else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sockets: Vec<_> = entries
        .map(|entry| {
            (
                entry.metadata().and_then(|data| data.modified()).ok(),
                entry.path(),
            )
        })
        .filter(|(_, path)| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    // A run that was killed leaves its socket.
    sockets.sort_by(|a, b| b.cmp(a));
    let newest = sockets.into_iter().take(MAX_SOCKETS);
    newest.map(|(_, path)| path).collect()
}
