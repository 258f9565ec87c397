//! The launched process: from its pipes to its exit.
//!
//! Owns the pipes between the workload and the pumps, the draining of what is left in them, and the record of the exit. When
//! to launch is the agent's decision, when to stop the ladder's.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_sandbox::LaunchId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::environment::ACTIONS_FD;
use super::journal::MAX_TEXT_BYTES;
use super::output::{Destination, Pump};
use super::{CUT_LIMIT, DRAIN_LIMIT, End, MAX_WAITING_LINES, Session, next_observation};
use crate::agent::{Exit, Launch, LineOf, NotStarted, Role};
use crate::event::Stream;
use crate::event::action::Truncated;
use crate::log::AppendError;
use crate::redact::StreamRedactor;
use crate::run::{ErrorCode, Transition};
use crate::text::Clip;
/// The process that the agent asked for.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) id: LaunchId,
    pub(super) role: Role,
    step: u64,
    clip: Arc<Mutex<Clip>>,
    pub(super) exit: Option<Exit>,
}

impl Session {
    pub(super) async fn launch(&mut self, launch: Launch) -> Result<(), LaunchFailure> {
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

    pub(super) fn note_exit(&mut self, exit: Exit) {
        self.journal.add_usage(&exit);
        if let Some(launched) = &mut self.launched {
            launched.exit = Some(exit);
        }
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

pub(super) enum LaunchFailure {
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
