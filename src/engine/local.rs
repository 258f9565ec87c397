//! The engine that is always there: each run is a guardian and its supervisor on this host.
//!
//! Owns starting `stockade run` detached, and finding it again by the run's directory. What it starts outlives it: a session
//! of its own, no pipe back, no death signal. The description goes over in a memfd, so that no secret is on a disk or a
//! command line. Whether a run lives is told by its lock alone, so any process that sees the recordings can tell; a pid is
//! used only for signals, and only after its boot and start time were compared.

use std::ffi::OsString;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{Bound, Capabilities, Engine, EngineError, EngineState, Force, Order};
use crate::client::{Address, Target};
use crate::recordings::claim::{Claim, is_alive};
use crate::recordings::lock::Holder;
use crate::recordings::{RecordingsError, RunDir, Store};
use crate::run::RunId;

/// Name of the engine.
pub const NAME: &str = "local";

/// Word by which the program starts itself for a run; people never say it.
pub const DETACHED: &str = "detached-run";

/// How old a creation may be before its absence means that it failed: a process that was started takes its lock within
/// milliseconds, and a host may be busy.
const CREATE_LIMIT: Duration = Duration::from_secs(30);

/// How long a run may hold its lock without a status API: its listener is bound before its agent starts.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Variables of the control plane that a run sees. Not one of ours is among them: what a run is stands in its description.
const KEPT_VARIABLES: [&str; 9] = [
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "LANG",
    "PATH",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// What the program is asked when it is started for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Check the description and tell its public form or its faults.
    Check,
    /// Run it.
    Start,
}

impl Question {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Start => "start",
        }
    }
}

/// Runs on this host.
#[derive(Debug)]
pub struct LocalEngine {
    store: Arc<Store>,
    recordings: PathBuf,
    program: PathBuf,
    /// Waits for the processes that were started here; each wait ends with its process.
    tasks: TaskTracker,
}

impl LocalEngine {
    /// An engine whose runs record into `store`; `program` is this program.
    pub fn new(store: Arc<Store>, recordings: &Path, program: PathBuf, tasks: TaskTracker) -> Self {
        Self {
            store,
            recordings: recordings.to_owned(),
            program,
            tasks,
        }
    }

    /// The program, asked a question about a run whose description it reads from a memfd.
    ///
    /// # Errors
    /// When there is no memory or descriptor for the description.
    pub fn command(
        &self,
        question: Question,
        run_id: &RunId,
        description: &[u8],
    ) -> std::io::Result<tokio::process::Command> {
        let mut memory = std::fs::File::from(memfd_create(
            c"stockade-description",
            MFdFlags::MFD_CLOEXEC,
        )?);
        memory.write_all(description)?;
        memory.seek(SeekFrom::Start(0))?;
        let kept =
            std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept));
        let kept: Vec<(OsString, OsString)> = kept.collect();
        let mut command = tokio::process::Command::new(&self.program);
        command
            .arg(DETACHED)
            .arg(question.as_str())
            .arg(&self.recordings)
            .arg(run_id.as_str())
            .env_clear()
            .envs(kept)
            .stdin(Stdio::from(memory))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command)
    }

    async fn start(&self, order: &Order) -> Result<Bound, EngineError> {
        let refused = |source: std::io::Error| EngineError::Refused {
            engine: NAME,
            run_id: order.run_id.clone(),
            source: source.into(),
        };
        let (bound, state) = self.look(&order.run_id).await?;
        if let (Some(bound), EngineState::Running) = (bound, state) {
            return Ok(bound);
        }
        let mut child = self
            .command(Question::Start, &order.run_id, &order.description)
            .and_then(|mut command| command.spawn())
            .map_err(refused)?;
        // The one wait for it: without it a run that ended would stay as a zombie. It ends with the run.
        self.tasks.spawn(async move {
            let _ = child.wait().await;
        });
        Ok(Bound {
            run_id: order.run_id.clone(),
            instance_id: None,
        })
    }

    async fn look(&self, run_id: &RunId) -> Result<(Option<Bound>, EngineState), EngineError> {
        let (store, run_id) = (Arc::clone(&self.store), run_id.clone());
        self.blocking(move || {
            let Some(run) = store.open_run(&run_id)? else {
                return Ok((None, EngineState::Gone));
            };
            if Holder::of(&run)? == Holder::Nobody {
                return Ok((None, EngineState::Gone));
            }
            let claim = Claim::load(&run).unwrap_or_default();
            let bound = Bound {
                run_id,
                instance_id: claim.map(|claim| claim.nonce),
            };
            Ok((Some(bound), EngineState::Running))
        })
        .await
    }

    /// Does what waits for the disk elsewhere.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RecordingsError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let unavailable =
            |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Unavailable {
                engine: NAME,
                source,
            };
        match spawn_blocking(work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(unavailable(error.into())),
            Err(error) => Err(unavailable(error.into())),
        }
    }
}

/// Sends a signal to the supervisor that claimed the run, if that very process is still there.
fn signal(run: &RunDir, signal: Signal) -> Result<(), RecordingsError> {
    if let Some(claim) = Claim::load(run)?
        && is_alive(&claim)
        && let Ok(pid) = i32::try_from(claim.pid)
    {
        // Whoever ended meanwhile needs no signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }
    Ok(())
}

impl Engine for LocalEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            remembers_exits: false,
            create_limit: CREATE_LIMIT,
            start_limit: START_LIMIT,
        }
    }

    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Bound, EngineError>> {
        self.start(order).boxed()
    }

    fn inspect<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<(Option<Bound>, EngineState), EngineError>> {
        self.look(run_id).boxed()
    }

    fn addresses<'a>(
        &'a self,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<Vec<Address>, EngineError>> {
        let (store, run_id) = (Arc::clone(&self.store), bound.run_id.clone());
        self.blocking(move || {
            let Some(run) = store.open_run(&run_id)? else {
                return Ok(Vec::new());
            };
            // No address yet, or none that can be read: not listening.
            Ok(Target::Recorded(run).addresses().unwrap_or_default())
        })
        .boxed()
    }

    fn end<'a>(&'a self, bound: &'a Bound, force: Force) -> BoxFuture<'a, Result<(), EngineError>> {
        let (store, run_id) = (Arc::clone(&self.store), bound.run_id.clone());
        self.blocking(move || {
            let by = match force {
                Force::Stop => Signal::SIGTERM,
                Force::Kill => Signal::SIGKILL,
            };
            match store.open_run(&run_id)? {
                // A free lock: nobody is left to be signalled, whatever the claim says.
                Some(run) if Holder::of(&run)? == Holder::Somebody => signal(&run, by),
                Some(_) | None => Ok(()),
            }
        })
        .boxed()
    }

    fn remove<'a>(&'a self, _bound: &'a Bound) -> BoxFuture<'a, Result<(), EngineError>> {
        // Processes that have ended leave nothing but the recording.
        async { Ok(()) }.boxed()
    }
}

/// The description of an order, wiped when it is dropped.
pub fn secret_bytes(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}
