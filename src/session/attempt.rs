//! Attempts: launches that follow one another in the one sandbox of the run.
//!
//! Owns what an attempt needs beside a plain launch: its time limit, the text of its output for the agent, and the end of
//! its action by the agent's word. What an attempt leaves in the background lives on, and its output is still recorded.
//! Invariant: an attempt that is given up takes its session and its descendants with it, and nothing else of the sandbox.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::launched::Launched;
use super::output::Settle;
use super::{DRAIN_LIMIT, End, Session, next_observation};
use crate::agent::{Attempted, Conclusion, MAX_CAPTURED_BYTES, Observation, Role};
use crate::event::{Event, Limit, LimitName};
use crate::log::AppendError;
use crate::text::{Clip, Excerpt};

/// What an attempt that was too slow gets between SIGTERM and SIGKILL.
pub const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// How soon SIGKILL is sent again to what was forked while it was sent.
const KILL_AGAIN: Duration = Duration::from_millis(200);

/// The part of a launch that only an attempt has.
#[derive(Debug)]
pub(super) struct Watched {
    /// Output for the agent.
    pub(super) stdout: Arc<Mutex<Clip>>,
    pub(super) stderr: Arc<Mutex<Clip>>,
    /// Ask a pump to read what is in its pipe now.
    pub(super) settles: Vec<oneshot::Sender<Settle>>,
    /// When it is too slow, and what is sent to it then; none once it has ended.
    due: Option<(Instant, i32)>,
    timeout: Duration,
    timed_out: bool,
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
            due: Some((Instant::now() + timeout, nix::libc::SIGTERM)),
            timeout,
            timed_out: false,
            is_concluded: false,
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

    /// Signals an attempt that is too slow: first so that it may clean up, then for good.
    pub(super) async fn hurry_attempt(&mut self) {
        let Some(launched) = &mut self.launched else {
            return;
        };
        let (id, step) = (launched.id, launched.step);
        let Some((watched, signo)) = launched
            .watched()
            .and_then(|watched| watched.due.map(|(_, signo)| (watched, signo)))
        else {
            return;
        };
        let is_first = !watched.timed_out;
        watched.timed_out = true;
        let pause = if is_first { TIMEOUT_GRACE } else { KILL_AGAIN };
        watched.due = Some((Instant::now() + pause, nix::libc::SIGKILL));
        let timeout = watched.timeout;
        if is_first {
            self.recorder.append(Event::Limit(Limit {
                limit: LimitName::StepTimeout,
                value: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                decision: format!("the command of action {step} is ended"),
            }));
        }
        if let Err(error) = self.workload.signal_tree(id, signo).await {
            tracing::debug!(%error, "a command that was too slow has ended");
        }
    }

    /// Takes the end of an attempt: reads what is left of its output, and tells the agent.
    pub(super) async fn end_attempt(&mut self) -> Option<End> {
        if let Some(end) = self.settle().await {
            return Some(end);
        }
        let launched = self.launched.as_mut()?;
        let exit = launched.exit?;
        let watched = launched.watched()?;
        watched.due = None;
        let attempted = Attempted {
            exit,
            timed_out: watched.timed_out,
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
        while let Some(observation) = self
            .observations
            .as_mut()
            .and_then(|waiting| waiting.try_recv().ok())
        {
            if let Some(end) = self.tell(observation).await {
                return Some(end);
            }
        }
        None
    }

    /// Ends the action of the attempt that ended, as the agent judged it.
    pub(super) async fn conclude(&mut self, conclusion: Conclusion) -> Result<(), AppendError> {
        let Some(launched) = &mut self.launched else {
            return Ok(());
        };
        let (Some(exit), Role::Attempt(_)) = (launched.exit, &launched.role) else {
            return Ok(());
        };
        let (text, truncated) = launched.take_output();
        let step = launched.step;
        if let Some(watched) = launched.watched() {
            watched.is_concluded = true;
        }
        self.journal
            .attempt_ended(step, &exit, conclusion.failure, text, truncated)
            .await
    }

    /// Ends the action of an attempt that the end of the run cut short; one that was not judged yet is left to be cancelled.
    pub(super) async fn conclude_late(&mut self) -> Result<(), AppendError> {
        let failure = self.launched.as_ref().and_then(|launched| {
            let is_open = launched
                .watched
                .as_ref()
                .is_some_and(|watched| !watched.is_concluded);
            let exit = launched.exit.filter(|exit| is_open && !exit.is_success())?;
            Some(format!("the command {}", exit.describe()))
        });
        match failure {
            Some(failure) => {
                let failure = Some(failure);
                self.conclude(Conclusion { failure }).await
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
