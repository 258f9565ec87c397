//! An engine that says what a test wants it to say.
//!
//! Owns no process: it is in every state that an engine can be in, also in the one in which it does not answer.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use serde_json::{Map, Value};

use super::{
    Accepted, Bound, Capabilities, Engine, EngineError, EngineState, Force, Order, unchanged,
};
use crate::client::Address;
use crate::description::DescriptionErrors;
use crate::run::RunId;

/// What it says next, and what it was asked.
#[derive(Debug)]
pub(crate) struct ScriptedEngine {
    state: Mutex<EngineState>,
    asked: Mutex<Vec<Force>>,
    sandboxes: Mutex<Vec<RunId>>,
    n_looks: Mutex<usize>,
}

impl ScriptedEngine {
    /// An engine in that state; [`EngineState::Unknown`] is one that does not answer.
    pub(crate) fn new(state: EngineState) -> Self {
        Self {
            state: Mutex::new(state),
            asked: Mutex::default(),
            sandboxes: Mutex::default(),
            n_looks: Mutex::default(),
        }
    }

    /// Says this from now on.
    pub(crate) fn set(&self, state: EngineState) {
        *self.state.lock().unwrap() = state;
    }

    /// Lists these from now on.
    pub(crate) fn lists(&self, sandboxes: &[&str]) {
        let ids = sandboxes.iter().map(|id| id.parse().unwrap());
        *self.sandboxes.lock().unwrap() = ids.collect();
    }

    /// What it lists.
    pub(crate) fn listed(&self) -> Vec<String> {
        let sandboxes = self.sandboxes.lock().unwrap();
        sandboxes.iter().map(|id| id.as_str().to_owned()).collect()
    }

    /// How often it was looked at.
    pub(crate) fn n_looks(&self) -> usize {
        *self.n_looks.lock().unwrap()
    }

    /// What it was asked to end.
    pub(crate) fn asked(&self) -> Vec<Force> {
        self.asked.lock().unwrap().clone()
    }
}

impl Engine for ScriptedEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "scripted",
            remembers_exits: true,
            create_limit: Duration::ZERO,
            start_limit: Duration::ZERO,
        }
    }

    fn accept(
        &self,
        _run_id: &RunId,
        description: &Map<String, Value>,
    ) -> Result<Accepted, DescriptionErrors> {
        Ok(unchanged(description))
    }

    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Bound, EngineError>> {
        let bound = Bound {
            run_id: order.run_id.clone(),
            instance_id: None,
        };
        async { Ok(bound) }.boxed()
    }

    fn inspect<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<(Option<Bound>, EngineState), EngineError>> {
        *self.n_looks.lock().unwrap() += 1;
        let state = self.state.lock().unwrap().clone();
        let bound = Bound {
            run_id: run_id.clone(),
            instance_id: Some("instance-1".to_owned()),
        };
        async move {
            match state {
                EngineState::Unknown => Err(EngineError::Unavailable {
                    engine: "scripted",
                    source: "the daemon is gone".into(),
                }),
                EngineState::Gone => Ok((None, EngineState::Gone)),
                state => Ok((Some(bound), state)),
            }
        }
        .boxed()
    }

    fn addresses<'a>(
        &'a self,
        _bound: &'a Bound,
    ) -> BoxFuture<'a, Result<Vec<Address>, EngineError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn end<'a>(
        &'a self,
        _bound: &'a Bound,
        force: Force,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        self.asked.lock().unwrap().push(force);
        async { Ok(()) }.boxed()
    }

    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<RunId>, EngineError>> {
        let listed = self.sandboxes.lock().unwrap().clone();
        async { Ok(listed) }.boxed()
    }

    fn remove<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Result<(), EngineError>> {
        self.sandboxes.lock().unwrap().retain(|id| id != run_id);
        async { Ok(()) }.boxed()
    }
}
