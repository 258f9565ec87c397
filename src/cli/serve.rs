//! `stockade serve`: the control plane of the runs of this host.
//!
//! Owns the order of its start and end: token, listener, a line that says how to ask, serving until a signal, the drain. It
//! starts nothing that ends with it. Invariant: an address that others can reach is never served without a token.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::place::Place;
use super::prune::size;
use super::{FAILURE, notice};
use crate::api::server::serve_with;
use crate::api::{Auth, Limits, Listener, Reach, Scope};
use crate::description::credentials::read_secret_file;
use crate::description::secret::Secret;
use crate::engine::Engine;
use crate::engine::docker::{self, DockerEngine};
use crate::engine::local::LocalEngine;
use crate::engine::program::Program;
use crate::recordings::Store;
use crate::recordings::prune::{MAX_KEEP_DAYS, MAX_KEEP_RUNS, Retention};
use crate::serve::admission::{Admission, DEFAULT_MAX_RUNS};
use crate::serve::creation::Creation;
use crate::serve::hub::Hub;
use crate::serve::metrics::Counters;
use crate::serve::reaper::Reaper;
use crate::serve::registry::Registry;
use crate::serve::retention;
use crate::serve::service::{ControlPlane, ServeService};
use crate::serve::token;
use crate::session::workload::chain;

/// Where the control plane listens where nobody says so.
const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Largest number of runs that may be asked for: one control plane looks at each every few seconds.
const MAX_MAX_RUNS: i64 = 10_000;

/// Threads that run tasks.
const WORKER_THREADS: usize = 2;

/// Threads for calls that block: looks into recordings, and reads for readers that are behind.
const MAX_BLOCKING_THREADS: usize = 32;

/// What the control plane serves, and to whom.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Listen on ADDRESS:PORT [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    #[command(flatten)]
    place: Place,

    /// Host runs as process trees of this host, or as containers of an engine with Docker's API
    #[arg(long, value_name = "ENGINE", value_parser = ["local", "docker"], default_value = "local")]
    engine: String,

    /// Reach the container engine at PATH [default: that of DOCKER_HOST, else /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,

    /// Run descriptions without the key `image` in IMAGE
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Let at most COUNT runs go on at once [default: 256]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=MAX_MAX_RUNS))]
    max_runs: Option<u16>,

    /// Remove recordings older than so many days, every minute [default: keep all]
    #[arg(
        long,
        value_name = "DAYS",
        env = "STOCKADE_KEEP_DAYS",
        hide_env_values = true,
        value_parser = clap::value_parser!(u64).range(1..=MAX_KEEP_DAYS)
    )]
    keep_days: Option<u64>,

    /// Remove the oldest recordings beyond so many runs [default: keep all]
    #[arg(
        long,
        value_name = "COUNT",
        env = "STOCKADE_KEEP_RUNS",
        hide_env_values = true,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_KEEP_RUNS))
    )]
    keep_runs: Option<u32>,

    /// Remove the oldest recordings beyond so many bytes: bytes, or 500MB, 1GiB [default: keep all]
    #[arg(
        long,
        value_name = "SIZE",
        env = "STOCKADE_KEEP_BYTES",
        hide_env_values = true,
        value_parser = kept_size
    )]
    keep_bytes: Option<u64>,

    /// Read the token for reading and control from FILE [default: one is made, in .stockade/token of the recordings]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Read the token for reading alone from FILE
    #[arg(long, value_name = "FILE")]
    read_token_file: Option<PathBuf>,
}

