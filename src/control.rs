//! How the outside asks a run to stop, to pause and to go on.
//!
//! Owns the requests, the answers and the bounded channels between those who ask (status API, signals) and the run session,
//! which alone decides. Every request gets a truthful answer, also after the session has ended.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::run::Sender;

/// Requests that may wait for the session; more callers wait for a place.
pub const MAX_WAITING_REQUESTS: usize = 16;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// A signal.
    Signal {
        /// Its number.
        signo: i32,
        /// Who sent it, when the kernel said so.
        sender: Option<Sender>,
    },
    /// A caller of the status API.
    Api,
}

/// A request to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// Who asks.
    pub cause: StopCause,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// Time for the workload to end by itself; only shortens what is left.
    pub grace: Option<Duration>,
}

/// Where the run stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAnswer {
    /// The run is being taken down; the intent is on disk.
    Stopping,
    /// The run had ended already, or ended while the request waited.
    Finished,
}

/// A request on its way to the session.
#[derive(Debug)]
pub struct StopCall {
    /// What is asked.
    pub request: StopRequest,
    /// Where the answer goes; dropping it means that the run has finished.
    pub answer: oneshot::Sender<StopAnswer>,
}

/// What is asked of a run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseRequest {
    /// Let the workload stand still.
    Pause {
        /// Why, in the caller's words.
        reason: Option<String>,
    },
    /// Let it go on.
    Resume {
        /// Why, in the caller's words.
        reason: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseAnswer {
    /// The workload stands still.
    Paused {
        /// By what: `cgroup-v2`, `cgroup-v1` or `signals`.
        by: &'static str,
        /// Whether this request did it; false when it was so before.
        changed: bool,
    },
    /// The workload goes on.
    Running {
        /// How long it stood still before this request, milliseconds; none when it did not.
        paused_ms: Option<u64>,
    },
    /// The run is being taken down, has ended, or ended while the request waited.
    Over,
    /// It could not be done, and nothing has changed.
    Failed(String),
}

/// Such a request on its way to the session.
#[derive(Debug)]
pub struct PauseCall {
    /// What is asked.
    pub request: PauseRequest,
    /// Where the answer goes; dropping it means that the run is over.
    pub answer: oneshot::Sender<PauseAnswer>,
}

/// The session's ends of the channels.
#[derive(Debug)]
pub struct Calls {
    /// Requests to stop.
    pub stops: mpsc::Receiver<StopCall>,
    /// Requests to pause and to go on.
    pub pauses: mpsc::Receiver<PauseCall>,
}

/// Handle for those who ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    calls: mpsc::Sender<StopCall>,
    pauses: mpsc::Sender<PauseCall>,
}

impl Control {
    /// A handle, and the session's ends of the channels.
    pub fn channel() -> (Self, Calls) {
        let (calls, stops) = mpsc::channel(MAX_WAITING_REQUESTS);
        let (paused, pauses) = mpsc::channel(MAX_WAITING_REQUESTS);
        let control = Self {
            calls,
            pauses: paused,
        };
        (control, Calls { stops, pauses })
    }

    /// Asks the run to pause or to go on, and waits until it is done. A run that starts takes it when it has its sandbox.
    ///
    /// Cancel safe: once sent, a request is carried out whether or not its answer is awaited.
    pub async fn pause(&self, request: PauseRequest) -> PauseAnswer {
        let (answer, answered) = oneshot::channel();
        if self
            .pauses
            .send(PauseCall { request, answer })
            .await
            .is_err()
        {
            return PauseAnswer::Over;
        }
        answered.await.unwrap_or(PauseAnswer::Over)
    }

    /// Asks the run to stop and waits until the intent is on disk.
    ///
    /// Cancel safe: once sent, a request is carried out whether or not its answer is awaited.
    pub async fn stop(&self, request: StopRequest) -> StopAnswer {
        let (answer, answered) = oneshot::channel();
        if self.calls.send(StopCall { request, answer }).await.is_err() {
            return StopAnswer::Finished;
        }
        answered.await.unwrap_or(StopAnswer::Finished)
    }

    /// Asks without waiting for the answer. When [`MAX_WAITING_REQUESTS`] wait already, one more would change nothing and is
    /// dropped.
    pub fn request(&self, request: StopRequest) {
        let (answer, _) = oneshot::channel();
        // Full: see above. Closed: the run has finished.
        let _ = self.calls.try_send(StopCall { request, answer });
    }
}
