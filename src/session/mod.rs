//! The run session: gives the agent its observations, does what it decides, and ends the run.
//!
//! Owns the agent, the workload and the way from one to the other. It is the only one who appends actions, starts
//! processes and decides that the run is over. Invariant: whatever ends a run (the agent, a signal, a caller, a limit, the
//! disk), it ends by one path, in [`ending`].

pub mod artifacts;
pub mod attempt;
mod cause;
pub mod collection;
pub mod ending;
pub mod environment;
mod growth;
mod hooks;
mod guarded;
pub mod channel;
pub mod console;
mod keyboard;
pub(crate) mod tap;
pub mod journal;
mod open_action;
mod ladder;
mod launched;
pub mod limits;
pub mod output;
mod pausing;
mod probing;
pub mod recorder;
pub mod result;
pub mod result_lines;
pub mod sampling;
pub mod services;
pub mod start;
pub mod status_file;
pub mod workload;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::{Agent, Observation, Step, Verdict};
use crate::control::{Calls, PauseCall, StopCall};
use crate::description::Hooks;
use crate::egress::Egress;
use crate::event::Level;
use crate::log::LogHealth;
use crate::progress::mode::Passthrough;
use crate::redact::Redactor;
use crate::supervisor::link::GuardianLink;
use journal::{Journal, Recorded};
use launched::{LaunchFailure, Launched};
use limits::{LOOK_INTERVAL, LimitWatch};
use output::OutputBudget;
use pausing::RunClock;
use recorder::Recorder;
use sampling::{Exceeded, Sampled};
use services::Services;
use workload::Workload;

/// Lines that may wait between the pumps and the agent; pumps wait beyond it.
pub const MAX_WAITING_LINES: usize = 64;

/// How long the recording of what has already been taken may go on, once the run is to end: an observation that was taken
/// and is not on record would be lost.
pub const IN_HAND_LIMIT: Duration = Duration::from_millis(500);

/// How long the pumps may take to end once they were cut.
const CUT_LIMIT: Duration = Duration::from_millis(500);

/// How long output is read after its process has ended, when something else still holds the pipe.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What happens when the log cannot be synced any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLogFailure {
    /// The run ends.
    Stop,
    /// The run goes on, and its status says that the recording is not whole.
    Continue,
}

/// What bounds a session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When the run began.
    pub began: Instant,
    /// Wall-clock limit, from the beginning.
    pub timeout: Duration,
    /// Longest time without an event.
    pub idle_timeout: Option<Duration>,
    /// Whole time that a stop may take.
    pub grace: Duration,
    /// How long the agent has once a stop was told it; none where it is not told.
    pub stop_message: Option<Duration>,
    /// What happens when the log fails.
    pub on_log_failure: OnLogFailure,
    /// Environment of the workload.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// Directory in which processes start, as the sandbox sees it.
    pub directory: PathBuf,
    /// Where the workload's stdout and stderr are copied to.
    pub passthrough: Passthrough,
    /// The result that is asked for; none when none is.
    pub result: Option<Arc<result::Wanted>>,
    /// Commands at moments of the run.
    pub hooks: Hooks,
    /// The terminal from which the run was started.
    pub console: console::Console,
}

/// Why the run is over.
#[derive(Debug)]
pub enum End {
    /// The agent said so.
    Verdict(Box<Verdict>),
    /// Somebody asked for it.
    Stop(StopCall),
    /// The wall-clock limit passed.
    Deadline,
    /// Nothing happened for too long.
    Idle,
    /// The agent did more than it may.
    TooManySteps,
    /// A guardrail stops the run.
    Blocked(crate::event::Guardrail),
    /// The workload wrote more than it may.
    TooMuchOutput,
    /// The workload passed a limit that the supervisor looks at.
    Exceeded(Exceeded),
    /// A service that the run cannot do without is gone.
    ServiceLost(services::Lost),
    /// The log failed.
    LogFailed(String),
    /// The sandbox is gone.
    SandboxGone(String),
}

