//! Retention: which runs may go, and their removal.
//!
//! Owns the rules and the trash. It never touches a run whose lock is held, the newest run, a pinned run, or a directory
//! that is no run of ours. Invariant: a run is there as a whole, or its id is free; a removal that was cut short goes on with the
//! next pruning. What is wrong with one directory keeps no other one.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::claim::Occupancy;
use super::directory::Directory;
use super::error::RecordingsError;
use super::layout;
use super::lock::{Holder, LockError, RunLock};
use super::pin::{self, Pins};
use super::run_dir::RunDir;
use super::store::{Store, StoreEntry};
use super::tree;
use crate::run::RunId;

/// Longest age that may be named, in days: a century.
pub const MAX_KEEP_DAYS: u64 = 36_500;

/// Most runs that may be named.
pub const MAX_KEEP_RUNS: u32 = 1_000_000;

/// What is kept. A limit that is none does not count; without any, nothing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Longest time since the last change in a run's directory.
    pub max_age: Option<Duration>,
    /// Most runs, of any state.
    pub max_runs: Option<usize>,
    /// Most bytes of all runs that are kept, newest first.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// What is kept by the limits that people give, days among them.
    pub fn of(days: Option<u64>, runs: Option<usize>, bytes: Option<u64>) -> Self {
        const DAY_SECONDS: u64 = 24 * 60 * 60;
        Self {
            max_age: days.map(|days| Duration::from_secs(days.saturating_mul(DAY_SECONDS))),
            max_runs: runs,
            max_bytes: bytes,
        }
    }

    /// Whether there is no limit at all, so that nothing goes.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// Which limit a run is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// [`Retention::max_age`].
    Age,
    /// [`Retention::max_runs`].
    Count,
    /// [`Retention::max_bytes`].
    Bytes,
}

impl RemovalReason {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "too old",
            Self::Count => "beyond the number of runs",
            Self::Bytes => "beyond the bytes",
        }
    }
}

/// Why a directory stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// It is within every limit.
    WithinLimits,
    /// It is the newest run: the one that `latest` names, else the one that was begun last.
    Newest,
    /// Somebody pinned it. It is beside the limits: neither its number nor its bytes count.
    Pinned,
    /// Somebody holds its lock: it is running, or is read by `finalize`.
    Locked,
    /// It ended without a terminal status, and only age removes such a run: somebody may still want to know why.
    Abandoned,
    /// It has neither claim nor spec, nor a log that begins as ours do: no run of ours.
    NotARun,
    /// It could not be looked into, so nobody knows whether it may go; see [`PrunePlan::unreadable`]. It is beside the limits.
    Unreadable,
}

impl KeepReason {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WithinLimits => "within the limits",
            Self::Newest => "the newest run",
            Self::Pinned => "pinned",
            Self::Locked => "in use",
            Self::Abandoned => "no end on record; only age removes it",
            Self::NotARun => "no run of ours",
            Self::Unreadable => "cannot be read",
        }
    }
}

/// A directory of the store in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<R> {
    /// The run.
    pub id: RunId,
    /// When something in it was last changed.
    pub modified_at: SystemTime,
    /// Size of its files in bytes; 0 for what is no run or cannot be read.
    pub bytes: u64,
    /// Why it goes or stays.
    pub reason: R,
}

/// What a pruning would do; the newest run first, then by the time of the last change.
#[derive(Debug, Default)]
pub struct PrunePlan {
    /// Runs that go.
    pub remove: Vec<Planned<RemovalReason>>,
    /// Directories that stay.
    pub keep: Vec<Planned<KeepReason>>,
    /// What could not be looked into, and why; these directories stay.
    pub unreadable: Vec<(PathBuf, RecordingsError)>,
}

/// What a pruning did.
#[derive(Debug, Default)]
pub struct PruneReport {
    /// Runs that are gone.
    pub removed: Vec<RunId>,
    /// Runs that were left alone, because somebody took, pinned or named them `latest` after the plan was made.
    pub skipped: Vec<RunId>,
    /// Runs that somebody else removed after the plan was made.
    pub gone: Vec<RunId>,
    /// Runs that could not be removed, and why; where only a part could, the rest is in the trash.
    pub failed: Vec<(PathBuf, RecordingsError)>,
}

/// What is known of a run before the limits are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Locked,
    Abandoned,
    Finished,
}

/// What a directory of the store turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Somebody removed it since the listing.
    Gone,
    /// No run of ours.
    NotARun,
    /// A run of so many bytes.
    Run(Candidate, u64),
}

