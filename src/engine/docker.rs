//! Containers of an engine with Docker's API: each run is one container, with the supervisor as its first process.
//!
//! Owns finding a container by its name and by the labels that make it ours, and the order in which one is made. The
//! description goes over as standard input, so that no secret of it is in an image, on a disk or in what the engine shows. The
//! status API is a socket in the run's own directory, which is all that a container sees of the recordings. Invariant: what
//! a container writes there is not trusted; no address that it tells is asked.

mod container;
mod creation;
mod state;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, ListContainersOptions, LogsOptions,
    RemoveContainerOptions,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::program::Program;
use super::{
    Accepted, Bound, Capabilities, Engine, EngineError, EngineState, Force, Order, PendingReason,
};
use crate::client::{Address, Target, Token};
use crate::description::DescriptionErrors;
use crate::description::secret::Secret;
use crate::recordings::claim::Claim;
use crate::recordings::{RecordingsError, RunDir, Store};
use crate::run::RunId;
pub use token::KeyError;

/// Name of the engine.
pub const NAME: &str = "docker";

/// Where the engine listens where nobody says so.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Longest time for an answer of the engine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How old a creation may be before the absence of a container means that it failed.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// How long a container may be without a status API before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Lines of a container's own output that are kept of a run that left no record, and their bytes.
const LAST_LINES: &str = "10";
const MAX_LAST_BYTES: usize = 1024;

/// Runs in containers.
#[derive(Debug)]
pub struct DockerEngine {
    store: Arc<Store>,
    program: Program,
    socket: String,
    image: Option<String>,
    /// What tells the containers of these recordings from those of others.
    owner: String,
    key: Secret,
    client: OnceCell<Docker>,
}

/// What has the name of a run's container.
enum Named {
    Ours {
        bound: Bound,
        state: EngineState,
        /// The engine's id of the container.
        container: String,
    },
    Foreign,
    Nothing,
}

impl DockerEngine {
    /// An engine on `socket`, whose runs record into `store`; `image` is that of descriptions without one. The daemon is
    /// asked with the first run only, and may be away at any time.
    ///
    /// # Errors
    /// When the key from which tokens of runs are made can be neither made nor read.
    pub fn new(
        store: Arc<Store>,
        program: Program,
        socket: String,
        image: Option<String>,
    ) -> Result<Self, KeyError> {
        let key = token::key(&store)?;
        Ok(Self {
            owner: token::owner(&key),
            store,
            program,
            socket,
            image,
            key,
            client: OnceCell::new(),
        })
    }

    async fn client(&self) -> Result<&Docker, EngineError> {
        let connect = async {
            let limit = ANSWER_LIMIT.as_secs();
            Docker::connect_with_unix(&self.socket, limit, bollard::API_DEFAULT_VERSION)?
                .negotiate_version()
                .await
        };
        self.client
            .get_or_try_init(|| connect)
            .await
            .map_err(unavailable)
    }

    fn name(&self, run_id: &RunId) -> String {
        container::name(&self.owner, run_id)
    }

    /// Finds a container by its name.
    async fn find(&self, run_id: &RunId) -> Result<Named, EngineError> {
        let (client, name) = (self.client().await?, self.name(run_id));
        let asked = client.inspect_container(&name, None::<InspectContainerOptions>);
        let found = match asked.await {
            Ok(found) => found,
            Err(error) if status_of(&error) == Some(404) => return Ok(Named::Nothing),
            Err(error) => return Err(unavailable(error)),
        };
        let container = found.id.unwrap_or_else(|| name.clone());
        let labels = found.config.and_then(|config| config.labels);
        if !container::is_ours(&labels.unwrap_or_default(), &self.owner, run_id) {
            return Ok(Named::Foreign);
        }
        let (store, id) = (Arc::clone(&self.store), run_id.clone());
        let claim = blocking(move || match store.open_run(&id)? {
            Some(run) => Ok(Claim::load(&run).unwrap_or_default()),
            None => Ok(None),
        });
        let bound = Bound {
            run_id: run_id.clone(),
            instance_id: claim.await?.map(|claim| claim.nonce),
        };
        Ok(Named::Ours {
            bound,
            state: state::of(found.state.as_ref()),
            container,
        })
    }

    /// A container that is not ours is none.
    async fn look(&self, run_id: &RunId) -> Result<(Option<Bound>, EngineState), EngineError> {
        Ok(match self.find(run_id).await? {
            Named::Ours { bound, state, .. } => (Some(bound), state),
            Named::Foreign | Named::Nothing => (None, EngineState::Gone),
        })
    }
}

