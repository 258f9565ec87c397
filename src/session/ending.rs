//! The end of a run, whatever caused it: the stop ladder, then what goes on record.
//!
//! Owns the order and the time limits:
//! 1. the intent is on disk (`stop.json` for a request) and the phase is `stopping`; whoever asked is answered;
//! 2. a workload that is paused goes on; the hook of a stop runs, then SIGTERM and SIGCONT to every process of the workload
//!    but services, while there is grace;
//! 3. all of that is killed and reaped, and what had to be killed is counted; without anything beside the agent the egress
//!    proxy ends here;
//! 4. output that is left is read, open actions are ended as cancelled, the result is taken;
//! 5. the last hook runs, services end in reverse order, then everything is killed, and the egress proxy ends;
//! 6. artifacts are taken and closed;
//! 7. the recorder ends the run on record.
//!
//! A second signal shortens what is left to [`SECOND_SIGNAL_GRACE`], a third kills at once. Invariant: the steps before
//! the record never take longer than the grace less [`PERSIST_RESERVE`].

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::cause::Cause;
use super::hooks::Outlook;
use super::ladder::{Awaited, Ladder};
use super::recorder::{Ended, now_ms};
use super::workload::{Killed, chain};
use super::{End, Session};
use crate::agent::{Exit, Observation, Role, Verdict};
use crate::control::{StopAnswer, StopCall, StopCause, StopRequest};
use crate::event::lifecycle::Survivors;
use crate::event::{Complete, Event, HookName, Level, Rung, StopStep};
use crate::log::LogHealth;
use crate::run::{EndedBy, ErrorCode, Outcome, RunError, Status, Transition};

/// Part of a stop's time that is kept for putting the end on the disk.
pub const PERSIST_RESERVE: Duration = Duration::from_secs(1);

/// What a second signal leaves of the grace.
pub const SECOND_SIGNAL_GRACE: Duration = Duration::from_secs(1);

/// Longest time for killing everything; milliseconds for a thousand processes.
pub const KILL_LIMIT: Duration = Duration::from_secs(1);

/// Longest time for each of two attempts to record what is left of the output: pipes and buffers hold far less than is
/// written in it.
pub const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

/// Longest wait for the terminal recording at the end: its queue is written in milliseconds, unless the disk is gone.
pub const CAST_LIMIT: Duration = Duration::from_millis(500);

/// How often the number of live processes is asked for while they may end by themselves: the kernel has no event for it.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_millis(20);

/// The signal that asks a process to end (signal(7)).
const SIGTERM: i32 = nix::libc::SIGTERM;

impl Session {
    /// Takes the workload down and ends the run on record.
    pub async fn wind_down(mut self, end: End) -> Ended {
        let begun = Instant::now();
        // Whoever asks for a pause from here on is told that the run is over.
        self.pauses = None;
        let collect_until = self.collect_until(&end);
        // What passed a limit of memory or disk is dead already, as is all in a sandbox that is gone.
        let is_stopped = !matches!(
            end,
            End::Verdict(_) | End::Exceeded(_) | End::SandboxGone(_)
        );
        let mut ladder = Ladder::new(begun, self.settings.grace);
        let mut call = None;
        let mut cause = self.cause_of(end, &mut call).await;
        if let Some(StopCall { request, answer }) = call {
            ladder.note(&request);
            self.persist_intent(&request).await;
            let reason = cause.error.as_ref().map(|(_, message)| message.clone());
            self.recorder.enter(Transition::StopBegan, reason).await;
            // Who does not wait for the answer any more has not asked for one.
            let _ = answer.send(StopAnswer::Stopping);
        } else {
            let reason = cause.error.as_ref().map(|(_, message)| message.clone());
            self.recorder.enter(Transition::StopBegan, reason).await;
        }
        self.end_pause_for_good("the run is ended").await;
        let was_running = self.is_running();
        if is_stopped && self.launched.is_some() {
            // The agent keeps half of its time for its own end.
            let left = ladder.left_before(self.time_behind_agent(), None);
            let limit = left.unwrap_or_default() / 2;
            let outlook = self.outlook(&cause);
            self.run_hook(HookName::PreStop, limit, outlook, &mut ladder)
                .await;
        }
        // Of an agent that has ended meanwhile, what it left behind is asked.
        if was_running {
            let reason = cause
                .error
                .as_ref()
                .map(|(_, message)| self.journal.sentence(message.clone()));
            self.ask_by_channel(&mut ladder, reason.as_deref()).await;
            self.ask_to_end(&mut ladder).await;
        }
        self.abandon_look().await;
        let goes_on = self.services.are_any() || self.settings.hooks.post_run.is_some();
        let mut killed = if goes_on {
            self.abandon_looks_at_services().await;
            self.workload.kill_rest(KILL_LIMIT).await
        } else {
            self.kill_everything().await
        };
        self.note_kill(&killed);
        self.close_in_time().await;
        self.end_cast().await;
        self.check_result(&mut cause).await;
        self.settings.console.release().await;
        self.keep_result(&mut cause).await;
        if goes_on {
            if self.launched.is_some() {
                // Services that may need all that is left share it with the hook.
                let share = ladder.left(None).unwrap_or_default() / 2;
                let before = ladder.left_before(self.stop_time_of_services(), None);
                let limit = share.max(before.unwrap_or_default());
                let outlook = self.outlook(&cause);
                self.run_hook(HookName::PostRun, limit, outlook, &mut ladder)
                    .await;
            }
            let mut last = self.stop_services(&mut ladder).await;
            last.add(self.kill_everything().await);
            self.note_kill(&last);
            killed.add(last);
            self.services.close_output().await;
        }
        self.collect(collect_until, ladder.n_signals()).await;
        // The last look: what was killed is counted, and the group is still there.
        self.look_at_limits();
        let complete = self.complete(cause, killed, begun);
        let ended = self.recorder.finish(complete).await;
        // From here on whoever asks, or waits for an answer, is told that the run has finished.
        self.calls.close();
        self.clear_output().await;
        self.workload.close().await;
        ended
    }

