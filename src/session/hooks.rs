//! Hooks: a command at the beginning of a stop, and one behind the end of the agent.
//!
//! Owns their launch, their limit and their record. A hook runs in the sandbox like the agent, and is no action of it: it
//! takes no step, and how it ends changes nothing of the outcome. Invariant: when a hook is over nothing of it is left, and it
//! takes no longer than its own limit, nor than the ladder leaves.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stockade_sandbox::LaunchId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::{Use, pipe};
use super::ladder::{Awaited, Ladder};
use super::output::{Destination, Pump};
use super::services::nothing;
use super::{CUT_LIMIT, Session, journal};
use crate::agent::{Exit, SandboxState};
use crate::cast::{Cast, LineEnds, ScreenStream};
use crate::description::service;
use crate::event::action::Truncated;
use crate::event::{Event, Hook, HookName, Level, Rung, Stream};
use crate::redact::StreamRedactor;
use crate::run::{ErrorCode, Status};
use crate::text::Clip;

/// Most of its output that is kept, in bytes: a hook says what it did, and what it makes goes into files.
const MAX_HOOK_TEXT_BYTES: usize = 8 << 10;

/// Longest time for killing what a hook has left; milliseconds for a thousand processes.
const CLEAR_LIMIT: Duration = Duration::from_secs(1);

/// How the run ends, as hooks see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    pub(super) code: Option<ErrorCode>,
    pub(super) exit: Option<Exit>,
}

impl Outlook {
    /// The variables that only hooks have.
    fn variables(self, name: HookName) -> [(&'static str, String); 4] {
        let status = self
            .code
            .map_or(Status::Completed, |code| code.status().into());
        let code = self.code.map_or("", ErrorCode::as_str);
        let exit = self.exit.and_then(|exit| exit.code);
        [
            ("STOCKADE_HOOK", name.as_str().to_owned()),
            ("STOCKADE_RUN_STATUS", status.as_str().to_owned()),
            ("STOCKADE_RUN_ERROR", code.to_owned()),
            (
                "STOCKADE_RUN_EXIT_CODE",
                exit.map(|code| code.to_string()).unwrap_or_default(),
            ),
        ]
    }
}

/// A hook that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) id: LaunchId,
    /// Set when its end was reported.
    pub(super) exit: Option<Exit>,
}

/// How a hook went.
struct Went {
    exit: Option<Exit>,
    error: Option<String>,
}

impl Went {
    fn not(why: impl Into<String>) -> Self {
        Self {
            exit: None,
            error: Some(why.into()),
        }
    }
}

impl Session {
    /// Runs a hook, if there is one, for at most `limit` or its own.
    pub(super) async fn run_hook(
        &mut self,
        name: HookName,
        limit: Duration,
        outlook: Outlook,
        ladder: &mut Ladder,
    ) {
        let hook = match name {
            HookName::PreStop => self.settings.hooks.pre_stop.clone(),
            HookName::PostRun => self.settings.hooks.post_run.clone(),
        };
        let Some(hook) = hook else { return };
        let begun = Instant::now();
        let clip = Arc::new(Mutex::new(Clip::new(
            MAX_HOOK_TEXT_BYTES / 4,
            MAX_HOOK_TEXT_BYTES / 4 * 3,
        )));
        let (pumps, cut) = (TaskTracker::new(), CancellationToken::new());
        let went = if limit.is_zero() {
            Went::not("no time was left for it")
        } else {
            let launched = self.launch_hook(name, &hook, outlook, &clip, &pumps, &cut);
            match launched.await {
                Ok(id) => {
                    self.hook = Some(Running { id, exit: None });
                    let limit = limit.min(hook.timeout);
                    self.note_step(Rung::Hook, Some(name), Some(limit));
                    self.await_hook(name, limit, ladder).await
                }
                Err(why) => Went::not(why),
            }
        };
        pumps.close();
        if tokio::time::timeout(CUT_LIMIT, pumps.wait()).await.is_err() {
            tracing::warn!("the output of a hook was not read in time");
            cut.cancel();
            // It hands over what it holds; who does not is not waited for.
            let _ = tokio::time::timeout(CUT_LIMIT, pumps.wait()).await;
        }
        let clipped = {
            let mut clip = clip.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *clip, Clip::new(0, 0)).finish()
        };
        let exit = went.exit;
        let failure = exit.filter(|exit| !exit.is_success());
        let error = went
            .error
            .or_else(|| failure.map(|exit| format!("the hook {}", exit.describe())));
        self.recorder.append(Event::Hook(Hook {
            hook: name,
            success: error.is_none(),
            error: error.map(|error| self.journal.sentence(error)),
            exit_code: exit.and_then(|exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            duration_ms: journal::millis(begun.elapsed()),
            truncated: (clipped.kept_bytes < clipped.total_bytes).then_some(Truncated {
                total_bytes: clipped.total_bytes,
                kept_bytes: clipped.kept_bytes,
            }),
            result_text: Some(clipped.text).filter(|text| !text.is_empty()),
        }));
    }

