//! The engine that is always there: each run is a guardian and its supervisor on this host.
//!
//! Owns starting `stockade run` detached, and finding it again by the run's directory. What it starts outlives it: a session
//! of its own, no pipe back, no death signal. Whether a run lives is told by its lock alone, so any process that sees the recordings can tell; a pid is
//! used only for signals, and only after its boot and start time were compared.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use super::program::{Program, Question, TRACEPARENT};
use super::{
    Accepted, Bound, Capabilities, Engine, EngineError, EngineState, Force, Order, unchanged,
};
use serde_json::{Map, Value};

use crate::client::{Address, Target};
use crate::description::DescriptionErrors;
use crate::recordings::claim::{Claim, is_alive};
use crate::recordings::lock::Holder;
use crate::recordings::{RecordingsError, RunDir, Store};
use crate::run::RunId;

/// Name of the engine.
pub const NAME: &str = "local";

/// How old a creation may be before its absence means that it failed: a process that was started takes its lock within
/// milliseconds, and a host may be busy.
const CREATE_LIMIT: Duration = Duration::from_secs(30);

/// How long a run may hold its lock without a status API: its listener is bound before its agent starts.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs on this host.
#[derive(Debug)]
pub struct LocalEngine {
    store: Arc<Store>,
    program: Program,
    /// Waits for the processes that were started here; each wait ends with its process.
    tasks: TaskTracker,
}

impl LocalEngine {
    /// An engine whose runs record into `store`.
    pub fn new(store: Arc<Store>, program: Program, tasks: TaskTracker) -> Self {
        Self {
            store,
            program,
            tasks,
        }
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
            .program
            .asked(Question::Start, &order.run_id, &order.accepted.delivered)
            .and_then(|mut command| {
                command.envs(order.trace.iter().map(|trace| (TRACEPARENT, trace)));
                command.spawn()
            })
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

    fn accept(
        &self,
        _run_id: &RunId,
        description: &Map<String, Value>,
    ) -> Result<Accepted, DescriptionErrors> {
        // What has no meaning on this host is refused by the check.
        Ok(unchanged(description))
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

    fn remove<'a>(&'a self, _run_id: &'a RunId) -> BoxFuture<'a, Result<(), EngineError>> {
        // Processes that have ended leave nothing but the recording.
        async { Ok(()) }.boxed()
    }
}
