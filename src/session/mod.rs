//! The run session: gives the agent its observations, does what it decides, and ends the run.
//!
//! Owns the agent, the workload and the way from one to the other. It is the only one who appends actions, starts
//! processes and decides that the run is over. Invariant: whatever ends a run (the agent, a signal, a caller, a limit, the
//! disk), it ends by one path, in [`ending`].

pub mod artifacts;
pub mod ending;
pub mod environment;
pub mod journal;
pub mod output;
pub mod recorder;
pub mod status_file;
pub mod workload;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stockade_sandbox::LaunchId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::{Agent, Exit, Launch, LineOf, NotStarted, Observation, Role, Step, Verdict};
use crate::control::StopCall;
use crate::event::action::Truncated;
use crate::event::{Level, Stream};
use crate::log::{AppendError, LogHealth};
use crate::redact::{Redactor, StreamRedactor};
use crate::run::{ErrorCode, Transition};
use crate::supervisor::link::GuardianLink;
use crate::text::Clip;
use environment::ACTIONS_FD;
use journal::{Journal, MAX_TEXT_BYTES, Recorded};
use output::{Destination, OutputBudget, Pump};
use recorder::Recorder;
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
    /// What happens when the log fails.
    pub on_log_failure: OnLogFailure,
    /// Environment of the workload.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// Directory in which processes start, as the sandbox sees it.
    pub directory: PathBuf,
}

/// Why the run is over.
#[derive(Debug)]
pub enum End {
    /// The agent said so.
    Verdict(Verdict),
    /// Somebody asked for it.
    Stop(StopCall),
    /// The wall-clock limit passed.
    Deadline,
    /// Nothing happened for too long.
    Idle,
    /// The agent did more than it may.
    TooManySteps,
    /// The workload wrote more than it may.
    TooMuchOutput,
    /// The log failed.
    LogFailed(String),
    /// The sandbox is gone.
    SandboxGone(String),
}

