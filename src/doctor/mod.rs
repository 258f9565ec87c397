//! What this host allows, what of the sandbox holds, and what to change.
//!
//! Owns the examination: every finding was done, none was asked for. Never changes the host: what it makes (a sandbox, a file
//! in the recordings, a socket) is gone when it returns. Invariant: the examination holds exactly when a run with the same
//! flags would get its sandbox.

mod advice;
mod host;
mod screen;
mod storage;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use stockade_sandbox::{Enforced, Finding, Helper, survey};

use crate::description::{Listen, RunDescription, SupervisorOptions};
use crate::session::start::{BUILD_LIMIT, Choice, StartError};
use crate::session::workload::{HELPER_ARGUMENT, chain};
use crate::supervisor::policy;

pub use advice::Advice;
pub use host::{Engine, Host};
pub use screen::render;
pub use storage::Storage;

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// The version of this program.
    pub version: &'static str,
    /// Where it runs.
    pub host: Host,
    /// Each step of a sandbox alone.
    pub trials: Vec<Finding>,
    /// The whole sandbox.
    pub sandbox: Built,
    /// The place of the recordings.
    pub recordings: Storage,
    /// The status port.
    pub port: Port,
    /// What to change, the most helpful first.
    pub advice: Vec<Advice>,
    /// Whether a run with these flags gets its sandbox.
    pub holds: bool,
}

/// What came of building the sandbox of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Built {
    /// What is enforced, and how long the building took.
    Enforced {
        /// Tier, layers and limits.
        #[serde(flatten)]
        enforced: Enforced,
        /// Time in milliseconds.
        build_ms: f64,
    },
    /// Why there is none.
    Refused {
        /// The step, its object and the errno, or the layer that is missing.
        reason: String,
    },
}

/// Whether the status port could be bound.
#[derive(Debug, Serialize)]
pub struct Port {
    /// The address that was named; without one a run takes the next free port, or has none.
    pub address: Option<SocketAddr>,
    /// Why not.
    pub error: Option<String>,
}

/// Examines the host for a run of this description. The caller must have one thread.
///
/// # Errors
/// If no process can be made at all.
pub fn examine(
    program: &Path,
    description: &RunDescription,
    options: &SupervisorOptions,
) -> std::io::Result<Examination> {
    let host = Host::here();
    let trials = survey()?;
    let sandbox = build(program, description, &options.recordings);
    let recordings = storage::look(&options.recordings);
    let port = port(options.listen);
    let holds = matches!(sandbox, Built::Enforced { .. });
    let advice = advice::all(&host, &trials, &sandbox, &recordings, &port);
    Ok(Examination {
        version: env!("CARGO_PKG_VERSION"),
        host,
        trials,
        sandbox,
        recordings,
        port,
        advice,
        holds,
    })
}

fn build(program: &Path, description: &RunDescription, recordings: &Path) -> Built {
    let began = Instant::now();
    let built = || {
        let policy = policy::of(description, Some(recordings));
        let helper = Helper::spawn(program, &[HELPER_ARGUMENT]).map_err(StartError::Helper)?;
        let sandbox = match Choice::of(description) {
            Choice::Best => helper
                .build_best(policy, || None, BUILD_LIMIT)
                .map_err(StartError::Best)?,
            Choice::Named => {
                let plan = policy.plan().map_err(StartError::Plan)?;
                helper.build(plan, BUILD_LIMIT).map_err(StartError::Build)?
            }
        };
        let enforced = sandbox.enforced().clone();
        Ok::<_, StartError>((enforced, began.elapsed()))
    };
    match built() {
        Ok((enforced, took)) => Built::Enforced {
            enforced,
            build_ms: took.as_secs_f64() * 1_000.0,
        },
        Err(error) => Built::Refused {
            reason: chain(&error),
        },
    }
}

fn port(listen: Listen) -> Port {
    let address = match listen {
        Listen::Address(address) => Some(address),
        Listen::Default | Listen::Off => None,
    };
    let error = address.and_then(|address| TcpListener::bind(address).err());
    Port {
        address,
        error: error.map(|error| error.to_string()),
    }
}