    /// Whether the process that was launched last lives.
    pub(super) fn is_running(&self) -> bool {
        let launched = self.launched.as_ref();
        launched.is_some_and(|launched| launched.exit.is_none())
    }

    /// How much of a stop's time is kept for what follows the end of the agent.
    pub(super) fn time_behind_agent(&self) -> Duration {
        let hook = self.settings.hooks.post_run.as_ref();
        self.stop_time_of_services() + hook.map(|hook| hook.timeout).unwrap_or_default()
    }

    fn outlook(&self, cause: &Cause) -> Outlook {
        Outlook {
            code: cause.error.as_ref().map(|(code, _)| *code),
            exit: self.exit_of_agent(cause),
        }
    }

    /// The exit that the record tells: of many attempts only that of the one that decided counts.
    fn exit_of_agent(&self, cause: &Cause) -> Option<Exit> {
        let only_launch = self.launched.as_ref();
        let only_launch = only_launch.filter(|launched| launched.watched.is_none());
        let of_verdict = cause.verdict.exit.as_deref().copied();
        of_verdict.or_else(|| only_launch.and_then(|launched| launched.exit))
    }

    /// Rung 3: kills and reaps whatever is left of the workload, and ends its way out.
    async fn kill_everything(&mut self) -> Killed {
        let killed = self.workload.kill_all(KILL_LIMIT).await;
        if let Some(doubt) = &killed.doubt {
            if let Some(guardian) = &self.guardian {
                let swept = guardian.sweep(vec![self.workload.helper_pid()]).await;
                tracing::warn!(?swept, "the guardian swept behind the sandbox");
            }
            self.recorder.diagnose(
                Level::Error,
                format!("the workload may have survivors: {doubt}"),
            );
        }
        if let Some(egress) = self.egress.take() {
            egress.end().await;
        }
        killed
    }