fn unavailable(error: Error) -> EngineError {
    EngineError::Unavailable {
        engine: NAME,
        source: error.into(),
    }
}

fn refusal(run_id: &RunId, source: Box<dyn std::error::Error + Send + Sync>) -> EngineError {
    EngineError::Refused {
        engine: NAME,
        run_id: run_id.clone(),
        source,
    }
}

/// The status of an answer that refuses.
fn status_of(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Words of a container as one line without control characters.
fn one_line(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Does what waits for the disk elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordingsError> + Send + 'static,
) -> Result<T, EngineError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Unavailable {
        engine: NAME,
        source,
    };
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.into())),
        Err(error) => Err(failed(error.into())),
    }
}

impl Engine for DockerEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            remembers_exits: true,
            create_limit: CREATE_LIMIT,
            start_limit: START_LIMIT,
        }
    }

    fn accept(
        &self,
        run_id: &RunId,
        description: &Map<String, Value>,
    ) -> Result<Accepted, DescriptionErrors> {
        container::accept(run_id, description, self.image.as_deref())
    }

    fn target(&self, run: RunDir) -> Target {
        Target::Beside {
            run,
            socket: container::SOCKET,
        }
    }

    fn token(&self, run_id: &RunId) -> Token {
        Token::new(Some(token::of_run(&self.key, run_id)))
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
        blocking(move || {
            let Some(run) = store.open_run(&run_id)? else {
                return Ok(Vec::new());
            };
            let socket = container::SOCKET;
            // No socket yet: not listening.
            Ok(Target::Beside { run, socket }
                .addresses()
                .unwrap_or_default())
        })
        .boxed()
    }

    fn end<'a>(&'a self, bound: &'a Bound, force: Force) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            let signal = match force {
                Force::Stop => "SIGTERM",
                Force::Kill => "SIGKILL",
            };
            let options = KillContainerOptions {
                signal: signal.to_owned(),
            };
            let name = self.name(&bound.run_id);
            let killed = self.client().await?.kill_container(&name, Some(options));
            match killed.await {
                // Not there, or not running any more.
                Err(error) if !matches!(status_of(&error), Some(404 | 409)) => {
                    Err(refusal(&bound.run_id, error.into()))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn remove<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            let (bound, state) = self.look(run_id).await?;
            if bound.is_none() {
                return Ok(());
            }
            if matches!(
                state,
                EngineState::Running | EngineState::Pending(PendingReason::Restarting)
            ) {
                return Err(refusal(run_id, "its container still runs".into()));
            }
            let options = RemoveContainerOptions {
                v: true,
                ..RemoveContainerOptions::default()
            };
            let name = self.name(run_id);
            let removed = self.client().await?.remove_container(&name, Some(options));
            match removed.await {
                // Gone, or another control plane is at it.
                Err(error) if !matches!(status_of(&error), Some(404 | 409)) => {
                    Err(refusal(run_id, error.into()))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn last_words<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Option<String>> {
        async move {
            let options = LogsOptions {
                stdout: true,
                stderr: true,
                tail: LAST_LINES.to_owned(),
                ..LogsOptions::default()
            };
            let name = self.name(run_id);
            let mut logs = Box::pin(self.client().await.ok()?.logs(&name, Some(options)));
            let mut words = Vec::new();
            let reading = async {
                while let Some(Ok(log)) = logs.next().await {
                    if let LogOutput::StdErr { message } | LogOutput::StdOut { message } = log {
                        words.extend_from_slice(&message);
                    }
                    if words.len() > MAX_LAST_BYTES {
                        break;
                    }
                }
            };
            let _ = timeout(ANSWER_LIMIT, reading).await;
            words.truncate(MAX_LAST_BYTES);
            let text = one_line(&String::from_utf8_lossy(&words));
            (!text.is_empty()).then_some(text)
        }
        .boxed()
    }

    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<RunId>, EngineError>> {
        async move {
            let options = ListContainersOptions {
                all: true,
                filters: Some(HashMap::from([(
                    "label".to_owned(),
                    vec![container::owner_filter(&self.owner)],
                )])),
                ..ListContainersOptions::default()
            };
            let listed = self.client().await?.list_containers(Some(options));
            let listed = listed.await.map_err(unavailable)?;
            let ids = listed.into_iter().filter_map(|container| {
                container.labels?.get(container::RUN_ID_LABEL)?.parse().ok()
            });
            Ok(ids.collect())
        }
        .boxed()
    }
}
