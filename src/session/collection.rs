//! Taking out what the workload left, once it is dead.
//!
//! Owns the time that this may take and the record of what was kept and withheld. What may be kept is decided in
//! [`crate::recordings::collect`]. Invariant: it ends before the clock of a stop does, and what was kept by then is on
//! record.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stockade_sandbox::Overlay;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ending::{PERSIST_RESERVE, SECOND_SIGNAL_GRACE};
use super::recorder::PERSIST_STEP_LIMIT;
use super::{End, Session};
use crate::control::{StopAnswer, StopCall, StopCause};
use crate::event::{ArtifactAdded, Event, Level};
use crate::recordings::RunDir;
use crate::recordings::collect::changes::{self, Changed, Comparison, Sides};
use crate::recordings::collect::{Collected, Collector, Limits};
use crate::recordings::pattern::Pattern;
use crate::recordings::staging::{Staging, StagingError};
use crate::redact::Redactor;

/// Longest time for the files of a run that ended by itself. A run that is stopped has what is left of its grace.
pub const COLLECT_LIMIT: Duration = Duration::from_secs(30);

/// Least time for them, however short the grace: most runs leave a few small files.
const COLLECT_MINIMUM: Duration = Duration::from_millis(300);

/// How long a copy that was told to end may take to do so.
const CUT_LIMIT: Duration = Duration::from_millis(500);

/// Files that were copied and wait for their event.
const MAX_WAITING_FILES: usize = 64;

/// A workspace that is an overlay.
#[derive(Debug)]
pub struct Layered {
    /// What was there, what was written, and both.
    pub sides: Overlay,
    /// The workspace on the host.
    pub path: PathBuf,
    /// User and group to whom it belongs.
    pub owner: (u32, u32),
}

/// Where files are taken from, and how many.
#[derive(Debug)]
pub struct Collection {
    /// How much is taken.
    pub limits: Limits,
    /// The output directory inside a sandbox.
    pub output: Option<OwnedFd>,
    /// The output directory of a run without a mount namespace.
    pub staging: Option<Staging>,
    /// The directories of a run in a container, which hold the output directory as well.
    pub scratch: Option<Staging>,
    /// The workspace, for the patterns.
    pub workspace: Option<OwnedFd>,
    /// The workspace as an overlay, for what was changed in it.
    pub overlay: Option<Layered>,
    /// What is chosen there.
    pub patterns: Vec<Pattern>,
}

impl Collection {
    /// Takes the files; blocks.
    fn take(
        &self,
        run_dir: &RunDir,
        redactor: &Redactor,
        is_over: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(ArtifactAdded),
    ) -> Result<Collected, io::Error> {
        // First, so that nothing that the workload calls by the same name stands in its place.
        let compared = self.overlay.as_ref().map(|overlay| {
            Comparison::new(run_dir, redactor, self.limits, overlay.owner, is_over).take(
                Sides {
                    above: overlay.sides.above.as_fd(),
                    below: overlay.sides.below.as_fd(),
                    merged: overlay.sides.merged.as_fd(),
                },
                &overlay.path.to_string_lossy(),
                tell,
            )
        });
        let changed = compared.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "the workspace cannot be compared with what it was");
            None
        });
        let mut collector = Collector::new(run_dir, redactor, self.limits, is_over, tell);
        let staging = self.staging.as_ref().map(AsFd::as_fd);
        if let Some(output) = self.output.as_ref().map(AsFd::as_fd).or(staging) {
            // The workload may have taken away the permissions; a sandbox's root user may not give them back.
            let _ = nix::sys::stat::fchmod(output, nix::sys::stat::Mode::S_IRWXU);
            if self.workspace.is_some() {
                collector.reserve_workspace();
            }
            collector.take_all(output)?;
        }
        if let Some(workspace) = &self.workspace {
            collector.take_chosen(workspace.as_fd(), &self.patterns)?;
        }
        Ok(Collected {
            changed,
            ..collector.finish()
        })
    }

    /// Removes the directories of a run without a mount namespace; blocks.
    fn remove(self, run_dir: &RunDir) -> Result<(), StagingError> {
        match self.staging.or(self.scratch) {
            Some(staging) => staging.remove(run_dir),
            None => Ok(()),
        }
    }
}

impl Session {
    /// When the files of a run that ends like this must have been taken.
    pub(super) fn collect_until(&self, end: &End) -> Instant {
        let now = Instant::now();
        let by_grace = now + self.settings.grace.saturating_sub(PERSIST_RESERVE * 2);
        // The guardian's clock behind the deadline goes on while files are copied.
        let stood = self.clock.borrow().stood_at(now);
        let by_deadline =
            self.settings.began + self.settings.timeout + stood + self.settings.grace / 2;
        match end {
            End::Verdict(_)
            | End::TooManySteps
            | End::TooMuchOutput
            | End::Exceeded(_)
            | End::ServiceLost(_)
            | End::Blocked(_) => (now + COLLECT_LIMIT).min(by_deadline).max(by_grace),
            End::Stop(_) | End::Deadline | End::Idle | End::LogFailed(_) | End::SandboxGone(_) => {
                by_grace
            }
        }
    }

