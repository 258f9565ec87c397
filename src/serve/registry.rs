//! Finding a run again, wherever it is.
//!
//! Owns the order of the looks (record, engine, the run itself) and the repair that follows from them: a run that is lost gets
//! its end on record before anybody is told. Between two calls it keeps nothing but which runs the
//! engine did not have a moment ago. Invariant: two processes that look at the
//! same time tell the same and repair once, for the repair is done under the run's lock.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use super::absence::Absences;
use super::evidence::Evidence;
use super::flight::Flights;
use super::metrics::Counters;
use super::verdict::{Contact, Loss, Recorded, Verdict, decide};
use crate::client::{ClientError, Connection};
use crate::engine::{Bound, Engine, EngineState, Force};
use crate::finalize::{Ending, finalize};
use crate::recordings::claim::Occupancy;
use crate::recordings::lock::{LockError, RunLock};
use crate::recordings::{RecordingsError, RunDir, Store, layout};
use crate::run::{ErrorCode, RunId};
use crate::session::workload::chain;

/// How often a run is looked at anew after it was given its end; once is enough, and no run may hold a request.
const MAX_LOOKS: usize = 3;

/// Finds runs.
#[derive(Debug)]
pub struct Registry {
    /// The recordings.
    pub store: Arc<Store>,
    /// What hosts the runs.
    pub engine: Arc<dyn Engine>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Every task of the control plane.
    pub tasks: TaskTracker,
    absences: Absences,
    flights: Flights<Result<Option<Arc<View>>, LookError>>,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The run itself.
    Live,
    /// Its recording.
    Persisted,
    /// What the engine says, for there is no document yet.
    Engine,
}

/// What is known of a run.
#[derive(Debug)]
pub struct View {
    /// The status document, or as much of one as there is.
    pub document: Map<String, Value>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether the run could not be asked though it may live.
    pub is_stale: bool,
    /// What the engine found.
    pub bound: Option<Bound>,
    /// The evidence on record.
    pub evidence: Evidence,
    handle: Map<String, Value>,
}

/// A run could not be looked at.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookError {
    /// The recordings cannot be read.
    #[error("cannot read the recording")]
    Recordings(#[source] Arc<RecordingsError>),
    /// Nothing is known of the run, and the engine does not answer.
    #[error("the engine does not answer, and nothing is recorded of the run")]
    Unavailable,
    /// The run is lost, and could not be given its end.
    #[error("cannot give the run its end on record: {message}")]
    NoEnd {
        /// Why.
        message: String,
    },
}

impl View {
    /// True when the run has its end.
    pub fn is_terminal(&self) -> bool {
        self.evidence.recorded == Recorded::Terminal
    }

    /// The word of `status`.
    pub fn status(&self) -> &str {
        self.document
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or("starting")
    }

    /// The answer to `GET /runs/{id}`.
    pub fn to_json(&self) -> Value {
        let mut answer = self.document.clone();
        let source = match self.origin {
            Origin::Live => "live",
            Origin::Persisted => "persisted",
            Origin::Engine => "engine",
        };
        answer.insert("source".to_owned(), source.into());
        answer.insert("stale".to_owned(), self.is_stale.into());
        if self.is_stale {
            let age = u64::try_from(self.evidence.age.as_millis()).unwrap_or(u64::MAX);
            answer.insert("stale_ms".to_owned(), age.into());
        }
        answer.insert("handle".to_owned(), Value::Object(self.handle.clone()));
        Value::Object(answer)
    }
}

