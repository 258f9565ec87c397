//! Signals as requests to stop.
//!
//! Owns which signal asks for what, whether it came through the guardian or straight to this process. Invariant: a signal
//! never blocks, never kills this process, and never asks twice for one delivery.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook_tokio::SignalsInfo;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, StopCause, StopRequest};
use crate::run::Sender;
use crate::status::StatusBoard;

/// Time in which the same signal of the same sender counts as one: a process manager that signals a whole group reaches
/// guardian and supervisor at once.
pub const SAME_SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The request that a signal makes; none when it asks for nothing.
pub fn request_of(signal: u32, sender: Option<Sender>) -> Option<StopRequest> {
    let signo = i32::try_from(signal).ok()?;
    [SIGTERM, SIGINT, SIGQUIT, SIGHUP]
        .contains(&signo)
        .then_some(StopRequest {
            cause: StopCause::Signal { signo, sender },
            reason: None,
            grace: None,
        })
}

/// Passes signals on to the session, and to the linger behind it.
#[derive(Debug, Clone)]
pub struct Impatience {
    over: CancellationToken,
    last: Arc<Mutex<Option<(StopCause, Instant)>>>,
}

impl Impatience {
    /// `over` is cancelled by the first signal: whoever lingers goes on.
    pub fn new(over: CancellationToken) -> Self {
        Self {
            over,
            last: Arc::default(),
        }
    }

    /// Passes a request on without waiting for its answer.
    pub fn pass_on(&self, control: &Control, request: StopRequest) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let is_same = |(cause, at): &(StopCause, Instant)| {
                *cause == request.cause && at.elapsed() < SAME_SIGNAL_INTERVAL
            };
            if last.as_ref().is_some_and(is_same) {
                return;
            }
            *last = Some((request.cause, Instant::now()));
        }
        self.over.cancel();
        control.request(request);
    }
}

/// Takes the signals that are sent to this process itself. The returned future runs until it is dropped.
///
/// # Errors
/// When no handler can be installed.
pub fn take(
    control: Control,
    impatience: Impatience,
    board: Arc<StatusBoard>,
) -> io::Result<impl Future<Output = ()> + Send> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1])?;
    Ok(async move {
        while let Some(origin) = signals.next().await {
            if origin.signal == SIGUSR1 {
                report_state(&board);
                continue;
            }
            let sender = origin.process.and_then(|process| {
                Some(Sender {
                    pid: u32::try_from(process.pid).ok()?,
                    uid: process.uid,
                })
            });
            let signal = u32::try_from(origin.signal).unwrap_or(0);
            if let Some(request) = request_of(signal, sender) {
                impatience.pass_on(&control, request);
            }
        }
    })
}

/// SIGUSR1: one line for the operator who wonders.
fn report_state(board: &StatusBoard) {
    let document = board.latest(crate::session::recorder::now_ms());
    tracing::info!(
        phase = document.phase.map(crate::run::Phase::as_str),
        status = document.status.as_str(),
        last_event_id = document.last_event_id,
        action_count = document.action_count,
        recordings_healthy = document.recordings.healthy,
        "state of the run"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signals_that_ask_for_an_end_do() {
        let asks: Vec<u32> = (1..=64)
            .filter(|signal| request_of(*signal, None).is_some())
            .collect();
        assert_eq!(asks, [1, 2, 3, 15]);
    }

    #[tokio::test]
    async fn one_delivery_over_two_ways_is_one_request() {
        let (control, mut calls) = Control::channel();
        let over = CancellationToken::new();
        let impatience = Impatience::new(over.clone());
        let request = request_of(15, Some(Sender { pid: 7, uid: 0 })).unwrap();
        impatience.pass_on(&control, request.clone());
        impatience.pass_on(&control, request);
        let other = request_of(15, Some(Sender { pid: 8, uid: 0 })).unwrap();
        impatience.pass_on(&control, other.clone());
        assert!(over.is_cancelled());
        assert!(calls.recv().await.is_some());
        assert_eq!(calls.recv().await.unwrap().request, other);
        assert!(calls.try_recv().is_err());
    }
}