/// Decides what goes. Limits count from the newest run; where several are passed, age is named before count and count
/// before bytes. Only a run without a terminal status is exempt from count and bytes, though it counts for both.
///
/// # Errors
/// When the store or its pins cannot be read. What is wrong with one run is in the plan.
pub fn plan(
    store: &Store,
    retention: &Retention,
    now: SystemTime,
) -> Result<PrunePlan, RecordingsError> {
    let mut plan = PrunePlan::default();
    let pins = Pins::load(store)?;
    let (mut n_runs, mut total_bytes) = (0_usize, 0_u64);
    let (newest, entries) = newest_first(store)?;
    for entry in entries {
        let (candidate, bytes) = match look_at(store, &entry.id) {
            Ok(Look::Run(candidate, bytes)) => (candidate, bytes),
            Ok(Look::NotARun) => {
                plan.keep.push(planned(entry, 0, KeepReason::NotARun));
                continue;
            }
            Ok(Look::Gone) => continue,
            Err(error) => {
                let path = store.path().join(entry.id.as_str());
                plan.unreadable.push((path, error));
                plan.keep.push(planned(entry, 0, KeepReason::Unreadable));
                continue;
            }
        };
        if pins.holds(&entry.id) && candidate != Candidate::Locked {
            plan.keep.push(planned(entry, bytes, KeepReason::Pinned));
            continue;
        }
        let age = now.duration_since(entry.modified_at).unwrap_or_default();
        let is_old = retention.max_age.is_some_and(|max_age| age > max_age);
        let is_beyond_count = retention
            .max_runs
            .is_some_and(|max_runs| n_runs >= max_runs);
        let with_this = total_bytes.saturating_add(bytes);
        let is_beyond_bytes = retention
            .max_bytes
            .is_some_and(|max_bytes| with_this > max_bytes);
        let is_newest = newest.as_ref() == Some(&entry.id);
        let keep_reason = match candidate {
            Candidate::Locked => Some(KeepReason::Locked),
            Candidate::Abandoned | Candidate::Finished if is_newest => Some(KeepReason::Newest),
            Candidate::Abandoned if !is_old => Some(KeepReason::Abandoned),
            Candidate::Abandoned | Candidate::Finished => None,
        };
        let reason = match keep_reason {
            Some(reason) => Err(reason),
            None if is_old => Ok(RemovalReason::Age),
            None if is_beyond_count => Ok(RemovalReason::Count),
            None if is_beyond_bytes => Ok(RemovalReason::Bytes),
            None => Err(KeepReason::WithinLimits),
        };
        match reason {
            Ok(reason) => plan.remove.push(planned(entry, bytes, reason)),
            Err(reason) => {
                total_bytes = with_this;
                plan.keep.push(planned(entry, bytes, reason));
            }
        }
        n_runs += 1;
    }
    Ok(plan)
}

/// Lists the store with the newest run in front; files in an older one may change after it was started.
fn newest_first(store: &Store) -> Result<(Option<RunId>, Vec<StoreEntry>), RecordingsError> {
    let mut entries = store.list()?;
    let newest = store.latest()?;
    let idx = entries
        .iter()
        .position(|entry| newest.as_ref() == Some(&entry.id));
    if let Some(front) = idx.and_then(|idx| entries.get_mut(..=idx)) {
        front.rotate_right(1);
    }
    Ok((newest, entries))
}

/// Looks at a directory of the store. Another pruning may rename it away and empty it while we look, so what is odd about it
/// only counts while it has its name.
fn look_at(store: &Store, id: &RunId) -> Result<Look, RecordingsError> {
    let Some(run) = store.open_run(id)? else {
        return Ok(Look::Gone);
    };
    let look = match candidate(&run) {
        Ok(Some(candidate)) => {
            tree::size_of(run.directory()).map(|bytes| Look::Run(candidate, bytes))
        }
        Ok(None) => Ok(Look::NotARun),
        Err(error) => Err(error),
    };
    match look {
        Ok(Look::Run(..)) => look,
        Ok(Look::NotARun | Look::Gone) | Err(_) if store.open_run(id)?.is_none() => Ok(Look::Gone),
        Ok(Look::NotARun | Look::Gone) | Err(_) => look,
    }
}

fn planned<R>(entry: StoreEntry, bytes: u64, reason: R) -> Planned<R> {
    Planned {
        id: entry.id,
        modified_at: entry.modified_at,
        bytes,
        reason,
    }
}

/// Looks at a directory; none when it is no run.
fn candidate(run: &RunDir) -> Result<Option<Candidate>, RecordingsError> {
    match run.is_begun()?.then(|| run.require_ours()) {
        None | Some(Err(RecordingsError::NoRun { .. })) => return Ok(None),
        Some(Err(error)) => return Err(error),
        Some(Ok(())) => {}
    }
    // A run that is finished may still be locked: its supervisor lingers for late readers.
    if Holder::of(run)? == Holder::Somebody {
        return Ok(Some(Candidate::Locked));
    }
    Ok(Some(match Occupancy::under_lock(run)? {
        Occupancy::Finished => Candidate::Finished,
        // A vacant one has a spec: a run that was created and never started, which only age removes as well.
        Occupancy::Vacant | Occupancy::Abandoned | Occupancy::Locked => Candidate::Abandoned,
    }))
}