/// None of the limits is 0: a run that is created at this moment is not to go.
fn kept_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("give more than 0".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Serves until a signal: 0, or 125 when it could not begin.
pub fn main(arguments: &Arguments) -> ExitCode {
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            notice::error(&message);
            ExitCode::from(FAILURE)
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let recordings = arguments.place.path().map_err(|error| chain(&error))?;
    let recordings = std::path::absolute(&recordings)
        .map_err(|error| format!("cannot use {}: {error}", recordings.display()))?;
    let store = Store::open_or_create(&recordings).map_err(|error| chain(&error))?;
    let address = arguments.listen.unwrap_or(DEFAULT_ADDRESS);
    let (tokens, is_minted) = tokens(arguments, address, &store)?;
    let auth = Auth::new(
        tokens
            .iter()
            .map(|(scope, token)| (*scope, token.expose().as_bytes())),
    )
    .map_err(|error| chain(&error))?;
    let listener = TcpListener::bind(address).map_err(|error| {
        format!("cannot listen on {address}: {error}; name another address by --listen")
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    // The program by its file: the link in /proc is another process's once it has become a child.
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot begin: {error}"))?;
    let keep = Retention::of(
        arguments.keep_days,
        arguments
            .keep_runs
            .and_then(|runs| usize::try_from(runs).ok()),
        arguments.keep_bytes,
    );
    let told = how_to_ask(address, is_minted.then(|| token::path(&store)));
    runtime.block_on(async {
        let (draining, tasks) = (CancellationToken::new(), TaskTracker::new());
        let store = Arc::new(store);
        let program = Program::new(program, recordings);
        let engine = engine(arguments, &store, &program, &tasks)?;
        let kept = Arc::clone(&store);
        let registry = Arc::new(Registry::new(
            store,
            engine,
            Arc::new(Counters::default()),
            tasks.clone(),
        ));
        let reaper = Reaper::new(Arc::clone(&registry));
        let plane = ControlPlane {
            hub: Hub::new(Arc::clone(&registry)),
            creation: Creation::new(
                program,
                Admission::new(arguments.max_runs.unwrap_or(DEFAULT_MAX_RUNS)),
            ),
            registry,
            auth,
            limits: Limits::default(),
            draining: draining.clone(),
        };
        end_on_signal(&tasks, draining.clone())?;
        let listener = Listener::Tcp {
            listener,
            // Runs with the host's network reach every port of this host.
            reach: Reach::Exposed,
        };
        tasks.spawn(reaper.work(draining.clone()));
        tasks.spawn(retention::work(kept, keep, draining.clone()));
        notice::line(&told);
        let service = ServeService::new(plane);
        let served = serve_with(vec![listener], service, draining, tasks).await;
        served.map(drop).map_err(|error| chain(&error))
    })
}

/// What hosts the runs.
fn engine(
    arguments: &Arguments,
    store: &Arc<Store>,
    program: &Program,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Engine>, String> {
    let (store, program) = (Arc::clone(store), program.clone());
    if arguments.engine == docker::NAME {
        let socket = docker_socket(arguments)?;
        let engine = DockerEngine::new(store, program, socket, arguments.image.clone());
        return Ok(Arc::new(engine.map_err(|error| chain(&error))?));
    }
    for (flag, is_given) in [
        ("--docker-socket", arguments.docker_socket.is_some()),
        ("--image", arguments.image.is_some()),
    ] {
        if is_given {
            return Err(format!("{flag} has no meaning without --engine docker"));
        }
    }
    Ok(Arc::new(LocalEngine::new(store, program, tasks.clone())))
}

fn docker_socket(arguments: &Arguments) -> Result<String, String> {
    if let Some(path) = &arguments.docker_socket {
        let path = path.to_str().ok_or("--docker-socket is no text")?;
        return Ok(path.to_owned());
    }
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => match host.strip_prefix("unix://") {
            Some(path) => Ok(path.to_owned()),
            None => Err(format!(
                "DOCKER_HOST is {host:?}; runs need an engine of this host, so give unix://PATH, or --docker-socket"
            )),
        },
        _ => Ok(docker::DEFAULT_SOCKET.to_owned()),
    }
}

fn tokens(
    arguments: &Arguments,
    address: SocketAddr,
    store: &Store,
) -> Result<(Vec<(Scope, Secret)>, bool), String> {
    let mut tokens = Vec::new();
    for (scope, file) in [
        (Scope::Control, &arguments.token_file),
        (Scope::Read, &arguments.read_token_file),
    ] {
        if let Some(file) = file {
            let secret = read_secret_file(file).map_err(|(_, expected)| {
                format!("cannot use the token in {}: {expected}", file.display())
            })?;
            tokens.push((scope, secret));
        }
    }
    if arguments.token_file.is_some() {
        return Ok((tokens, false));
    }
    if !address.ip().is_loopback() {
        return Err(format!(
            "{address} can be reached by others; give a token by --token-file"
        ));
    }
    let minted = token::mint(store).map_err(|error| chain(&error))?;
    tokens.push((Scope::Control, minted));
    Ok((tokens, true))
}

/// The line that says where it listens, and a command that asks it.
fn how_to_ask(address: SocketAddr, minted: Option<PathBuf>) -> String {
    let token = match minted {
        Some(path) => format!("$(cat '{}')", path.display()),
        None => "$TOKEN".to_owned(),
    };
    format!(
        "stockade: control plane on http://{address}\n\
         stockade: try  curl -sS -H \"Authorization: Bearer {token}\" http://{address}/runs -d '{{\"command\": [\"echo\", \"hello\"]}}'"
    )
}

/// Ends with the first signal that asks for it.
fn end_on_signal(tasks: &TaskTracker, draining: CancellationToken) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tasks.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        draining.cancel();
    });
    Ok(())
}