/// A run that has its sandbox.
pub struct Session {
    /// Bounds of the run.
    pub settings: Settings,
    /// What decides.
    pub agent: Box<dyn Agent>,
    /// Where it is done.
    pub workload: Workload,
    /// Where it is recorded.
    pub recorder: Recorder,
    /// Numbers and names what is recorded.
    pub journal: Journal,
    /// Requests to stop.
    pub calls: mpsc::Receiver<StopCall>,
    /// Requests to pause and to go on; none once the run is taken down.
    pauses: Option<mpsc::Receiver<PauseCall>>,
    /// For how long the run has stood still.
    clock: watch::Sender<RunClock>,
    /// What lets the workload stand still now.
    standing_by: Option<stockade_sandbox::PauseMeans>,
    /// Replaces secrets in output.
    pub redactor: Redactor,
    /// Bounds the recorded output.
    pub budget: Arc<OutputBudget>,
    /// Sweeps when the sandbox cannot say that nothing is left.
    pub guardian: Option<GuardianLink>,
    /// What is taken out of the run at its end.
    pub collection: Option<collection::Collection>,
    /// The way out of the sandbox, which ends behind the workload.
    pub egress: Option<Egress>,
    /// The programs beside the agent.
    pub services: Services,
    /// The hook that runs.
    hook: Option<hooks::Running>,
    launched: Option<Launched>,
    pumps: TaskTracker,
    cut: CancellationToken,
    /// Cancelled when something else than the work ends the run: nothing more is taken.
    interrupt: CancellationToken,
    observations: Option<mpsc::Receiver<Observation>>,
    /// Kept for the next attempt.
    lines: Option<mpsc::Sender<Observation>>,
    /// What the agent is told next, beside what comes from outside.
    waiting: VecDeque<Observation>,
    /// Until when the agent lets time pass.
    wait_until: Option<Instant>,
    /// Until when silence is what the agent asked for: a wait, or a look that waits for its answer.
    quiet_until: watch::Sender<Instant>,
    looking: Option<probing::Looking>,
    /// What the kernel counts against the limits.
    pub limits: LimitWatch,
    /// The limits that nothing in the kernel holds.
    pub sampled: Sampled,
    /// When it is looked at next; none without a control group.
    limits_due: Option<Instant>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("settings", &self.settings)
            .field("launched", &self.launched)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session that has done nothing yet.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part that the composition root has built"
    )]
    pub fn new(
        settings: Settings,
        agent: Box<dyn Agent>,
        workload: Workload,
        recorder: Recorder,
        journal: Journal,
        calls: Calls,
        redactor: Redactor,
        budget: Arc<OutputBudget>,
        guardian: Option<GuardianLink>,
    ) -> Self {
        Self {
            settings,
            agent,
            workload,
            recorder,
            journal,
            calls: calls.stops,
            pauses: Some(calls.pauses),
            clock: watch::Sender::default(),
            standing_by: None,
            redactor,
            budget,
            guardian,
            collection: None,
            egress: None,
            services: Services::default(),
            hook: None,
            launched: None,
            pumps: TaskTracker::new(),
            cut: CancellationToken::new(),
            interrupt: CancellationToken::new(),
            observations: None,
            lines: None,
            waiting: VecDeque::from([Observation::Begun]),
            wait_until: None,
            quiet_until: watch::Sender::new(Instant::now()),
            looking: None,
            limits: LimitWatch::default(),
            sampled: Sampled::default(),
            limits_due: None,
        }
    }

    /// Drives the agent until the run is over; what then has to be done is in [`ending`].
    pub async fn drive(&mut self) -> End {
        let deadline = self.settings.began + self.settings.timeout;
        let (clock, idle_clock) = (self.clock.subscribe(), self.clock.subscribe());
        let budget = Arc::clone(&self.budget);
        let (idle_timeout, log) = (self.settings.idle_timeout, self.recorder.log().clone());
        let mut health = log.health();
        let stops_on_failure = self.settings.on_log_failure == OnLogFailure::Stop;
        let quiet_until = self.quiet_until.subscribe();
        let (_, no_calls) = mpsc::channel(1);
        let mut calls = std::mem::replace(&mut self.calls, no_calls);
        let interrupt = self.interrupt.clone();
        let killer = self.workload.signaller();
        let sampled = std::mem::take(&mut self.sampled)
            .exceeded(self.workload.signaller(), self.clock.subscribe());
        let console = self.settings.console.clone().follow(
            self.workload.signaller(),
            log.clone(),
            self.journal.cast().clone(),
        );
        let end = {
            let work = self.work();
            tokio::pin!(work);
            // Every arm but the work is cancel safe: requests and changes wait in their channels.
            let interrupted = tokio::select! {
                biased;
                Some(call) = calls.recv() => Err(End::Stop(call)),
                () = pausing::deadline(deadline, clock) => Err(End::Deadline),
                () = pausing::idle(idle_timeout, &log, &quiet_until, idle_clock) => Err(End::Idle),
                () = budget.exceeded() => Err(End::TooMuchOutput),
                exceeded = sampled => Err(End::Exceeded(exceeded)),
                error = log_failure(&mut health), if stops_on_failure => Err(End::LogFailed(error)),
                never = console => match never {},
                end = &mut work => Ok(end),
            };
            match interrupted {
                Ok(end) => end,
                Err(end) => {
                    interrupt.cancel();
                    if matches!(end, End::Exceeded(_)) {
                        sampling::kill(&killer).await;
                    }
                    // A full disk may hold it for longer; then what it has in hand is lost with the rest.
                    let _ = tokio::time::timeout(IN_HAND_LIMIT, work).await;
                    Some(end)
                }
            }
        };
        self.calls = calls;
        end.unwrap_or_else(|| End::SandboxGone("the session was interrupted by nobody".to_owned()))
    }

    /// Goes on until the run is over; none when it was interrupted.
    async fn work(&mut self) -> Option<End> {
        let interrupt = self.interrupt.clone();
        if let Some(end) = self.begin_services().await {
            return Some(end);
        }
        loop {
            while self.services.are_up()
                && let Some(observation) = self.waiting.pop_front()
            {
                if interrupt.is_cancelled() {
                    return None;
                }
                if let Some(end) = self.tell(observation).await {
                    return Some(end);
                }
            }
            let (wait_until, attempt_due) = (self.wait_until, self.attempt_due());
            let look_due = self.looking.as_ref().map(probing::Looking::due);
            let (limits_due, services_due) = (self.limits_due, self.services.due());
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return None,
                Some(call) = pausing::next_call(&mut self.pauses) => {
                    if let Some(end) = self.take_pause_call(call).await {
                        return Some(end);
                    }
                }
                Some(observation) = next_observation(&mut self.observations) => self.waiting.push_back(observation),
                report = self.workload.next_report() => match report {
                    Ok(report) => {
                        let mut exit = workload::exit_of(&report);
                        if let Some(whose) = self.services.whose(report.launch) {
                            if let Some(end) = self.take_report_of_service(whose, exit).await {
                                return Some(end);
                            }
                        } else if self.looking.as_ref().is_some_and(|looking| looking.id == report.launch) {
                            self.take_look(exit).await;
                        } else if self.launched.as_ref().is_some_and(|launched| launched.id == report.launch) {
                            exit = self.note_exit(exit);
                            if self.launched.as_ref().is_some_and(|launched| launched.watched.is_some()) {
                                if let Some(end) = self.end_attempt().await {
                                    return Some(end);
                                }
                                continue;
                            }
                            if let Some(end) = self.drain().await {
                                return Some(end);
                            }
                            if interrupt.is_cancelled() {
                                return None;
                            }
                            if let Err(error) = self.record_exit().await {
                                return Some(End::LogFailed(error.to_string()));
                            }
                            self.waiting.push_back(Observation::Exited(exit));
                        }
                    }
                    Err(error) => return Some(End::SandboxGone(error.to_string())),
                },
                () = until(attempt_due) => {
                    if let Some(end) = self.hurry_attempt().await {
                        return Some(end);
                    }
                }
                () = until(services_due) => {
                    if let Some(end) = self.hurry_services().await {
                        return Some(end);
                    }
                }
                () = until(look_due) => self.end_look().await,
                () = until(limits_due) => self.look_at_limits(),
                () = until(wait_until) => {
                    self.wait_until = None;
                    self.waiting.push_back(Observation::Waited);
                }
            }
        }
    }

    /// Looks at what the kernel counted, and tells of limits that were reached since.
    fn look_at_limits(&mut self) {
        let reading = self.workload.reading();
        let now = Instant::now();
        self.limits_due = reading.map(|_| now + LOOK_INTERVAL);
        for limit in reading.map_or_else(Vec::new, |reading| self.limits.look(reading, now)) {
            self.recorder.append(crate::event::Event::Limit(limit));
        }
    }

    /// Tells the agent what happened and does what it decides; an end when there is one.
    async fn tell(&mut self, observation: Observation) -> Option<End> {
        for step in self.agent.next(observation).await {
            let done = match step {
                Step::Finish(verdict) => return Some(End::Verdict(Box::new(verdict))),
                Step::Record(report) => self.journal.record(report).await,
                Step::Conclude(conclusion) => self.conclude(conclusion).await,
                // Nothing new begins once something else ends the run.
                Step::Launch(_) if self.interrupt.is_cancelled() => {
                    self.tell_not_begun().await;
                    return None;
                }
                Step::Probe(_) | Step::Wait(_) if self.interrupt.is_cancelled() => return None,
                Step::Wait(time) => {
                    let until = Instant::now() + time;
                    self.wait_until = Some(until);
                    self.quiet_until.send_replace(until);
                    Ok(Recorded::GoOn)
                }
                Step::Probe(probe) => {
                    self.look(probe).await;
                    Ok(Recorded::GoOn)
                }
                Step::Launch(launch) => match self.launch(launch).await {
                    Ok(()) => Ok(Recorded::GoOn),
                    Err(LaunchFailure::NotStarted(why)) => {
                        self.waiting.push_back(Observation::NotStarted(why));
                        return None;
                    }
                    Err(LaunchFailure::TooManySteps) => {
                        self.tell_not_begun().await;
                        return Some(End::TooManySteps);
                    }
                    Err(LaunchFailure::Blocked(guardrail)) => return Some(End::Blocked(guardrail)),
                    Err(LaunchFailure::SandboxLost(why)) => return Some(End::SandboxGone(why)),
                    Err(LaunchFailure::NotRecorded(error)) => Err(error),
                },
            };
            match done {
                Ok(Recorded::GoOn) => {}
                Ok(Recorded::TooManySteps) => return Some(End::TooManySteps),
                Ok(Recorded::Blocked(guardrail)) => return Some(End::Blocked(guardrail)),
                Err(error) => self.recorder.diagnose(Level::Warn, error.to_string()),
            }
        }
        None
    }

    /// Tells the agent that its last launch does not exist; there is nothing that it could do about it.
    async fn tell_not_begun(&mut self) {
        let _ = self.agent.next(Observation::NotBegun).await;
    }
}

async fn next_observation(
    waiting: &mut Option<mpsc::Receiver<Observation>>,
) -> Option<Observation> {
    match waiting {
        Some(waiting) => waiting.recv().await,
        None => None,
    }
}

/// Waits until then; for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Ends when the log has failed or was given up.
async fn log_failure(health: &mut watch::Receiver<LogHealth>) -> String {
    match health
        .wait_for(|health| match health {
            LogHealth::Healthy | LogHealth::Paused { .. } => false,
            LogHealth::GivenUp { .. } | LogHealth::Failed { .. } => true,
        })
        .await
        .as_deref()
    {
        Ok(LogHealth::GivenUp { error } | LogHealth::Failed { error }) => error.clone(),
        Ok(_) | Err(_) => std::future::pending().await,
    }
}
