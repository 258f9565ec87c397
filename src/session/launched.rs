//! The launched process: from its pipes to its exit.
//!
//! Owns the pipes between the workload and the pumps, the draining of what is left in them, and the record of the exit. When
//! to launch is the agent's decision, when to stop the ladder's.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_sandbox::LaunchId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::attempt::Watched;
use super::channel::Channel;
use super::console::{Use, pipe};
use super::environment::ACTIONS_FD;
use super::journal::{MAX_TEXT_BYTES, Recorded};
use super::limits::LOOK_INTERVAL;
use super::output::{Destination, Pump, Settle};
use super::result_lines::{Reports, ResultLine, ResultLines};
use super::{CUT_LIMIT, DRAIN_LIMIT, End, MAX_WAITING_LINES, Session, next_observation};
use crate::agent::{Exit, Launch, LineOf, NotStarted, Observation, Role, SandboxState};
use crate::cast::{Cast, LineEnds, ScreenStream};
use crate::event::action::Truncated;
use crate::event::{Guardrail, Stream};
use crate::log::AppendError;
use crate::redact::StreamRedactor;
use crate::run::{ErrorCode, Phase, Transition};
use crate::text::Clip;
/// The process that the agent asked for.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) id: LaunchId,
    pub(super) role: Role,
    pub(super) step: u64,
    clip: Arc<Mutex<Clip>>,
    pub(super) exit: Option<Exit>,
    /// What only an attempt has.
    pub(super) watched: Option<Watched>,
    /// The result that its output may hold.
    pub(super) line: Option<ResultLine>,
    /// Where it is told of a stop.
    pub(super) control: Option<Channel>,
}

/// A pipe of the launch, and who waits for what is in it.
struct Piped {
    stream: Stream,
    pipe: OwnedFd,
    settle: Option<oneshot::Receiver<Settle>>,
    /// Where a result goes that passes.
    line: Option<ResultLine>,
}

impl Launched {
    /// The output for the record, and how much of it was left out.
    pub(super) fn take_output(&self) -> (String, Option<Truncated>) {
        let clipped = {
            let mut clip = self.clip.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *clip, new_clip()).finish()
        };
        let truncated = (clipped.kept_bytes < clipped.total_bytes).then_some(Truncated {
            total_bytes: clipped.total_bytes,
            kept_bytes: clipped.kept_bytes,
        });
        (clipped.text, truncated)
    }
}

