//! The claim: which supervisor the run has in its life, and how the directory of a run is to be taken.
//!
//! Owns `claim.json`. A claim is made once and never changed or removed. Invariant: of all processes that ever try,
//! one takes it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::directory::Creation;
use super::error::RecordingsError;
use super::layout;
use super::lock::Holder;
use super::run_dir::RunDir;
use crate::run::{RunId, Status};

/// Largest `claim.json` that is read: a hundred times what we write.
const MAX_CLAIM_BYTES: u64 = 64 << 10;
/// Largest `status.json` that is read for its status: four times what a document may have.
const MAX_STATUS_BYTES: u64 = 4 << 20;
/// Where the kernel tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Index of `starttime`, counted from the field after the command's closing parenthesis (proc_pid_stat(5), field 22).
const START_TIME_INDEX: usize = 19;

/// Name of the variable that has the nonce of the claim, for workloads.
pub const CLAIM_VARIABLE: &str = "STOCKADE_CLAIM";

/// Content of `claim.json`.
///
/// Process id, boot and start time together name one process of one host; they are for people and for the control
/// plane, for the lock decides who is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The run.
    pub run_id: RunId,
    /// Process id of the supervisor, in its own pid namespace.
    pub pid: u32,
    /// Identity of the boot; null where the system does not tell (gVisor).
    #[serde(default)]
    pub boot_id: Option<String>,
    /// When the process started, in clock ticks since boot; null where the system does not tell.
    #[serde(default)]
    pub start_ticks: Option<u64>,
    /// When the claim was made, RFC 3339.
    pub claimed_at: String,
    /// Version of the program.
    pub version: String,
    /// 32 random hexadecimal digits: tells two claims of the same process.
    pub nonce: String,
}

/// Answer to an attempt to claim a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The run is ours.
    Taken,
    /// The run has a supervisor; the claim is not given when its file is damaged.
    Refused(Option<Box<Claim>>),
}

impl Claim {
    /// Describes this process. `claimed_at` is the time now, RFC 3339.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn of_this_process(run_id: RunId, claimed_at: String) -> Result<Self, getrandom::Error> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random)?;
        Ok(Self {
            run_id,
            pid: std::process::id(),
            boot_id: fs::read_to_string(BOOT_ID)
                .ok()
                .map(|text| text.trim().to_owned()),
            start_ticks: fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|stat| start_ticks(&stat)),
            claimed_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: format!("{:032x}", u128::from_be_bytes(random)),
        })
    }

    /// Tries to claim the run for the process described. The caller holds the run's lock.
    ///
    /// The claim is durable with the first sync of the run's log: before that a power cut leaves no run that somebody could
    /// have seen, and against everything but a power cut a name counts at once.
    ///
    /// # Errors
    /// When the claim can be neither written nor read.
    pub fn take(&self, run: &RunDir) -> Result<ClaimAnswer, RecordingsError> {
        let mut bytes = serde_json::to_vec(self).map_err(|source| RecordingsError::Damaged {
            path: run.directory().path_of(layout::CLAIM),
            source,
        })?;
        bytes.push(b'\n');
        match run.place_if_absent(layout::CLAIM, &bytes)? {
            Creation::Created => Ok(ClaimAnswer::Taken),
            Creation::Existed => match Self::load(run) {
                Ok(claim) => Ok(ClaimAnswer::Refused(claim.map(Box::new))),
                Err(RecordingsError::Damaged { .. }) => Ok(ClaimAnswer::Refused(None)),
                Err(error) => Err(error),
            },
        }
    }

    /// The word in the environment of every workload, by which what outlives the run can be found: `STOCKADE_CLAIM=` and the
    /// nonce.
    pub fn mark(&self) -> String {
        format!("{CLAIM_VARIABLE}={}", self.nonce)
    }

    /// Reads the claim; none when the run has none.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn load(run: &RunDir) -> Result<Option<Self>, RecordingsError> {
        let Some(bytes) = run.read(layout::CLAIM, MAX_CLAIM_BYTES)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecordingsError::Damaged {
                path: run.directory().path_of(layout::CLAIM),
                source,
            })
    }
}

/// Whether the very process that made the claim is there: the same boot, and its id still means what started then. False where
/// the system does not tell, so that no other process is ever taken for it.
#[cfg(feature = "operator")]
pub fn is_alive(claim: &Claim) -> bool {
    let boot = fs::read_to_string(BOOT_ID).ok();
    let started = fs::read_to_string(format!("/proc/{}/stat", claim.pid))
        .ok()
        .and_then(|stat| start_ticks(&stat));
    let is_same_boot = boot.is_some_and(|boot| claim.boot_id.as_deref() == Some(boot.trim()));
    is_same_boot && started.is_some() && started == claim.start_ticks
}

/// Start time in `/proc/<pid>/stat`. The command's name may hold spaces and parentheses, so fields are counted from
/// the last closing one.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name
        .split_whitespace()
        .nth(START_TIME_INDEX)?
        .parse()
        .ok()
}

/// Who has the directory of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupancy {
    /// Nobody ever acted in it: it may be claimed. It may have a `spec.json` or a `stop.json`.
    Vacant,
    /// `status.json` is terminal: RUN_EXISTS.
    Finished,
    /// Somebody holds the lock, and there is no terminal status: RUN_LOCKED.
    Locked,
    /// There is a claim or a log, no terminal status, and nobody holds the lock: to be finalised, then RUN_EXISTS.
    Abandoned,
}

impl Occupancy {
    /// Finds out who has the directory. The answer is of the moment; only the holder of the lock can rely on it.
    ///
    /// # Errors
    /// When a file cannot be read; a damaged `status.json` counts as not terminal.
    pub fn of(run: &RunDir) -> Result<Self, RecordingsError> {
        if has_terminal_status(run)? {
            return Ok(Self::Finished);
        }
        if Holder::of(run)? == Holder::Somebody {
            return Ok(Self::Locked);
        }
        Self::under_lock(run)
    }

    /// The same for the holder of the lock, who does not count as an occupant; never [`Occupancy::Locked`].
    ///
    /// # Errors
    /// As [`Occupancy::of`].
    pub fn under_lock(run: &RunDir) -> Result<Self, RecordingsError> {
        // Asked after the lock: the run may have ended between the first look and now.
        if has_terminal_status(run)? {
            return Ok(Self::Finished);
        }
        for evidence in [layout::CLAIM, layout::EVENTS] {
            if run.contains(evidence)? {
                return Ok(Self::Abandoned);
            }
        }
        Ok(Self::Vacant)
    }
}

#[derive(Deserialize)]
struct StatusOnly {
    status: Status,
}

/// Whether `status.json` is there and its status is one of the four last words.
fn has_terminal_status(run: &RunDir) -> Result<bool, RecordingsError> {
    let bytes = match run.read(layout::STATUS, MAX_STATUS_BYTES) {
        Ok(bytes) => bytes,
        Err(RecordingsError::TooLarge { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice::<StatusOnly>(&bytes).ok())
        .is_some_and(|document| document.status.is_terminal()))
}

#[cfg(test)]
mod tests;