    async fn launch_hook(
        &self,
        name: HookName,
        hook: &service::Hook,
        outlook: Outlook,
        clip: &Arc<Mutex<Clip>>,
        pumps: &TaskTracker,
        cut: &CancellationToken,
    ) -> Result<LaunchId, String> {
        let streams = || -> io::Result<_> {
            let (stdout, out) = pipe(Use::Output)?;
            let (stderr, err) = pipe(Use::Output)?;
            Ok(([nothing()?, out, err], stdout, stderr))
        };
        let (stdio, stdout, stderr) =
            streams().map_err(|error| format!("its standard streams cannot be opened: {error}"))?;
        let own = outlook.variables(name);
        let mut env = self.settings.environment.clone();
        env.retain(|(given, _)| own.iter().all(|(name, _)| given != name));
        env.extend(own.map(|(name, value)| (name.into(), value.into())));
        let launch = stockade_sandbox::Launch {
            argv: hook.command.iter().map(Into::into).collect(),
            env,
            cwd: self.settings.directory.clone(),
            stdio,
            extra: Vec::new(),
        };
        let launched = self.workload.launch_apart(launch).await;
        let id = launched.map_err(|why| match why.sandbox {
            SandboxState::Works => why.message,
            SandboxState::Lost => format!("the sandbox is gone: {}", why.message),
        })?;
        for (stream, pipe) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let pump = Pump {
                stream,
                destination: Destination::Hook {
                    clip: Arc::clone(clip),
                },
                settle: None,
                result_lines: None,
                redactor: StreamRedactor::new(&self.redactor),
                log: self.recorder.log().clone(),
                budget: Arc::clone(&self.budget),
                screen: ScreenStream::new(Cast::off(), LineEnds::Translated),
            };
            let run = pump.run(pipe, tokio::io::sink(), cut.clone());
            pumps.spawn(async move {
                if let Err(error) = run.await {
                    tracing::warn!(%error, "output of a hook was not read to its end");
                }
            });
        }
        Ok(id)
    }

    /// Waits for the end of the hook, kills it when it is too slow, and whatever it leaves.
    async fn await_hook(&mut self, name: HookName, limit: Duration, ladder: &mut Ladder) -> Went {
        let Some(Running { id, .. }) = self.hook else {
            return Went::not("it was not started");
        };
        let of = Awaited::Hook(name);
        let begun = Instant::now();
        let reserve = self.time_behind_agent();
        self.await_end(of, ladder, |ladder, _| {
            let own = limit.saturating_sub(begun.elapsed());
            let left = match name {
                // Also of what a second signal leaves.
                HookName::PreStop => ladder.left_before_agent(reserve),
                HookName::PostRun => ladder.left(None),
            };
            left.map(|left| left.min(own))
        })
        .await;
        let was_in_time = self.hook.is_some_and(|hook| hook.exit.is_some());
        let waited = begun.elapsed();
        if !was_in_time {
            if let Err(error) = self.workload.signal_tree(id, nix::libc::SIGKILL).await {
                tracing::debug!(%error, "a hook that was too slow has ended");
            }
            self.await_killed(of).await;
        }
        let exit = self.hook.take().and_then(|hook| hook.exit);
        if let Some(exit) = &exit {
            self.journal.add_usage(exit);
        }
        let doubt = match self.workload.end_tree(id, CLEAR_LIMIT).await {
            Ok(report) if report.left == 0 => None,
            Ok(report) => Some(format!("{} processes could not be ended", report.left)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(doubt) = doubt {
            let message = format!(
                "the hook {} may have left processes: {doubt}",
                name.as_str()
            );
            self.recorder.diagnose(Level::Warn, message);
        }
        let error = (!was_in_time).then(|| {
            format!(
                "it did not end within {:.1} s and was killed",
                waited.as_secs_f64()
            )
        });
        Went { exit, error }
    }
}