    /// Writes `stop.json`; the first request stands.
    async fn persist_intent(&self, request: &StopRequest) {
        let by = match request.cause {
            StopCause::Signal { signo, sender } => json!({"signal": signo, "sender": sender}),
            StopCause::Api => json!({"api": true}),
        };
        let reason = request
            .reason
            .as_deref()
            .map(|reason| self.redactor.redact_text(reason));
        let intent = json!({"requested_at_ms": now_ms(), "by": by, "reason": reason});
        let bytes = format!("{intent}\n").into_bytes();
        let run_dir = std::sync::Arc::clone(self.recorder.run_dir());
        let write = move || run_dir.create_if_absent("stop.json", &bytes);
        let write = tokio::task::spawn_blocking(write);
        match tokio::time::timeout(super::recorder::PERSIST_STEP_LIMIT, write).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = chain(&error), "stop.json was not written")
            }
            Ok(Err(error)) => tracing::warn!(%error, "stop.json was not written"),
            Err(_) => tracing::warn!("stop.json was not written in time"),
        }
    }

    /// Puts a step of the stop on record.
    pub(super) fn note_step(&self, rung: Rung, hook: Option<HookName>, left: Option<Duration>) {
        self.recorder.append(Event::StopStep(StopStep {
            rung,
            hook,
            left_ms: left.map(super::journal::millis),
            processes: None,
        }));
    }

    /// The same of a kill, if something was killed.
    fn note_kill(&self, killed: &Killed) {
        if killed.killed > 0 {
            self.recorder.append(Event::StopStep(StopStep {
                rung: Rung::Kill,
                hook: None,
                left_ms: None,
                processes: Some(killed.killed),
            }));
        }
    }

    /// Rung 2: asks every process to end, and waits while there is grace.
    async fn ask_to_end(&mut self, ladder: &mut Ladder) {
        let reserve = self.time_behind_agent();
        let left = ladder.left_before(reserve, None).unwrap_or_default();
        self.note_step(Rung::Signal, None, Some(left));
        // With no service the rest is everything, which is reached by faster means.
        let asked = match self.services.are_any() {
            true => self.workload.signal_rest(SIGTERM).await,
            false => self.workload.signal_all(SIGTERM).await,
        };
        if let Err(error) = asked {
            tracing::debug!(%error, "nothing was there to be signalled");
        }
        self.await_end(Awaited::Agent, ladder, |ladder, ended_at| {
            ladder.left_before(reserve, ended_at)
        })
        .await;
    }

    /// Rung 4 with its limit. What holds it up is a full disk, at which everybody waits who has something to record.
    async fn close_in_time(&mut self) {
        let log = self.recorder.log().clone();
        let closing = self.close_actions();
        tokio::pin!(closing);
        if tokio::time::timeout(CLOSE_LIMIT, &mut closing)
            .await
            .is_ok()
        {
            return;
        }
        if matches!(*log.health().borrow(), LogHealth::Paused { .. }) {
            log.abandon_files("the recordings file system was full to the end of the run");
        }
        if tokio::time::timeout(CLOSE_LIMIT, closing).await.is_err() {
            tracing::warn!("the rest of the output was not recorded in time");
        }
    }

    /// Ends the terminal recording, of which nothing more comes.
    async fn end_cast(&mut self) {
        if !self.journal.cast().finish(CAST_LIMIT).await {
            let message = "the terminal recording was not written to its end in time".to_owned();
            self.recorder.diagnose(Level::Warn, message);
        }
    }

    /// Rung 4: the rest of the output, and the end of what is open.
    async fn close_actions(&mut self) {
        if self.launched.is_some() {
            // Nothing holds the pipes any more; an end that the agent decides now comes too late.
            let _ = self.drain().await;
        }
        // Reports of a process that was killed come after the kill.
        let until = Instant::now() + COUNT_INTERVAL;
        while self
            .launched
            .as_ref()
            .is_some_and(|launched| launched.exit.is_none())
            && let Ok(Ok(report)) =
                tokio::time::timeout_at(until, self.workload.next_report()).await
        {
            self.take_late_report(&report).await;
        }
        let ended_late = self
            .launched
            .as_ref()
            .is_some_and(|launched| launched.role == Role::Action);
        if let Err(error) = self.conclude_late().await {
            tracing::warn!(%error, "the end of the command was not recorded");
        }
        if ended_late && let Err(error) = self.record_exit().await {
            tracing::warn!(%error, "the end of the command was not recorded");
        }
        if let Err(error) = self.journal.cancel_open().await {
            tracing::warn!(%error, "open actions were not ended");
        }
    }

    /// Takes the result that is asked for, of a run that would complete; every other end has its own reason.
    async fn check_result(&mut self, cause: &mut Cause) {
        let Some(wanted) = self.settings.result.take() else {
            return;
        };
        if cause.error.is_none()
            && let Err(why) = wanted.take(self.redactor.clone(), &mut cause.verdict).await
        {
            cause.details = Some(why.details(|text| self.journal.sentence(text)));
            cause.error = Some((ErrorCode::OutputInvalid, why.message));
        }
    }

    /// Keeps what the agent had as its result when the run was ended from outside.
    async fn keep_result(&mut self, cause: &mut Cause) {
        let exit = self.launched.as_ref().and_then(|launched| launched.exit);
        // An agent that reached a limit of its own has said its last word.
        if cause.by != EndedBy::Agent
            && cause.verdict.limit.is_none()
            && let Some(End::Verdict(verdict)) = self.tell(Observation::Interrupted(exit)).await
        {
            cause.verdict = Verdict {
                error: None,
                ..*verdict
            };
        }
        let verdict = std::mem::take(&mut cause.verdict);
        cause.verdict = self.journal.bounded(verdict).await;
        if let Some((_, message)) = &mut cause.error {
            *message = self.journal.sentence(std::mem::take(message));
        }
    }

    fn complete(&self, cause: Cause, killed: Killed, begun: Instant) -> Complete {
        let exit = self.exit_of_agent(&cause);
        let error = cause.error.map(|(code, message)| RunError {
            code,
            message,
            details: cause.details,
        });
        let code = error.as_ref().map(|error| error.code);
        let mut usage = self.journal.usage();
        usage.output_bytes = self.budget.written();
        self.limits.complete(&mut usage);
        let reason = match (&error, cause.verdict.reason, exit) {
            (Some(error), _, _) => error.message.clone(),
            (None, Some(reason), _) => reason,
            (None, None, Some(exit)) => format!("the agent {}", exit.describe()),
            (None, None, None) => "the agent ended".to_owned(),
        };
        tracing::debug!(
            took_ms = begun.elapsed().as_millis(),
            "the workload is down"
        );
        Complete {
            status: code.map_or(Status::Completed, |code| code.status().into()),
            outcome: Outcome {
                exit_code: exit.and_then(|exit| exit.code),
                signal: exit.and_then(|exit| exit.signal),
                by: cause.by,
                reason,
                stop_signal: cause.stop_signal,
                sender: cause.sender,
                oom: cause.oom.or_else(|| exit.and_then(|exit| exit.oom)),
            },
            error,
            result: cause.verdict.result,
            data: cause.verdict.data,
            action_count: self.journal.n_steps(),
            duration_ms: u64::try_from(self.settings.began.elapsed().as_millis())
                .unwrap_or(u64::MAX),
            usage,
            survivors: Survivors {
                killed: killed.killed,
                names: killed.names,
            },
        }
    }
}
