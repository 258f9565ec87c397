//! Creating a run: checked, named, recorded, and handed to the engine.
//!
//! Owns the order of `POST /runs`. A description is checked by the very program that will run it, in a process of its own and
//! in the run's environment: what it names is never read or closed by the control plane. In order: (1) the body is read and
//! the id is found, (2) the description is checked, (3) the key stands for the id, (4) the run is let in and `spec.json` is
//! on disk, if it was absent, (5) the engine creates. A process that dies between two of these leaves a run that a repetition goes on with,
//! or that is found as lost. No secret of a description is written anywhere.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::admission::Admission;
use super::idempotency::{Key, Meaning};
use super::registry::Registry;
use super::verdict::Recorded;
use crate::api::problem::{Problem, ProblemCode};
use crate::engine::program::{Program, Question};
use crate::engine::{Accepted, Order};
use crate::finalize::{Ending, finalize};
use crate::recordings::directory::Creation as FileCreation;
use crate::recordings::lock::RunLock;
use crate::recordings::{RecordingsError, RunDir, Store, layout};
use crate::run::{ErrorCode, RunId};
use crate::session::workload::chain;

/// Largest body of `POST /runs`, in bytes: what a description file may have.
pub const MAX_DESCRIPTION_BYTES: usize = crate::document::MAX_DOCUMENT_BYTES;

/// Descriptions that are checked at the same time; more wait.
const MAX_CHECKS: usize = 4;

/// Longest time for a check.
const CHECK_LIMIT: Duration = Duration::from_secs(20);

/// Largest answer of a check, in bytes: the public form of a description, and its faults.
const MAX_CHECKED_BYTES: usize = 4 << 20;

/// Creates runs.
#[derive(Debug)]
pub struct Creation {
    program: Program,
    admission: Admission,
    checks: Semaphore,
}

/// A run that was created, or had been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The run.
    pub run_id: RunId,
    /// Whether an earlier request with the same key had created it.
    pub is_repeated: bool,
}

/// What a check found.
#[derive(Debug, Deserialize)]
struct Checked {
    #[serde(default)]
    spec: Option<Value>,
    #[serde(default)]
    faults: Vec<Value>,
}

/// A body that is a JSON object, and the run that it means.
#[expect(missing_debug_implementations, reason = "the body has secrets")]
pub struct Request {
    body: Zeroizing<Vec<u8>>,
    object: Map<String, Value>,
    run_id: RunId,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no JSON object, or names no run id of the right form.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let object: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Problem::new(
                ProblemCode::BadRequest,
                format!("the body is no JSON object with the keys of a run description ({place})"),
            )
        })?;
        let run_id = match object.get("run_id") {
            None => RunId::mint(),
            Some(given) => given.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| {
                Problem::new(
                    ProblemCode::InvalidDescription,
                    "run_id is a DNS label: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
                )
            })?,
        };
        Ok(Self {
            body: Zeroizing::new(body.to_vec()),
            object,
            run_id,
        })
    }
}

impl Creation {
    /// Has descriptions checked by this program, and lets runs in by that count.
    pub fn new(program: Program, admission: Admission) -> Self {
        Self {
            program,
            admission,
            checks: Semaphore::new(MAX_CHECKS),
        }
    }

    /// Checks a description and starts nothing; gives its public form, or its faults.
    ///
    /// # Errors
    /// When it could not be checked.
    pub async fn dry_run(&self, registry: &Registry, request: &Request) -> Result<Value, Problem> {
        let (checked, _) = self.check(registry, request).await?;
        Ok(json!({
            "valid": checked.faults.is_empty(),
            "faults": checked.faults,
            "description": checked.spec,
        }))
    }

