//! Pause and resume: the workload stands still, and the clocks of the run with it.
//!
//! Owns the time for which the run has stood still, and every clock's way past it: deadline, idle limit, the agent's waits,
//! attempts, looks, services, and the guardian's backstop. By what the workload stands still is the sandbox's business. There is
//! no longest pause: who pauses a run resumes or stops it. Invariants: a pause begins between two things that the session does,
//! never in the middle of a launch; nothing is launched, signalled or counted until it ends; a run that is taken down goes on
//! first, so that what is asked to end can; a sandbox that dies meanwhile ends the run.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::journal::millis;
use super::workload::HelperWatch;
use super::{End, Session};
use crate::control::{PauseAnswer, PauseCall, PauseRequest};
use crate::event::{Event, Level, RunPaused, RunResumed};
use crate::log::ActionLog;
use stockade_entrypoint::message::ToGuardian;

/// For how long a run has stood still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RunClock {
    /// In the pauses that have ended.
    stood: Duration,
    /// The beginning of the one that has not.
    since: Option<Instant>,
}

impl RunClock {
    /// All the time in which it stood still, until `now`.
    pub(super) fn stood_at(self, now: Instant) -> Duration {
        let running = |since| now.saturating_duration_since(since);
        self.stood + self.since.map_or(Duration::ZERO, running)
    }
}

/// Waits until the run does not stand still.
pub(super) async fn while_standing(clock: &mut watch::Receiver<RunClock>) {
    // The session that changes it outlives everybody who waits.
    let _ = clock.wait_for(|clock| clock.since.is_none()).await;
}

/// Ends at the deadline, which is later by all the time in which the run stood still.
pub(super) async fn deadline(at: Instant, mut clock: watch::Receiver<RunClock>) {
    loop {
        while_standing(&mut clock).await;
        let due = at + clock.borrow_and_update().stood;
        // Cancel safe: both only wait.
        tokio::select! {
            biased;
            changed = clock.changed() => if changed.is_err() {
                return tokio::time::sleep_until(due).await;
            },
            () = tokio::time::sleep_until(due) => return,
        }
    }
}

/// Ends when no event was appended for the whole limit, behind the time for which silence was asked for; never without one,
/// and never while the run stands still.
pub(super) async fn idle(
    limit: Option<Duration>,
    log: &ActionLog,
    quiet_until: &watch::Receiver<Instant>,
    mut clock: watch::Receiver<RunClock>,
) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        while_standing(&mut clock).await;
        let silent_since = Instant::from_std(log.last_append_at()).max(*quiet_until.borrow());
        let due = silent_since + limit;
        if due <= Instant::now() {
            return;
        }
        // A pause that ends meanwhile is an event, behind which it is counted anew.
        tokio::time::sleep_until(due).await;
    }
}

/// The next request; none when there will be none.
pub(super) async fn next_call(calls: &mut Option<mpsc::Receiver<PauseCall>>) -> Option<PauseCall> {
    match calls {
        Some(calls) => calls.recv().await,
        None => None,
    }
}

/// Ends when the launch helper has; never where it cannot be watched.
async fn ended(helper: &io::Result<HelperWatch>) {
    match helper {
        Ok(helper) => helper.ended().await,
        Err(_) => std::future::pending().await,
    }
}

impl Session {
    /// Does what a request says. A pause lasts until it is ended by a request, by the end of the run, which thaws by itself, or
    /// by that of the sandbox, which is the end that is given.
    pub(super) async fn take_pause_call(&mut self, call: PauseCall) -> Option<End> {
        let PauseCall { request, answer } = call;
        // Who does not wait for an answer any more has not asked for one.
        let _ = answer.send(match request {
            PauseRequest::Resume { .. } => PauseAnswer::Running { paused_ms: None },
            PauseRequest::Pause { reason } => self.begin_pause(reason).await,
        });
        let interrupt = self.interrupt.clone();
        let helper = self.workload.watch_helper();
        while let Some(by) = self.standing_by {
            // Every arm is cancel safe: requests and reports wait in their channels.
            let call = tokio::select! {
                biased;
                () = interrupt.cancelled() => return None,
                Some(call) = next_call(&mut self.pauses) => call,
                report = self.workload.new_report() => match report {
                    // One that was killed from outside. What follows from it is done when the run goes on.
                    Ok(report) => {
                        self.workload.keep_report(report);
                        continue;
                    }
                    Err(error) => return Some(self.lose_sandbox(error.to_string()).await),
                },
                () = ended(&helper) => {
                    return Some(self.lose_sandbox("its launch helper has ended".to_owned()).await);
                }
            };
            let PauseCall { request, answer } = call;
            let _ = answer.send(match request {
                PauseRequest::Pause { .. } => PauseAnswer::Paused {
                    by: by.as_str(),
                    changed: false,
                },
                PauseRequest::Resume { reason } => self.end_pause(reason).await,
            });
        }
        None
    }