impl Session {
    pub(super) async fn launch(&mut self, launch: Launch) -> Result<(), LaunchFailure> {
        let (step, call_id) = match &launch.role {
            Role::Action => self
                .journal
                .command_started(&launch.argv)
                .await
                .map_err(LaunchFailure::NotRecorded)?,
            Role::Attempt(_) if self.journal.n_steps() >= self.journal.max_steps() => {
                return Err(LaunchFailure::TooManySteps);
            }
            Role::Attempt(attempt) => self
                .journal
                .attempt_started(attempt)
                .await
                .map_err(LaunchFailure::NotRecorded)?,
            Role::Agent => (0, String::new()),
        };
        let mut env = self.settings.environment.clone();
        let mut cwd = self.settings.directory.clone();
        if let Role::Attempt(attempt) = &launch.role {
            for (name, value) in &attempt.env {
                env.retain(|(known, _)| known != name.as_str());
                env.push((name.into(), value.into()));
            }
            cwd.push(&attempt.directory);
        }
        let console = self.settings.console.clone();
        let opened = console
            .streams(&self.workload)
            .await
            .and_then(|streams| Ok((streams, pipe(Use::Output)?)));
        let (streams, (actions_read, actions_write)) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(self.not_started(step, no_streams(&error)).await),
        };
        let mut extra = vec![(actions_write, ACTIONS_FD)];
        let control = match self.open_channel(&mut extra, &mut env) {
            Ok(control) => control,
            Err(error) => return Err(self.not_started(step, no_streams(&error)).await),
        };
        let request = stockade_sandbox::Launch {
            argv: launch.argv.into_iter().map(Into::into).collect(),
            env,
            cwd,
            stdio: streams.stdio,
            extra,
        };
        let before = self.workload.begin_peak();
        self.limits_due = before.map(|_| Instant::now() + LOOK_INTERVAL);
        self.limits
            .begin(before.unwrap_or_default(), Instant::now());
        let launched = match &launch.role {
            Role::Attempt(_) => self.workload.launch_kept(request).await,
            Role::Action | Role::Agent => self.workload.launch(request).await,
        };
        let id = match launched {
            Ok(id) => id,
            Err(why) => return Err(self.not_started(step, why).await),
        };
        if self.recorder.state().phase() == Phase::Starting {
            self.recorder.enter(Transition::AgentStarted, None).await;
        }
        let mut watched = match &launch.role {
            Role::Attempt(attempt) => Some(Watched::new(attempt.timeout)),
            Role::Action | Role::Agent => None,
        };
        let clip = Arc::new(Mutex::new(new_clip()));
        let lines = self.lines_of(&launch.role);
        let text = |capture: Option<&Arc<Mutex<Clip>>>| match &launch.role {
            Role::Action | Role::Attempt(_) => Destination::Action {
                step,
                call_id: call_id.clone(),
                clip: Arc::clone(&clip),
                capture: capture.map(Arc::clone),
            },
            Role::Agent => Destination::Agent,
        };
        let line = self.result_line(&launch.role);
        let stderr = text(watched.as_ref().map(|watched| &watched.stderr));
        let stdout = match &launch.role {
            Role::Action | Role::Attempt(_) => {
                text(watched.as_ref().map(|watched| &watched.stdout))
            }
            Role::Agent => Destination::Lines {
                of: LineOf::Stdout,
                observations: lines.clone(),
            },
        };
        let mut settle = || {
            let watched = watched.as_mut()?;
            let (ask, asked) = oneshot::channel();
            watched.settles.push(ask);
            Some(asked)
        };
        let settles = [settle(), settle(), settle()];
        let [of_stdout, of_stderr, of_actions] = settles;
        let piped = |stream, pipe, settle| Piped {
            stream,
            pipe,
            settle,
            line: None,
        };
        self.pump(
            Piped {
                line: line.clone(),
                ..piped(Stream::Stdout, streams.stdout, of_stdout)
            },
            stdout,
            self.settings.passthrough.stdout.open(),
        );
        self.pump(
            piped(Stream::Stderr, streams.stderr, of_stderr),
            stderr,
            self.settings.passthrough.stderr.open(),
        );
        let actions = Destination::Lines {
            of: LineOf::Actions,
            observations: lines,
        };
        self.pump(
            piped(Stream::Stdout, actions_read, of_actions),
            actions,
            tokio::io::sink(),
        );
        self.launched = Some(Launched {
            id,
            role: launch.role,
            step,
            clip,
            exit: None,
            watched,
            line,
            control,
        });
        Ok(())
    }

    /// Records an action that did not begin, like any other that failed.
    async fn not_started(&mut self, step: u64, why: NotStarted) -> LaunchFailure {
        match self.journal.command_not_started(step, &why.message).await {
            Err(error) => LaunchFailure::NotRecorded(error),
            Ok(Recorded::Blocked(guardrail)) => LaunchFailure::Blocked(guardrail),
            Ok(Recorded::GoOn | Recorded::TooManySteps) => match why.sandbox {
                SandboxState::Works => LaunchFailure::NotStarted(why),
                SandboxState::Lost => LaunchFailure::SandboxLost(why.message),
            },
        }
    }

    /// The way of lines to the session. Attempts share one, because what one of them left in the background may still
    /// report while the next one runs.
    fn lines_of(&mut self, role: &Role) -> mpsc::Sender<Observation> {
        if let (Role::Attempt(_), Some(lines)) = (role, &self.lines) {
            return lines.clone();
        }
        let (lines, observations) = mpsc::channel(MAX_WAITING_LINES);
        self.observations = Some(observations);
        if let Role::Attempt(_) = role {
            self.lines = Some(lines.clone());
        }
        lines
    }

    fn pump(
        &self,
        piped: Piped,
        destination: Destination,
        passthrough: impl tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) {
        let Piped {
            stream,
            pipe,
            settle,
            line,
        } = piped;
        let cast = match &destination {
            Destination::Lines {
                of: LineOf::Actions,
                ..
            } => Cast::off(),
            Destination::Service { .. } | Destination::Hook { .. } => Cast::off(),
            Destination::Lines { .. } | Destination::Action { .. } | Destination::Agent => {
                self.journal.cast().clone()
            }
        };
        let line_ends = if self.settings.console.has_terminal() {
            LineEnds::AsTheyAre
        } else {
            LineEnds::Translated
        };
        let pump = Pump {
            stream,
            result_lines: result_lines(line, &destination),
            destination,
            settle,
            redactor: StreamRedactor::new(&self.redactor),
            log: self.recorder.log().clone(),
            budget: Arc::clone(&self.budget),
            screen: ScreenStream::new(cast, line_ends),
        };
        let run = pump.run(pipe, passthrough, self.cut.clone());
        self.pumps.spawn(async move {
            if let Err(error) = run.await {
                tracing::warn!(%error, "output of the workload was not read to its end");
            }
        });
    }

    /// Where a launch puts the result that its output holds, if it is asked for there. Each attempt has a place of its own:
    /// only one that succeeds gives a result.
    fn result_line(&self, role: &Role) -> Option<ResultLine> {
        let line = self.settings.result.as_ref()?.line()?;
        match role {
            Role::Action | Role::Agent => Some(line.clone()),
            Role::Attempt(attempt) => attempt.gives_result.then(ResultLine::default),
        }
    }

    /// Takes the end of the launch, and completes it by what the kernel counted.
    pub(super) fn note_exit(&mut self, mut exit: Exit) -> Exit {
        if let Some(reading) = self.workload.reading() {
            for limit in self.limits.end(reading, &mut exit, Instant::now()) {
                self.recorder.append(crate::event::Event::Limit(limit));
            }
        }
        self.journal.add_usage(&exit);
        if let Some(launched) = &mut self.launched {
            launched.exit = Some(exit);
        }
        exit
    }

    /// Reads the output that is left, for at most [`DRAIN_LIMIT`] when something else still holds the pipe.
    pub(super) async fn drain(&mut self) -> Option<End> {
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
        self.tell_waiting().await
    }

    /// Tells the agent the lines that wait already, until there is an end.
    pub(super) async fn tell_waiting(&mut self) -> Option<End> {
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
    pub(super) async fn record_exit(&mut self) -> Result<(), AppendError> {
        let Some(launched) = &self.launched else {
            return Ok(());
        };
        let (Role::Action, Some(exit)) = (&launched.role, launched.exit) else {
            return Ok(());
        };
        let (text, truncated) = launched.take_output();
        self.journal
            .command_ended(launched.step, &exit, text, truncated)
            .await
    }
}

/// Looks for the result in what passes to the destination.
fn result_lines(line: Option<ResultLine>, destination: &Destination) -> Option<ResultLines> {
    let reports = match destination {
        Destination::Action { .. } => Reports::Absent,
        Destination::Lines { .. }
        | Destination::Agent
        | Destination::Service { .. }
        | Destination::Hook { .. } => Reports::PassedOver,
    };
    line.map(|line| ResultLines::new(line, reports))
}

/// Keeps the first quarter and the last three quarters of what a `result_text` may have: errors stand at the end.
fn new_clip() -> Clip {
    Clip::new(MAX_TEXT_BYTES / 4, MAX_TEXT_BYTES / 4 * 3)
}

pub(super) enum LaunchFailure {
    NotStarted(NotStarted),
    NotRecorded(AppendError),
    TooManySteps,
    Blocked(Guardrail),
    SandboxLost(String),
}

fn no_streams(error: &io::Error) -> NotStarted {
    NotStarted {
        code: ErrorCode::SetupFailed,
        message: format!("cannot open the standard streams of the command: {error}"),
        sandbox: SandboxState::Works,
    }
}
