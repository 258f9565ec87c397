//! Signals as requests to stop.
//!
//! Owns which signal asks for what, whether it came through the guardian or straight to this process. Invariant: a signal
//! never blocks, never kills this process, and never asks twice for one delivery.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use nix::libc::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGWINCH};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook_tokio::SignalsInfo;
use stockade_entrypoint::message::SAME_SIGNAL_INTERVAL;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, StopCause, StopRequest};
use crate::run::Sender;
use crate::session::console::Console;
use crate::status::StatusBoard;

/// The way on which a signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a message of the guardian, which passes on each request once.
    Guardian,
    /// Straight to this process.
    Direct,
}

/// The signal that was passed on last.
#[derive(Debug, Clone, Copy)]
struct Last {
    cause: StopCause,
    at: Instant,
    /// It came straight, and the guardian may have got it too.
    awaits_guardian: bool,
}

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
    last: Arc<Mutex<Option<Last>>>,
}

impl Impatience {
    /// `over` is cancelled by the first signal: whoever lingers goes on.
    pub fn new(over: CancellationToken) -> Self {
        Self {
            over,
            last: Arc::default(),
        }
    }

    /// Passes a request on without waiting for its answer, unless it is the last one once more: signalled again too soon, or
    /// heard on both ways. Of what came through the guardian only the latter is left out, so that both count alike.
    pub fn pass_on(&self, control: &Control, request: StopRequest, way: Way) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let same = last.as_mut().filter(|last| {
                last.cause == request.cause && last.at.elapsed() < SAME_SIGNAL_INTERVAL
            });
            match (way, same) {
                (Way::Direct, Some(_)) => return,
                (Way::Guardian, Some(last)) if last.awaits_guardian => {
                    last.awaits_guardian = false;
                    return;
                }
                (Way::Direct | Way::Guardian, _) => {}
            }
            *last = Some(Last {
                cause: request.cause,
                at: Instant::now(),
                awaits_guardian: way == Way::Direct,
            });
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
    console: Console,
) -> io::Result<impl Future<Output = ()> + Send> {
    let heard = [
        SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGWINCH, SIGTSTP, SIGCONT,
    ];
    let mut signals = SignalsInfo::<WithOrigin>::new(heard)?;
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
            // Those that the terminal sends come here where this process shares the guardian's group.
            console.note_signal(signal);
            if let Some(request) = request_of(signal, sender) {
                impatience.pass_on(&control, request, Way::Direct);
            }
        }
    })
}

/// Whether a signal asks for [`report_state`].
pub fn asks_for_state(signal: u32) -> bool {
    i32::try_from(signal) == Ok(SIGUSR1)
}

/// SIGUSR1: one line for the operator who wonders, also where lines of the level `info` are left out: it was asked for.
pub fn report_state(board: &StatusBoard) {
    let document = board.latest(crate::session::recorder::now_ms());
    tracing::warn!(
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
        assert!((1..=64).filter(|signal| asks_for_state(*signal)).eq([10]));
    }

    #[tokio::test]
    async fn one_delivery_over_two_ways_is_one_request() {
        let (control, calls) = Control::channel();
        let mut calls = calls.stops;
        let over = CancellationToken::new();
        let impatience = Impatience::new(over.clone());
        let request = request_of(15, Some(Sender { pid: 7, uid: 0 })).unwrap();
        // One signal to the group, on both ways, in either order.
        impatience.pass_on(&control, request.clone(), Way::Direct);
        impatience.pass_on(&control, request.clone(), Way::Guardian);
        let other = request_of(15, Some(Sender { pid: 8, uid: 0 })).unwrap();
        impatience.pass_on(&control, other.clone(), Way::Guardian);
        impatience.pass_on(&control, other.clone(), Way::Direct);
        // What the guardian passes on next it has counted, however soon it is read here.
        impatience.pass_on(&control, other.clone(), Way::Guardian);
        assert!(over.is_cancelled());
        for expected in [request, other.clone(), other] {
            assert_eq!(calls.recv().await.unwrap().request, expected);
        }
        assert!(calls.try_recv().is_err());
    }
}