    /// Creates the run of a request.
    ///
    /// # Errors
    /// When the description has faults, the key or the id is taken, or the engine refuses.
    pub async fn create(
        &self,
        registry: &Registry,
        request: &Request,
        key: Option<Key>,
        trace: Option<String>,
    ) -> Result<Created, Problem> {
        let (spec, accepted) = self.valid(registry, request).await?;
        let store = Arc::clone(&registry.store);
        let (mut run_id, mut is_repeated) = (request.run_id.clone(), false);
        let has_key = key.is_some();
        let exists = |id: &RunId| {
            let detail = format!("there is a run {id}; choose another run_id");
            Problem::new(ProblemCode::RunExists, detail)
        };
        if let Some(key) = key {
            let (store, wanted, body) = (Arc::clone(&store), run_id.clone(), request.body.clone());
            match blocking(move || key.claim(&store, &wanted, &body)).await? {
                Meaning::New(_) => {}
                Meaning::Taken(found) => return Err(exists(&found)),
                Meaning::Repeated(found) => (run_id, is_repeated) = (found, true),
                Meaning::Conflict(found) => {
                    return Err(Problem::new(
                        ProblemCode::IdempotencyConflict,
                        format!(
                            "the idempotency key stands for run {found}, which was asked for with another body"
                        ),
                    ));
                }
            }
        }
        if is_repeated {
            let view = registry.view(&run_id).await;
            let view = view.map_err(|error| Problem::internal("cannot look at the run", error))?;
            if view.is_some_and(|view| {
                !matches!(
                    view.evidence.recorded,
                    Recorded::Asked(_) | Recorded::Nothing
                )
            }) {
                return Ok(Created {
                    run_id,
                    is_repeated,
                });
            }
        }
        let bytes = serde_json::to_vec_pretty(&spec)
            .map_err(|error| Problem::internal("cannot encode the description", error))?;
        let turn = self.admission.turn(&store, &run_id).await?;
        let id = run_id.clone();
        let place = {
            let store = Arc::clone(&store);
            blocking(move || {
                store
                    .create_run(&id)?
                    .create_if_absent(layout::SPEC, &bytes)
            })
            .await?
        };
        drop(turn);
        // Behind a key it was a repetition that came first: there was no such run when the key was taken.
        if place == FileCreation::Existed && !has_key {
            return Err(exists(&run_id));
        }
        let order = Order {
            run_id: run_id.clone(),
            accepted,
            spec,
            trace,
        };
        if let Err(error) = registry.engine.create(&order).await {
            let id = run_id.clone();
            let message = chain(&error);
            // Whoever asks for the run is told why there is none.
            let recorded = blocking(move || Ok(record_failure(&store, &id, &message))).await;
            if let Ok(Err(message)) = recorded {
                tracing::error!(message, "a failed creation was not recorded");
            }
            return Err(Problem::internal("the engine did not start the run", error)
                .with_code(ProblemCode::CreateFailed));
        }
        registry.counters.runs_created.inc();
        Ok(Created {
            run_id,
            is_repeated,
        })
    }

    /// The public form of a description, and how the engine takes it.
    async fn valid(
        &self,
        registry: &Registry,
        request: &Request,
    ) -> Result<(Value, Accepted), Problem> {
        let (Checked { spec, faults }, accepted) = self.check(registry, request).await?;
        match (spec, accepted) {
            (Some(spec), Some(accepted)) if faults.is_empty() => Ok((spec, accepted)),
            _ => Err(refused(faults)),
        }
    }

    async fn check(
        &self,
        registry: &Registry,
        request: &Request,
    ) -> Result<(Checked, Option<Accepted>), Problem> {
        let accepted = match registry.engine.accept(&request.run_id, &request.object) {
            Ok(accepted) => accepted,
            Err(errors) => {
                let faults = errors.details().as_array().cloned().unwrap_or_default();
                return Ok((Checked { spec: None, faults }, None));
            }
        };
        let failed = |cause: String| Problem::internal("cannot check the description", cause);
        let _place = self
            .checks
            .acquire()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let command = self
            .program
            .asked(Question::Check, &request.run_id, &accepted.checked);
        let mut command = command.map_err(|error| failed(error.to_string()))?;
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let output = match tokio::time::timeout(CHECK_LIMIT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => {
                return Err(failed(format!(
                    "no answer within {} s",
                    CHECK_LIMIT.as_secs()
                )));
            }
        };
        if output.stdout.len() > MAX_CHECKED_BYTES {
            return Err(failed("the answer of the check is too large".to_owned()));
        }
        let checked = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("{error}; {}", output.status)))?;
        Ok((checked, Some(accepted)))
    }
}

/// What is answered to a description with these faults.
fn refused(faults: Vec<Value>) -> Problem {
    let is_unsupported = |fault: &Value| fault.get("code") == Some(&json!("UNSUPPORTED"));
    let unsupported = faults.iter().find(|fault| is_unsupported(fault));
    let code = match unsupported {
        Some(_) => ProblemCode::Unsupported,
        None => ProblemCode::InvalidDescription,
    };
    let first = unsupported.or(faults.first());
    let first = first.and_then(|fault| fault.get("message")?.as_str());
    let detail = first
        .unwrap_or("the run description cannot be used")
        .to_owned();
    Problem::new(code, detail).with_faults(faults.into())
}

fn record_failure(store: &Store, id: &RunId, message: &str) -> Result<(), String> {
    let open = || -> Result<Option<RunDir>, RecordingsError> { store.open_run(id) };
    let Some(run) = open().map_err(|error| chain(&error))? else {
        return Ok(());
    };
    let lock = RunLock::try_acquire(&run).map_err(|error| chain(&error))?;
    let ending = Ending::Failed {
        code: ErrorCode::SetupFailed,
        message: message.to_owned(),
    };
    finalize(&run, &lock, &ending, None)
        .map(|_| ())
        .map_err(|error| chain(&error))
}

/// Does what waits for the disk elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordingsError> + Send + 'static,
) -> Result<T, Problem> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Problem::internal("cannot use the recordings", error)),
        Err(error) => Err(Problem::internal("cannot use the recordings", error)),
    }
}
