//! Attempts: launches that follow one another in the one sandbox of the run.
//!
//! Owns what an attempt needs beside a plain launch: its time limit, the text of its output for the agent, and the end of
//! its action by the agent's word. What an attempt leaves in the background lives on, and its output is still recorded.
//! Invariant: an attempt that took too long has ended only when nothing is left that descends from it, and nothing else of
//! the sandbox ends with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::journal::Recorded;
use super::launched::Launched;
use super::output::Settle;
use super::{DRAIN_LIMIT, End, Session, next_observation};
use crate::agent::{Attempted, Conclusion, MAX_CAPTURED_BYTES, Observation, Role};
use crate::event::{Event, Level, Limit, LimitDecision, LimitRule};
use crate::log::AppendError;
use crate::text::{Clip, Excerpt};

/// What an attempt that was too slow gets between SIGTERM and SIGKILL.
pub const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// How soon SIGKILL is sent again to what was forked while it was sent.
const KILL_AGAIN: Duration = Duration::from_millis(200);

/// How often what an ended attempt left is counted while it may end by itself: the kernel has no event for it.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);

/// Longest time for killing what an attempt has left; milliseconds for a thousand processes.
const CLEAR_LIMIT: Duration = Duration::from_secs(1);

/// What is done about an attempt that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    /// SIGTERM to all that descends from it.
    Ask,
    /// SIGKILL likewise.
    Kill,
    /// Its first process has ended: nothing may be left of the others.
    Clear,
}

/// The part of a launch that only an attempt has.
#[derive(Debug)]
pub(super) struct Watched {
    /// Output for the agent.
    pub(super) stdout: Arc<Mutex<Clip>>,
    pub(super) stderr: Arc<Mutex<Clip>>,
    /// Ask a pump to read what is in its pipe now.
    pub(super) settles: Vec<oneshot::Sender<Settle>>,
    /// What is done next if it is too slow, and when; none once it has ended.
    due: Option<(Instant, Rung)>,
    timeout: Duration,
    /// When what is left of it is killed, once it was too slow.
    kill_at: Option<Instant>,
    is_concluded: bool,
}

impl Watched {
    pub(super) fn new(timeout: Duration) -> Self {
        let capture = || {
            let quarter = MAX_CAPTURED_BYTES / 4;
            Arc::new(Mutex::new(Clip::new(quarter, quarter * 3)))
        };
        Self {
            stdout: capture(),
            stderr: capture(),
            settles: Vec::new(),
            due: Some((Instant::now() + timeout, Rung::Ask)),
            timeout,
            kill_at: None,
            is_concluded: false,
        }
    }
}

impl Watched {
    /// Its times are later by what the run has stood still.
    pub(super) fn stood(&mut self, time: Duration) {
        if let Some((at, _)) = &mut self.due {
            *at += time;
        }
        if let Some(at) = &mut self.kill_at {
            *at += time;
        }
    }
}

impl Launched {
    fn watched(&mut self) -> Option<&mut Watched> {
        self.watched.as_mut()
    }
}

impl Session {
    /// When the attempt that runs is too slow; none when there is none.
    pub(super) fn attempt_due(&self) -> Option<Instant> {
        let watched = self.launched.as_ref()?.watched.as_ref()?;
        watched.due.map(|(at, _)| at)
    }

    /// Does what is due about an attempt that is too slow: first so that it may clean up, then for good.
    pub(super) async fn hurry_attempt(&mut self) -> Option<End> {
        let now = Instant::now();
        let launched = self.launched.as_mut()?;
        let (id, step) = (launched.id, launched.step);
        let watched = launched.watched()?;
        let (_, rung) = watched.due?;
        let signo = match rung {
            Rung::Ask => {
                watched.kill_at = Some(now + TIMEOUT_GRACE);
                watched.due = Some((now + TIMEOUT_GRACE, Rung::Kill));
                let timeout = watched.timeout;
                self.recorder.append(Event::Limit(Limit {
                    rule: LimitRule::StepTimeout,
                    decision: LimitDecision::EndAction,
                    limit: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                    detail: format!("the command of action {step} is ended"),
                }));
                nix::libc::SIGTERM
            }
            Rung::Kill => {
                watched.due = Some((now + KILL_AGAIN, Rung::Kill));
                nix::libc::SIGKILL
            }
            Rung::Clear => return self.clear_attempt(now).await,
        };
        if let Err(error) = self.workload.signal_tree(id, signo).await {
            tracing::debug!(%error, "a command that was too slow has ended");
        }
        None
    }

    /// Takes the end of the first process of an attempt: of one that was too slow, the others have to end as well.
    pub(super) async fn end_attempt(&mut self) -> Option<End> {
        let launched = self.launched.as_mut()?;
        let id = launched.id;
        let watched = launched.watched()?;
        if watched.kill_at.is_some() {
            return self.clear_attempt(Instant::now()).await;
        }
        watched.due = None;
        if let Err(error) = self.workload.let_go(id).await {
            tracing::debug!(%error, "the keeper of a command was gone before it was let go");
        }
        self.tell_attempted().await
    }

