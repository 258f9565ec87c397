//! Engines: what hosts the sandboxes of runs, behind one trait.
//!
//! Owns the words in which the control plane asks: create by name, find by name, look, address, stop, kill, remove. It knows
//! nothing of recordings' contents and decides nothing about a run. Invariants: every call may be repeated, by this process
//! or another; nothing that an engine tells makes a run completed.

pub mod docker;
pub mod local;
pub mod program;
#[cfg(test)]
pub(crate) mod scripted;

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::client::{Address, Target, Token};
use crate::description::DescriptionErrors;
use crate::recordings::RunDir;
use crate::run::RunId;

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer; nothing is known about what it hosts.
    #[error("the engine {engine} does not answer")]
    Unavailable {
        /// Its name.
        engine: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine refused to host the run.
    #[error("the engine {engine} refuses run {run_id}")]
    Refused {
        /// Its name.
        engine: &'static str,
        /// The run.
        run_id: RunId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name, as `handle.engine` has it.
    pub name: &'static str,
    /// Whether it knows a sandbox that has ended from one that never was.
    pub remembers_exits: bool,
    /// How old a creation may be before its absence means that it failed.
    pub create_limit: Duration,
    /// How long a sandbox may run without listening before it counts as failed.
    pub start_limit: Duration,
}

/// A description as an engine takes it. It has no `Debug`: the description may have secrets.
#[expect(missing_debug_implementations, reason = "the description has secrets")]
pub struct Accepted {
    /// The image of the sandbox, where the engine has images.
    pub image: Option<String>,
    /// What is checked on this host, as JSON: what has a meaning inside the sandbox alone is not in it.
    pub checked: Zeroizing<Vec<u8>>,
    /// What the supervisor of the run is given, as JSON.
    pub delivered: Zeroizing<Vec<u8>>,
}

/// What is to be created. It has no `Debug`: the description may have secrets.
#[expect(missing_debug_implementations, reason = "the description has secrets")]
pub struct Order {
    /// The run; also the name of what is created.
    pub run_id: RunId,
    /// The description, accepted and checked.
    pub accepted: Accepted,
    /// Its public form, with every default: `spec.json`.
    pub spec: Value,
    /// The caller's trace, of the form of the header `traceparent` (W3C Trace Context).
    pub trace: Option<String>,
}

/// A sandbox that an engine found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The run.
    pub run_id: RunId,
    /// What tells this sandbox from an earlier one of the same name; none before its supervisor has claimed the run.
    pub instance_id: Option<String>,
}

/// Why a sandbox does not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingReason {
    /// It was created and not started.
    Created,
    /// The engine starts it anew.
    Restarting,
}

/// What an engine says of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineState {
    /// It will run.
    Pending(PendingReason),
    /// Its processes are there.
    Running,
    /// It has ended, and the engine knows how.
    Exited {
        /// Exit code, where there was one.
        code: Option<i32>,
        /// Whether the kernel's memory limit killed its main process.
        oom: bool,
    },
    /// There is none of that name.
    Gone,
    /// The engine does not say.
    Unknown,
}

/// How a sandbox is asked to end by the engine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// As an operator's signal: the run ends in its own order.
    Stop,
    /// At once; its record is completed by whoever is left.
    Kill,
}

/// What hosts sandboxes. Object safe; every call may be repeated.
pub trait Engine: std::fmt::Debug + Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Takes a description to itself, or says what it cannot honour. Nothing is made.
    ///
    /// # Errors
    /// The keys that have no meaning here, each with what would be right.
    fn accept(
        &self,
        run_id: &RunId,
        description: &Map<String, Value>,
    ) -> Result<Accepted, DescriptionErrors>;

    /// Where readers of a run with that recording find it; by default its record tells. An engine whose sandboxes are not
    /// trusted with that says it itself.
    fn target(&self, run: RunDir) -> Target {
        Target::Recorded(run)
    }

    /// What the run's status API asks of its control plane; by default nothing.
    fn token(&self, _run_id: &RunId) -> Token {
        Token::default()
    }

    /// The last of what an ended sandbox wrote for people, for a run that left no record; by default nothing.
    fn last_words<'a>(&'a self, _run_id: &'a RunId) -> BoxFuture<'a, Option<String>> {
        std::future::ready(None).boxed()
    }

    /// The sandboxes of this deployment, so that one whose recording is gone can be removed; by default none is listed.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<RunId>, EngineError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    /// Creates and starts the sandbox of a run; one that is there already is taken for the answer to an earlier call.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Bound, EngineError>>;

    /// Finds and looks, by name: never by listing.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn inspect<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<(Option<Bound>, EngineState), EngineError>>;

    /// Where its status API can be asked now, best first. Asked again after every connection error.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn addresses<'a>(
        &'a self,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<Vec<Address>, EngineError>>;

    /// Ends it from outside.
    ///
    /// # Errors
    /// When the engine refuses or does not answer; one that is gone is no error.
    fn end<'a>(&'a self, bound: &'a Bound, force: Force) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Removes what is left of an ended sandbox; its recording stays.
    ///
    /// # Errors
    /// When it still runs, or the engine does not answer; one that is gone is no error.
    fn remove<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// A description that is delivered and checked as it is.
fn unchanged(description: &Map<String, Value>) -> Accepted {
    let bytes = Zeroizing::new(serde_json::to_vec(description).unwrap_or_default());
    Accepted {
        image: None,
        checked: bytes.clone(),
        delivered: bytes,
    }
}