    /// Takes the files that the workload left. A request to stop that comes meanwhile shortens it; `n_signals` came before.
    pub(super) async fn collect(&mut self, mut until: Instant, mut n_signals: u32) {
        let Some(collection) = self.collection.take() else {
            return;
        };
        until = until.max(Instant::now() + COLLECT_MINIMUM);
        let is_overlaid = collection.overlay.is_some();
        let collection = Arc::new(collection);
        let is_over = Arc::new(AtomicBool::new(false));
        let (tell, mut told) = mpsc::channel::<ArtifactAdded>(MAX_WAITING_FILES);
        let work = {
            let (collection, is_over) = (Arc::clone(&collection), Arc::clone(&is_over));
            let (run_dir, redactor) = (Arc::clone(self.recorder.run_dir()), self.redactor.clone());
            move || {
                let over = || is_over.load(Ordering::Relaxed);
                // Nobody listens any more once the time is over.
                let mut tell = |added| drop(tell.blocking_send(added));
                collection.take(&run_dir, &redactor, &over, &mut tell)
            }
        };
        let work = tokio::task::spawn_blocking(work);
        let mut kept = Vec::new();
        loop {
            // All arms are cancel safe: requests and files wait in their channels.
            tokio::select! {
                biased;
                Some(StopCall { request, answer }) = self.calls.recv() => {
                    n_signals += u32::from(request.cause != StopCause::Api);
                    let grace = match (request.cause, n_signals) {
                        (StopCause::Api, _) | (StopCause::Signal { .. }, 0 | 1) => {
                            request.grace.unwrap_or(self.settings.grace)
                        }
                        (StopCause::Signal { .. }, _) => SECOND_SIGNAL_GRACE,
                    };
                    until = until.min(Instant::now() + grace.saturating_sub(PERSIST_RESERVE));
                    let _ = answer.send(StopAnswer::Stopping);
                }
                added = told.recv() => match added {
                    Some(added) => {
                        if added.withheld.is_none() {
                            kept.push(added.clone());
                        }
                        self.recorder.append(Event::Artifact(added));
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(until) => {
                    if is_over.swap(true, Ordering::Relaxed) {
                        break;
                    }
                    until = Instant::now() + CUT_LIMIT;
                }
            }
        }
        drop(told);
        let collected = match tokio::time::timeout(CUT_LIMIT, work).await {
            Ok(Ok(Ok(collected))) => collected,
            Ok(Ok(Err(error))) => Collected {
                cut: Some("the directory cannot be read"),
                ..self.unread(&error)
            },
            Ok(Err(_)) | Err(_) => Collected {
                cut: Some("a file could not be copied in time"),
                ..Collected::default()
            },
        };
        self.tell_collected(&collected);
        match &collected.changed {
            Some(changed) => self.tell_changed(changed),
            None if is_overlaid => self
                .recorder
                .diagnose(Level::Warn, changes::NOT_TAKEN.to_owned()),
            None => {}
        }
        let listing = self.journal.list_artifacts(kept);
        if tokio::time::timeout(PERSIST_STEP_LIMIT, listing)
            .await
            .is_err()
        {
            tracing::warn!("the manifest was not written in time");
        }
        // The thread may still hold it where a copy hangs; then its note stays, and finalize removes the directory.
        self.collection = Arc::into_inner(collection);
    }

    fn unread(&self, error: &io::Error) -> Collected {
        tracing::warn!(%error, "what the workload left cannot be read");
        Collected::default()
    }

    fn tell_collected(&self, collected: &Collected) {
        if let Some(cut) = collected.cut {
            let message = format!("not everything that the workload left was looked at: {cut}");
            self.recorder.diagnose(Level::Warn, message);
        }
        if !collected.untold.is_empty() {
            let reasons: Vec<String> = collected
                .untold
                .iter()
                .map(|(reason, n)| format!("{n} {}", reason.as_str()))
                .collect();
            let message = format!(
                "more files that the workload left were withheld than are told one by one: {}",
                reasons.join(", ")
            );
            self.recorder.diagnose(Level::Warn, message);
        }
        if collected.n_kept > 0 {
            tracing::info!(
                n_files = collected.n_kept,
                bytes = collected.kept_bytes,
                "artifacts were kept"
            );
        }
    }

    fn tell_changed(&self, changed: &Changed) {
        let Changed {
            added,
            changed: n_changed,
            removed,
            withheld,
            cut,
        } = changed;
        let mut message = format!(
            "the workspace is as it was; of what the workload saw {added} were added, {n_changed} changed, {removed} removed"
        );
        for (reason, n) in withheld {
            message.push_str(&format!(", {n} not archived: {}", reason.as_str()));
        }
        if let Some(cut) = cut {
            message.push_str(&format!("; this is not all: {cut}"));
        }
        let is_whole = withheld.is_empty() && cut.is_none();
        let level = match is_whole {
            true => Level::Info,
            false => Level::Warn,
        };
        self.recorder.diagnose(level, message);
    }

    /// Removes the output directory of a run without a mount namespace.
    pub(super) async fn clear_output(&mut self) {
        let Some(collection) = self.collection.take() else {
            return;
        };
        let run_dir = Arc::clone(self.recorder.run_dir());
        match tokio::task::spawn_blocking(move || collection.remove(&run_dir)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = super::workload::chain(&error),
                "the output directory was not removed"
            ),
            Err(error) => tracing::warn!(%error, "the output directory was not removed"),
        }
    }
}