    /// Ends a pause in which the sandbox went.
    async fn lose_sandbox(&mut self, why: String) -> End {
        self.end_pause_for_good("the sandbox is gone").await;
        End::SandboxGone(why)
    }

    async fn begin_pause(&mut self, reason: Option<String>) -> PauseAnswer {
        let means = match self.workload.pause().await {
            Ok(means) => means,
            Err(error) => return PauseAnswer::Failed(error.to_string()),
        };
        self.standing_by = Some(means);
        self.clock
            .send_modify(|clock| clock.since = Some(Instant::now()));
        self.tell_guardian(&ToGuardian::Paused);
        let by = means.as_str();
        tracing::info!(by, "run is paused");
        self.recorder.append(Event::RunPaused(RunPaused {
            by: by.to_owned(),
            reason: reason.map(|reason| self.journal.sentence(reason)),
        }));
        self.recorder.note().await;
        PauseAnswer::Paused { by, changed: true }
    }

    /// Lets the workload go on, if it stands still, and every clock with it.
    async fn end_pause(&mut self, reason: Option<String>) -> PauseAnswer {
        let Some(means) = self.standing_by else {
            return PauseAnswer::Running { paused_ms: None };
        };
        if let Err(error) = self.workload.resume(means).await {
            let message = format!("the workload cannot go on: {error}");
            self.recorder.diagnose(Level::Error, message.clone());
            return PauseAnswer::Failed(message);
        }
        self.go_on(reason).await
    }

    /// Ends the pause of a run that ends: what cannot go on any more is killed with the rest, and the clocks go on anyway.
    pub(super) async fn end_pause_for_good(&mut self, reason: &str) {
        let Some(means) = self.standing_by else {
            return;
        };
        // Of a sandbox that is gone this still thaws what is frozen, which could not die else.
        if let Err(error) = self.workload.resume(means).await {
            tracing::debug!(%error, "what stands still is killed as it is");
        }
        self.go_on(Some(reason.to_owned())).await;
    }

    /// Lets every clock go on, and says so.
    async fn go_on(&mut self, reason: Option<String>) -> PauseAnswer {
        self.standing_by = None;
        let now = Instant::now();
        let mut time = Duration::ZERO;
        let mut since = now;
        self.clock.send_modify(|clock| {
            since = clock.since.take().unwrap_or(now);
            time = now.saturating_duration_since(since);
            clock.stood += time;
        });
        self.stood(since, time);
        self.tell_guardian(&ToGuardian::Resumed);
        tracing::info!(paused_ms = millis(time), "run goes on");
        self.recorder.append(Event::RunResumed(RunResumed {
            paused_ms: millis(time),
            reason: reason.map(|reason| self.journal.sentence(reason)),
        }));
        // The end of a run has a status of its own, and a clock that runs.
        if self.pauses.is_some() {
            self.recorder.note().await;
        }
        PauseAnswer::Running {
            paused_ms: Some(millis(time)),
        }
    }

    /// Moves every clock by a pause that began then.
    fn stood(&mut self, since: Instant, time: Duration) {
        self.agent.stood(time);
        if let Some(at) = &mut self.wait_until {
            *at += time;
        }
        self.quiet_until.send_if_modified(|at| {
            let waits = *at > since;
            if waits {
                *at += time;
            }
            waits
        });
        if let Some(watched) = self
            .launched
            .as_mut()
            .and_then(|launched| launched.watched.as_mut())
        {
            watched.stood(time);
        }
        if let Some(looking) = &mut self.looking {
            looking.stood(time);
        }
        self.services.stood(time);
    }

    fn tell_guardian(&self, message: &ToGuardian) {
        if let Some(guardian) = &self.guardian {
            guardian.tell(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_later_by_every_pause() {
        let began = Instant::now();
        let clock = watch::Sender::new(RunClock::default());
        let pauses = async {
            for _ in 0..2 {
                tokio::time::sleep_until(Instant::now() + Duration::from_secs(4)).await;
                clock.send_modify(|clock| clock.since = Some(Instant::now()));
                tokio::time::sleep_until(Instant::now() + Duration::from_secs(100)).await;
                let now = Instant::now();
                clock.send_modify(|clock| {
                    clock.stood = clock.stood_at(now);
                    clock.since = None;
                });
            }
        };
        let end = began + Duration::from_secs(10);
        tokio::join!(deadline(end, clock.subscribe()), pauses);
        assert_eq!(began.elapsed(), Duration::from_secs(210));
    }
}