/// Removes what the plan names, and what earlier prunings left in the trash. For each run, in this order: (1) take its
/// lock, (2) look again whether it may go, (3) rename it into the trash, which frees its id, (4) remove it there. One
/// failure does not end the pruning.
///
/// # Errors
/// When the store's own directory for the trash cannot be used.
pub fn execute(store: &Store, plan: &PrunePlan) -> Result<PruneReport, RecordingsError> {
    let internal = store.internal()?;
    let internal_path = store.path().join(layout::STORE_INTERNAL);
    let trash = Directory::new(internal.as_fd(), &internal_path);
    let mut report = PruneReport::default();
    for run in &plan.remove {
        match remove_run(store, trash, run) {
            Ok(Removal::Removed) => report.removed.push(run.id.clone()),
            Ok(Removal::Skipped) => report.skipped.push(run.id.clone()),
            Err(error) => report
                .failed
                .push((store.path().join(run.id.as_str()), error)),
        }
    }
    if let Err(error) = pin::remove_stale(store, trash) {
        report.failed.push((trash.path_of(layout::PINS), error));
    }
    // Whoever held the lock of a run may have been another pruning.
    (report.skipped, report.gone) = std::mem::take(&mut report.skipped)
        .into_iter()
        .partition(|id| !store.open_run(id).is_ok_and(|run| run.is_none()));
    match trash.names() {
        Ok(names) => {
            for name in names.iter().filter_map(|name| name.to_str()) {
                if name.starts_with(layout::TRASH_PREFIX)
                    && let Err(error) = tree::remove(trash, name)
                {
                    report.failed.push((trash.path_of(name), error));
                }
            }
        }
        Err(error) => report.failed.push((internal_path.clone(), error)),
    }
    Ok(report)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    Removed,
    Skipped,
}

/// Removes the recording of one run that has ended, whatever the limits say: by its lock, its end and its pin, then as
/// [`execute`] does. None when there is no such run.
///
/// # Errors
/// When it cannot be removed.
#[cfg(feature = "operator")]
pub fn remove_one(store: &Store, id: &RunId) -> Result<Option<OneRemoval>, RecordingsError> {
    let Some(run) = store.open_run(id)? else {
        return Ok(None);
    };
    let _lock = match RunLock::try_acquire(&run) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Ok(Some(OneRemoval::InUse)),
        Err(LockError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if Occupancy::under_lock(&run)? != Occupancy::Finished {
        return Ok(Some(OneRemoval::InUse));
    }
    if pin::is_pinned(store, id)? {
        return Ok(Some(OneRemoval::Pinned));
    }
    let internal = store.internal()?;
    let internal_path = store.path().join(layout::STORE_INTERNAL);
    let trash = Directory::new(internal.as_fd(), &internal_path);
    let trash_name = trash.random_name(layout::TRASH_PREFIX)?;
    store.directory().move_to(id.as_str(), trash, &trash_name)?;
    tree::remove(trash, &trash_name)?;
    Ok(Some(OneRemoval::Removed))
}

/// What became of the removal of one run.
#[cfg(feature = "operator")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneRemoval {
    /// The recording is gone.
    Removed,
    /// Somebody works on the run, or it has no end.
    InUse,
    /// The run is pinned.
    Pinned,
}

fn remove_run(
    store: &Store,
    trash: Directory<'_>,
    planned: &Planned<RemovalReason>,
) -> Result<Removal, RecordingsError> {
    let Some(run) = store.open_run(&planned.id)? else {
        return Ok(Removal::Skipped);
    };
    let _lock = match RunLock::try_acquire(&run) {
        Ok(lock) => lock,
        Err(LockError::Held { .. } | LockError::Gone { .. }) => return Ok(Removal::Skipped),
        Err(
            error @ (LockError::Foreign { .. } | LockError::Io { .. } | LockError::File { .. }),
        ) => {
            return Err(error.into());
        }
    };
    // Without a terminal status only age is a reason; a run that was claimed since the plan is not to go.
    let may_go = match Occupancy::under_lock(&run)? {
        Occupancy::Finished => true,
        Occupancy::Vacant | Occupancy::Abandoned | Occupancy::Locked => {
            planned.reason == RemovalReason::Age
        }
    };
    // A pin that came since the plan counts; one that comes later finds the run gone, and says so. The same for `latest`.
    let is_wanted = store.linked().as_ref() == Some(&planned.id);
    if !may_go || is_wanted || pin::is_pinned(store, &planned.id)? {
        return Ok(Removal::Skipped);
    }
    let trash_name = trash.random_name(layout::TRASH_PREFIX)?;
    store
        .directory()
        .move_to(planned.id.as_str(), trash, &trash_name)?;
    tree::remove(trash, &trash_name)?;
    Ok(Removal::Removed)
}

#[cfg(test)]
mod tests;
