//! How the outside asks a run to stop.
//!
//! Owns the request, the answer and the bounded channel between those who ask (status API, signals) and the run session,
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

/// Handle for those who ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    calls: mpsc::Sender<StopCall>,
}

impl Control {
    /// A handle, and the session's end of the channel.
    pub fn channel() -> (Self, mpsc::Receiver<StopCall>) {
        let (calls, receiver) = mpsc::channel(MAX_WAITING_REQUESTS);
        (Self { calls }, receiver)
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
