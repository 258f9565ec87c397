//! What a control plane is asked beside its runs' own routes: to create, check, list and delete runs.
//!
//! Owns the routes, and the repetition of a request whose answer was lost. Invariant: a request to create is only repeated
//! with the idempotency key of the first, so however often it is sent there is one run.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::address::Address;
use super::connection::{Connection, Token};
use super::error::ClientError;
use super::follow::{CONTACT_LIMIT, MAX_BACKOFF, MIN_BACKOFF};
use super::listing::{Filter, Page};
use crate::run::RunId;
use crate::status::StatusDocument;

/// How long a run that has ended may still be served by its supervisor before its recording can go.
pub const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Time between two attempts to delete it.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// A control plane.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Where it listens.
    pub address: Address,
    /// The token for it.
    pub token: Token,
}

/// A run that was created.
#[derive(Debug)]
pub struct Submitted {
    /// The run.
    pub run_id: RunId,
    /// The answer as it came.
    pub answer: Bytes,
}

/// A run that was not created, as far as is known.
#[derive(Debug)]
pub struct Unsubmitted {
    /// Why.
    pub error: ClientError,
    /// Whether a request may have arrived, so that there may be a run.
    pub may_be: bool,
}

/// What a check found.
#[derive(Debug, Deserialize)]
pub struct Checked {
    /// Whether there would be a run.
    pub valid: bool,
    /// What stands in its way.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// A fault of a run description.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl Plane {
    /// Creates a run. When the answer is lost it asks again, for [`CONTACT_LIMIT`] in one piece, and tells `lost` why.
    ///
    /// # Errors
    /// When it is refused, or nobody can be reached.
    pub async fn submit(
        &self,
        description: &Bytes,
        key: &str,
        mut lost: impl FnMut(&ClientError),
    ) -> Result<Submitted, Unsubmitted> {
        let mut backoff = MIN_BACKOFF;
        let mut lost_at: Option<Instant> = None;
        loop {
            let error = match self.ask_for_a_run(description, key).await {
                Ok(submitted) => return Ok(submitted),
                Err(error) => error,
            };
            let is_lost = match &error {
                ClientError::Broken { .. } | ClientError::Silent { .. } => true,
                // Who was there a moment ago is being started anew; who never was is not waited for.
                ClientError::Unreachable { .. } => lost_at.is_some(),
                ClientError::Refused { status, .. } => *status == 503,
                ClientError::Empty { .. }
                | ClientError::Foreign { .. }
                | ClientError::OtherRun { .. }
                | ClientError::NoAddress { .. }
                | ClientError::Token
                | ClientError::Recording(_)
                | ClientError::Log(_)
                | ClientError::Lock(_) => false,
            };
            let may_be =
                lost_at.is_some() || is_lost || matches!(error, ClientError::Foreign { .. });
            let lost_for = lost_at.map_or(Duration::ZERO, |at| at.elapsed());
            if !is_lost || lost_for >= CONTACT_LIMIT {
                return Err(Unsubmitted { error, may_be });
            }
            if lost_at.is_none() {
                lost_at = Some(Instant::now());
                lost(&error);
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn ask_for_a_run(
        &self,
        description: &Bytes,
        key: &str,
    ) -> Result<Submitted, ClientError> {
        #[derive(Deserialize)]
        struct Created {
            run_id: RunId,
        }
        let headers = [json(), ("idempotency-key", key.to_owned())];
        let body = description.clone();
        let (answer, Created { run_id }) = self.ask(Method::POST, "/runs", &headers, body).await?;
        Ok(Submitted { run_id, answer })
    }

    /// Checks a description; gives the answer as it came, too.
    ///
    /// # Errors
    /// When it could not be checked.
    pub async fn check(&self, description: Bytes) -> Result<(Bytes, Checked), ClientError> {
        self.ask(Method::POST, "/runs/dry-run", &[json()], description)
            .await
    }

    /// A page of at most `n_runs` runs, and of no more than a page has.
    ///
    /// # Errors
    /// When there is no answer, or it is no page.
    pub async fn page(
        &self,
        filter: &Filter,
        n_runs: usize,
        after: Option<&RunId>,
    ) -> Result<Page, ClientError> {
        let path = filter.path(n_runs, after);
        let (_, page) = self.ask(Method::GET, &path, &[], Bytes::new()).await?;
        Ok(page)
    }

    /// Deletes the recording of a run. Where the run has ended and is still served, it waits [`RELEASE_LIMIT`].
    ///
    /// # Errors
    /// When the run goes on or is pinned, is not there, or cannot be deleted.
    pub async fn remove(&self, run: &RunId) -> Result<(), ClientError> {
        let path = format!("/runs/{run}");
        let begun = Instant::now();
        loop {
            let mut connection = Connection::open(&self.address, &self.token).await?;
            let asked = connection
                .ask(Method::DELETE, &path, &[], Bytes::new())
                .await;
            let refused = match asked {
                Ok(_) => return Ok(()),
                Err(error @ ClientError::Refused { status: 409, .. }) => error,
                Err(error) => return Err(error),
            };
            let (_, document): (Bytes, StatusDocument) =
                self.ask(Method::GET, &path, &[], Bytes::new()).await?;
            if !document.status.is_terminal() || begun.elapsed() >= RELEASE_LIMIT {
                return Err(refused);
            }
            sleep(RELEASE_INTERVAL).await;
        }
    }

    /// Asks once, over a connection of its own; gives the answer as it came, and what it says.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(Bytes, T), ClientError> {
        let mut connection = Connection::open(&self.address, &self.token).await?;
        let response = connection.ask(method, path, headers, body).await?;
        let answer = connection.whole(response).await?;
        match serde_json::from_slice(&answer) {
            Ok(said) => Ok((answer, said)),
            Err(error) => Err(ClientError::Foreign {
                address: self.address.clone(),
                what: error.to_string(),
            }),
        }
    }
}

fn json() -> (&'static str, String) {
    ("content-type", "application/json".to_owned())
}