/// The process that the agent asked for.
#[derive(Debug)]
struct Launched {
    id: LaunchId,
    role: Role,
    step: u64,
    clip: Arc<Mutex<Clip>>,
    exit: Option<Exit>,
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
    /// Replaces secrets in output.
    pub redactor: Redactor,
    /// Bounds the recorded output.
    pub budget: Arc<OutputBudget>,
    /// Sweeps when the sandbox cannot say that nothing is left.
    pub guardian: Option<GuardianLink>,
    launched: Option<Launched>,
    pumps: TaskTracker,
    cut: CancellationToken,
    /// Cancelled when something else than the work ends the run: nothing more is taken.
    interrupt: CancellationToken,
    observations: Option<mpsc::Receiver<Observation>>,
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
        calls: mpsc::Receiver<StopCall>,
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
            calls,
            redactor,
            budget,
            guardian,
            launched: None,
            pumps: TaskTracker::new(),
            cut: CancellationToken::new(),
            interrupt: CancellationToken::new(),
            observations: None,
        }
    }

    /// Drives the agent until the run is over; what then has to be done is in [`ending`].
    pub async fn drive(&mut self) -> End {
        let deadline = self.settings.began + self.settings.timeout;
        let budget = Arc::clone(&self.budget);
        let (idle_timeout, log) = (self.settings.idle_timeout, self.recorder.log().clone());
        let mut health = log.health();
        let stops_on_failure = self.settings.on_log_failure == OnLogFailure::Stop;
        let (_, no_calls) = mpsc::channel(1);
        let mut calls = std::mem::replace(&mut self.calls, no_calls);
        let interrupt = self.interrupt.clone();
        let end = {
            let work = self.work();
            tokio::pin!(work);
            // Every arm but the work is cancel safe: requests and changes wait in their channels.
            let interrupted = tokio::select! {
                biased;
                Some(call) = calls.recv() => Err(End::Stop(call)),
                () = tokio::time::sleep_until(deadline) => Err(End::Deadline),
                () = idle(idle_timeout, &log) => Err(End::Idle),
                () = budget.exceeded() => Err(End::TooMuchOutput),
                error = log_failure(&mut health), if stops_on_failure => Err(End::LogFailed(error)),
                end = &mut work => Ok(end),
            };
            match interrupted {
                Ok(end) => end,
                Err(end) => {
                    interrupt.cancel();
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
        let mut waiting = VecDeque::from([Observation::Begun]);
        loop {
            while let Some(observation) = waiting.pop_front() {
                if let Some(end) = self.tell(observation).await {
                    return Some(end);
                }
            }
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return None,
                Some(observation) = next_observation(&mut self.observations) => waiting.push_back(observation),
                report = self.workload.next_report() => match report {
                    Ok(report) => {
                        let exit = workload::exit_of(&report);
                        if self.launched.as_ref().is_some_and(|launched| launched.id == report.launch) {
                            self.note_exit(exit);
                            if let Some(end) = self.drain().await {
                                return Some(end);
                            }
                            if interrupt.is_cancelled() {
                                return None;
                            }
                            if let Err(error) = self.record_exit().await {
                                return Some(End::LogFailed(error.to_string()));
                            }
                            waiting.push_back(Observation::Exited(exit));
                        }
                    }
                    Err(error) => return Some(End::SandboxGone(error.to_string())),
                },
            }
        }
    }

    /// Tells the agent what happened and does what it decides; an end when there is one.
    async fn tell(&mut self, observation: Observation) -> Option<End> {
        for step in self.agent.next(observation).await {
            let done = match step {
                Step::Finish(verdict) => return Some(End::Verdict(verdict)),
                Step::Record(report) => self.journal.record(report).await,
                Step::Launch(launch) => match self.launch(launch).await {
                    Ok(()) => Ok(Recorded::GoOn),
                    Err(LaunchFailure::NotStarted(why)) => {
                        return Box::pin(self.tell(Observation::NotStarted(why))).await;
                    }
                    Err(LaunchFailure::NotRecorded(error)) => Err(error),
                },
            };
            match done {
                Ok(Recorded::GoOn) => {}
                Ok(Recorded::TooManySteps) => return Some(End::TooManySteps),
                Err(error) => self.recorder.diagnose(Level::Warn, error.to_string()),
            }
        }
        None
    }

    async fn launch(&mut self, launch: Launch) -> Result<(), LaunchFailure> {
        let (step, call_id) = match launch.role {
            Role::Action => self
                .journal
                .command_started(&launch.argv)
                .await
                .map_err(LaunchFailure::NotRecorded)?,
            Role::Agent => (0, String::new()),
        };
        let pipes = Pipes::new().map_err(|error| LaunchFailure::NotStarted(no_pipes(&error)))?;
        let request = stockade_sandbox::Launch {
            argv: launch.argv.into_iter().map(Into::into).collect(),
            env: self.settings.environment.clone(),
            cwd: self.settings.directory.clone(),
            stdio: [pipes.null, pipes.stdout.1, pipes.stderr.1],
            extra: vec![(pipes.actions.1, ACTIONS_FD)],
        };
        let id = match self.workload.launch(request).await {
            Ok(id) => id,
            Err(why) => {
                // The failed action is on record like any other.
                self.journal
                    .command_not_started(step, &why.message)
                    .await
                    .map_err(LaunchFailure::NotRecorded)?;
                return Err(LaunchFailure::NotStarted(why));
            }
        };
        self.recorder.enter(Transition::AgentStarted, None).await;
        let clip = Arc::new(Mutex::new(new_clip()));
        let (lines, observations) = mpsc::channel(MAX_WAITING_LINES);
        self.observations = Some(observations);
        let text = |clip: &Arc<Mutex<Clip>>| match launch.role {
            Role::Action => Destination::Action {
                step,
                call_id: call_id.clone(),
                clip: Arc::clone(clip),
            },
            Role::Agent => Destination::Agent,
        };
        let stdout = match launch.role {
            Role::Action => text(&clip),
            Role::Agent => Destination::Lines {
                of: LineOf::Stdout,
                observations: lines.clone(),
            },
        };
        self.pump(Stream::Stdout, stdout, pipes.stdout.0, tokio::io::stdout());
        self.pump(
            Stream::Stderr,
            text(&clip),
            pipes.stderr.0,
            tokio::io::stderr(),
        );
        let actions = Destination::Lines {
            of: LineOf::Actions,
            observations: lines,
        };
        self.pump(Stream::Stdout, actions, pipes.actions.0, tokio::io::sink());
        self.launched = Some(Launched {
            id,
            role: launch.role,
            step,
            clip,
            exit: None,
        });
        Ok(())
    }

    fn pump(
        &self,
        stream: Stream,
        destination: Destination,
        pipe: OwnedFd,
        passthrough: impl tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) {
        let pump = Pump {
            stream,
            destination,
            redactor: StreamRedactor::new(&self.redactor),
            log: self.recorder.log().clone(),
            budget: Arc::clone(&self.budget),
        };
        let run = pump.run(pipe, passthrough, self.cut.clone());
        self.pumps.spawn(async move {
            if let Err(error) = run.await {
                tracing::warn!(%error, "output of the workload was not read to its end");
            }
        });
    }

    fn note_exit(&mut self, exit: Exit) {
        self.journal.add_usage(&exit);
        if let Some(launched) = &mut self.launched {
            launched.exit = Some(exit);
        }
    }

    /// Reads the output that is left, for at most [`DRAIN_LIMIT`] when something else still holds the pipe.
    async fn drain(&mut self) -> Option<End> {
        self.pumps.close();
        let pumps = self.pumps.clone();
        let done = async { pumps.wait().await };
        tokio::pin!(done);
        let limit = tokio::time::sleep(DRAIN_LIMIT);
        tokio::pin!(limit);
        // Once interrupted the ladder drains anew, behind the kill.
        let interrupt = self.interrupt.clone();
        let was_interrupted = interrupt.is_cancelled();
        let mut cut_at = None;
        loop {
            let given_up = async {
                match cut_at {
                    Some(at) => tokio::time::sleep_until(at + CUT_LIMIT).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = interrupt.cancelled(), if !was_interrupted => return None,
                Some(observation) = next_observation(&mut self.observations) => {
                    if let Some(end) = self.tell(observation).await {
                        return Some(end);
                    }
                }
                () = &mut done => break,
                () = &mut limit, if cut_at.is_none() => {
                    self.cut.cancel();
                    cut_at = Some(Instant::now());
                }
                () = given_up => {
                    tracing::warn!("the rest of the output was not read in time");
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

    /// Records the end of the launched command, if it was an action.
    async fn record_exit(&mut self) -> Result<(), AppendError> {
        let Some(launched) = &self.launched else {
            return Ok(());
        };
        let (Role::Action, Some(exit)) = (launched.role, launched.exit) else {
            return Ok(());
        };
        let clipped = {
            let mut clip = launched.clip.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *clip, new_clip()).finish()
        };
        let truncated = (clipped.kept_bytes < clipped.total_bytes).then_some(Truncated {
            total_bytes: clipped.total_bytes,
            kept_bytes: clipped.kept_bytes,
        });
        self.journal
            .command_ended(launched.step, &exit, clipped.text, truncated)
            .await
    }
}

/// Keeps the first quarter and the last three quarters of what a `result_text` may have: errors stand at the end.
fn new_clip() -> Clip {
    Clip::new(MAX_TEXT_BYTES / 4, MAX_TEXT_BYTES / 4 * 3)
}

enum LaunchFailure {
    NotStarted(NotStarted),
    NotRecorded(AppendError),
}

/// The workload's ends and ours.
struct Pipes {
    null: OwnedFd,
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
    actions: (OwnedFd, OwnedFd),
}

impl Pipes {
    fn new() -> io::Result<Self> {
        let pipe = || -> io::Result<(OwnedFd, OwnedFd)> {
            Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
        };
        Ok(Self {
            null: File::open("/dev/null")?.into(),
            stdout: pipe()?,
            stderr: pipe()?,
            actions: pipe()?,
        })
    }
}

fn no_pipes(error: &io::Error) -> NotStarted {
    NotStarted {
        code: ErrorCode::SetupFailed,
        message: format!("cannot open the pipes of the command: {error}"),
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

/// Ends when no event was appended for the whole limit; never without one.
async fn idle(limit: Option<Duration>, log: &crate::log::ActionLog) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let due = Instant::from_std(log.last_append_at()) + limit;
        if due <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(due).await;
    }
}

/// Ends when the log has failed.
async fn log_failure(health: &mut tokio::sync::watch::Receiver<LogHealth>) -> String {
    match health
        .wait_for(|health| matches!(health, LogHealth::Failed { .. }))
        .await
        .as_deref()
    {
        Ok(LogHealth::Failed { error }) => error.clone(),
        Ok(_) | Err(_) => std::future::pending().await,
    }
}