    /// Waits until nothing is left that descends from an attempt whose first process has ended, or kills it when its time
    /// is over; then the attempt has ended.
    async fn clear_attempt(&mut self, now: Instant) -> Option<End> {
        let launched = self.launched.as_mut()?;
        let (id, step) = (launched.id, launched.step);
        let kill_at = launched.watched()?.kill_at?;
        // Where the number is not known, nobody is waited for.
        let has_time = now < kill_at && self.workload.processes_of(id).await > Some(0);
        let watched = self.launched.as_mut()?.watched()?;
        if has_time {
            let again = (now + COUNT_INTERVAL).min(kill_at);
            watched.due = Some((again, Rung::Clear));
            return None;
        }
        watched.due = None;
        let doubt = match self.workload.kill_tree(id, CLEAR_LIMIT).await {
            Ok(0) => None,
            Ok(n_left) => Some(format!("{n_left} processes could not be ended")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(doubt) = doubt {
            let message = format!("action {step} was too slow and may have survivors: {doubt}");
            self.recorder.diagnose(Level::Warn, message);
        }
        self.tell_attempted().await
    }

    /// Reads what is left of the output of an attempt that has ended, and tells the agent.
    async fn tell_attempted(&mut self) -> Option<End> {
        if let Some(end) = self.settle().await {
            return Some(end);
        }
        let launched = self.launched.as_mut()?;
        let exit = launched.exit?;
        let watched = launched.watched()?;
        let attempted = Attempted {
            exit,
            timed_out: watched.kill_at.is_some(),
            stdout: text_of(&watched.stdout),
            stderr: text_of(&watched.stderr),
        };
        self.waiting.push_back(Observation::Attempted(attempted));
        None
    }

    /// Waits until the pumps have read what the ended process wrote. A pipe that something in the background holds open is
    /// read on, so its writer is neither blocked nor killed by a closed pipe.
    async fn settle(&mut self) -> Option<End> {
        let settles = self
            .launched
            .as_mut()
            .and_then(Launched::watched)
            .map(|watched| std::mem::take(&mut watched.settles))
            .unwrap_or_default();
        let mut answers = Vec::new();
        for settle in settles {
            let (done, answer) = oneshot::channel();
            // A pump that has ended has read everything.
            if settle.send(Settle { done }).is_ok() {
                answers.push(answer);
            }
        }
        let settled = async {
            for answer in answers {
                // A pump that ends instead of answering has read everything as well.
                let _ = answer.await;
            }
        };
        tokio::pin!(settled);
        let limit = tokio::time::sleep(DRAIN_LIMIT);
        tokio::pin!(limit);
        let interrupt = self.interrupt.clone();
        loop {
            // Every arm is cancel safe: lines wait in their channel, and the pumps go on by themselves.
            tokio::select! {
                biased;
                () = interrupt.cancelled() => break,
                Some(observation) = next_observation(&mut self.observations) => {
                    if let Some(end) = self.tell(observation).await {
                        return Some(end);
                    }
                }
                () = &mut settled => break,
                () = &mut limit => {
                    tracing::warn!("the output of a command was not read in time");
                    break;
                }
            }
        }
        self.tell_waiting().await
    }

    /// Ends the action of the attempt that ended, as the agent judged it.
    pub(super) async fn conclude(
        &mut self,
        conclusion: Conclusion,
    ) -> Result<Recorded, AppendError> {
        let Some(launched) = &mut self.launched else {
            return Ok(Recorded::GoOn);
        };
        let (Some(exit), Role::Attempt(_)) = (launched.exit, &launched.role) else {
            return Ok(Recorded::GoOn);
        };
        let (text, truncated) = launched.take_output();
        let step = launched.step;
        if let Some(watched) = launched.watched() {
            watched.is_concluded = true;
        }
        if conclusion.failure.is_none()
            && let Some(result) = self
                .settings
                .result
                .as_ref()
                .and_then(|wanted| wanted.line())
            && let Some(found) = &launched.line
        {
            result.take_over(found);
        }
        self.journal
            .attempt_ended(step, &exit, conclusion.failure, text, truncated)
            .await
    }

    /// Ends the action of an attempt that the end of the run cut short; one whose command runs is left to be cancelled.
    pub(super) async fn conclude_late(&mut self) -> Result<(), AppendError> {
        let failure = self.launched.as_ref().and_then(|launched| {
            let watched = launched.watched.as_ref()?;
            let exit = launched.exit.filter(|_| !watched.is_concluded)?;
            Some(if watched.kill_at.is_some() {
                format!(
                    "it took longer than its timeout of {:?}; the run ended while it was ended",
                    watched.timeout
                )
            } else if exit.is_success() {
                "the run ended during the checks of the step".to_owned()
            } else {
                format!("the command {}", exit.describe())
            })
        });
        match failure {
            Some(failure) => {
                let failure = Some(failure);
                self.journal.ends_watch_of_attempts();
                self.conclude(Conclusion { failure }).await.map(drop)
            }
            None => Ok(()),
        }
    }
}

fn text_of(clip: &Mutex<Clip>) -> Excerpt {
    let mut clip = clip.lock().unwrap_or_else(PoisonError::into_inner);
    // Whatever comes later comes from the background.
    std::mem::replace(&mut *clip, Clip::new(0, 0)).into_excerpt()
}