impl Registry {
    /// Finds runs of that engine in these recordings.
    pub fn new(
        store: Arc<Store>,
        engine: Arc<dyn Engine>,
        counters: Arc<Counters>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            store,
            engine,
            counters,
            tasks,
            absences: Absences::default(),
            flights: Flights::default(),
        }
    }

    /// Looks at a run; none where there is none. Those who ask at the same time share a look, which began after each of them
    /// had asked.
    ///
    /// # Errors
    /// When nothing can be said of it.
    pub async fn view(&self, id: &RunId) -> Result<Option<Arc<View>>, LookError> {
        let look = || async { Ok(self.look(id).await?.map(Arc::new)) };
        self.flights.share(id, look).await
    }

    async fn look(&self, id: &RunId) -> Result<Option<View>, LookError> {
        let limits = self.engine.capabilities();
        for _ in 0..MAX_LOOKS {
            let mut evidence = self.evidence(id).await?;
            if evidence.recorded == Recorded::Terminal {
                return Ok(Some(self.told(id, evidence, None, EngineState::Gone, None)));
            }
            let is_unrecorded = evidence.recorded == Recorded::Nothing;
            if is_unrecorded && self.absences.has(id, Instant::now()) {
                return Ok(None);
            }
            let (bound, state) = match self.engine.inspect(id).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the engine does not answer");
                    // What began may be asked without it.
                    let bound = (evidence.recorded == Recorded::Begun).then(|| Bound {
                        run_id: id.clone(),
                        instance_id: None,
                    });
                    (bound, EngineState::Unknown)
                }
            };
            let live = match (&bound, &state) {
                (Some(bound), EngineState::Running | EngineState::Unknown) => self.ask(bound).await,
                _ => None,
            };
            if live.is_none() {
                // It may have ended between the two looks.
                evidence = self.evidence(id).await?;
            }
            let contact = if live.is_some() {
                Contact::Alive
            } else {
                Contact::Silent
            };
            match decide(&state, contact, evidence.recorded, &limits) {
                Verdict::Stored
                | Verdict::Live
                | Verdict::Starting
                | Verdict::Stale
                | Verdict::Orphan => {
                    return Ok(Some(self.told(id, evidence, bound, state, live)));
                }
                Verdict::Absent => {
                    if is_unrecorded && state == EngineState::Gone {
                        self.absences.remember(id, Instant::now());
                    }
                    return Ok(None);
                }
                Verdict::Unavailable => return Err(LookError::Unavailable),
                Verdict::Lose(loss) => {
                    if let (Loss::NotStarted, Some(bound)) = (loss, &bound) {
                        // Its record cannot be completed while it holds the lock.
                        let _ = self.engine.end(bound, Force::Kill).await;
                    }
                    self.lose(id, evidence, loss, &state).await?;
                }
            }
        }
        Err(LookError::NoEnd {
            message: "somebody else works on it".to_owned(),
        })
    }

    async fn evidence(&self, id: &RunId) -> Result<Evidence, LookError> {
        let (store, id) = (Arc::clone(&self.store), id.clone());
        match spawn_blocking(move || Evidence::of(&store, &id)).await {
            Ok(found) => found.map_err(|error| LookError::Recordings(Arc::new(error))),
            Err(error) => Err(LookError::NoEnd {
                message: error.to_string(),
            }),
        }
    }

    /// Connects to the run, and shows that it is that run which answers.
    pub async fn connect(
        &self,
        bound: &Bound,
    ) -> Result<(Connection, Map<String, Value>), Option<ClientError>> {
        let addresses = self.engine.addresses(bound).await.map_err(|_| None)?;
        let token = self.engine.token(&bound.run_id);
        let mut refused = None;
        for address in addresses {
            let answer = async {
                let mut connection = Connection::open(&address, &token).await?;
                let (bytes, _) = connection
                    .status("/status?actions=tail", Some(&bound.run_id))
                    .await?;
                Ok((connection, bytes))
            };
            match answer.await {
                Ok((connection, bytes)) => {
                    return match serde_json::from_slice(&bytes) {
                        Ok(document) => Ok((connection, document)),
                        Err(_) => Err(None),
                    };
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused)
    }

    async fn ask(&self, bound: &Bound) -> Option<Map<String, Value>> {
        self.connect(bound).await.ok().map(|(_, document)| document)
    }

    fn told(
        &self,
        id: &RunId,
        evidence: Evidence,
        bound: Option<Bound>,
        state: EngineState,
        live: Option<Map<String, Value>>,
    ) -> View {
        let is_terminal = evidence.recorded == Recorded::Terminal;
        let is_live = live.is_some() && !is_terminal;
        // One that was claimed a moment ago has no status to be stale.
        let is_begun = evidence.recorded == Recorded::Begun && evidence.document.is_some();
        let is_stale = !is_live && !is_terminal && (is_begun || state == EngineState::Unknown);
        let (document, origin) = match (live.filter(|_| is_live), &evidence.document) {
            (Some(live), _) => (live, Origin::Live),
            (None, Some(stored)) => (stored.clone(), Origin::Persisted),
            (None, None) => {
                let mut document = Map::new();
                document.insert("run_id".to_owned(), id.as_str().into());
                document.insert("status".to_owned(), "starting".into());
                document.insert("phase".to_owned(), "starting".into());
                document.insert("labels".to_owned(), Value::Object(evidence.labels()));
                (document, Origin::Engine)
            }
        };
        let phase = match (&state, document.get("status").and_then(Value::as_str)) {
            _ if is_terminal && document.get("status") == Some(&json!("failed")) => "failed",
            _ if is_terminal => "terminated",
            (EngineState::Unknown, _) if origin != Origin::Live => "unknown",
            _ if evidence.intent.is_some() => "stopping",
            (EngineState::Running | EngineState::Unknown, _) => "running",
            (EngineState::Pending(_) | EngineState::Exited { .. } | EngineState::Gone, _) => {
                "pending"
            }
        };
        let silent = match state {
            EngineState::Unknown => "the engine does not answer; this is the last that is known",
            _ => "the run does not answer; this is the last that is known",
        };
        let error = is_stale.then_some(silent);
        let mut handle = Map::new();
        handle.insert("phase".to_owned(), phase.into());
        handle.insert("error".to_owned(), error.into());
        handle.insert("engine".to_owned(), self.engine.capabilities().name.into());
        let instance = bound.as_ref().and_then(|bound| bound.instance_id.clone());
        handle.insert("instance_id".to_owned(), instance.into());
        View {
            document,
            origin,
            is_stale,
            bound,
            evidence,
            handle,
        }
    }

    /// Gives a lost run its end. Of several processes one does it; the others find it done.
    async fn lose(
        &self,
        id: &RunId,
        evidence: Evidence,
        loss: Loss,
        state: &EngineState,
    ) -> Result<(), LookError> {
        let Some(run) = evidence.run else {
            return Ok(());
        };
        // What began has its own record; of what did not, only the engine can tell.
        let words = match (evidence.recorded, state) {
            (Recorded::Asked(_), EngineState::Exited { .. }) => self.engine.last_words(id).await,
            _ => None,
        };
        let found = Found {
            loss,
            state: state.clone(),
            words,
        };
        let ended = spawn_blocking(move || give_end(&run, &found)).await;
        match ended {
            Ok(Ok(true)) => {
                self.counters.runs_lost.inc();
                tracing::warn!(reason = loss.as_str(), "a run was lost");
                Ok(())
            }
            Ok(Ok(false)) => Ok(()),
            Ok(Err(message)) => Err(LookError::NoEnd { message }),
            Err(error) => Err(LookError::NoEnd {
                message: error.to_string(),
            }),
        }
    }
}

/// What is known of a lost run.
struct Found {
    loss: Loss,
    state: EngineState,
    /// The last that its sandbox wrote.
    words: Option<String>,
}

impl Found {
    /// Whether the kernel's memory limit ended the sandbox.
    fn is_out_of_memory(&self) -> bool {
        matches!(self.state, EngineState::Exited { oom: true, .. })
    }

    fn message(&self) -> String {
        let mut message = format!("the run was lost: {}", self.loss.as_str());
        if let EngineState::Exited { code, .. } = &self.state {
            if let Some(code) = code {
                message.push_str(&format!(" (exit code {code})"));
            }
            if self.is_out_of_memory() {
                message.push_str("; the memory limit of its sandbox killed it");
            }
        }
        if let Some(words) = &self.words {
            message.push_str("; it said: ");
            message.push_str(words);
        }
        message
    }
}

/// True when this call gave the end; false when somebody else has it in hand.
fn give_end(run: &RunDir, found: &Found) -> Result<bool, String> {
    let lock = match RunLock::try_acquire(run) {
        Ok(lock) => lock,
        Err(LockError::Held { .. } | LockError::Gone { .. }) => return Ok(false),
        Err(error) => return Err(chain(&error)),
    };
    let ending = match Occupancy::under_lock(run).map_err(|error| chain(&error))? {
        Occupancy::Finished => return Ok(false),
        // A stop that was asked for is what ended the run, also where memory ran out on the way.
        Occupancy::Abandoned | Occupancy::Locked
            if found.is_out_of_memory()
                && !run.contains(layout::STOP).map_err(|error| chain(&error))? =>
        {
            Ending::Failed {
                code: ErrorCode::OomKilled,
                message: found.message(),
            }
        }
        // The log knows more than we do, and so does a stop that was asked for.
        Occupancy::Abandoned | Occupancy::Locked => Ending::Found,
        Occupancy::Vacant => Ending::Failed {
            code: ErrorCode::Lost,
            message: found.message(),
        },
    };
    finalize(run, &lock, &ending, None)
        .map(|_| true)
        .map_err(|error| chain(&error))
}

#[cfg(test)]
pub(in crate::serve) mod tests;
