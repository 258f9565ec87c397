//! The sandbox of a run that is only tried: built, looked into, and taken down again.
//!
//! Owns the answer to what no check of a description can tell: whether this host gives the tier, whether everything that is
//! named can be put into it, and whether the directory of the run is there. Nothing of the run is started. What the run would
//! have found is there meanwhile, the directory of the recordings among it, and what was made for that goes again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use stockade_sandbox::{Helper, Probe};

use super::early_end::EarlyEnd;
use super::policy;
use super::setup::SELF;
use crate::description::RunDescription;
use crate::recordings::staging::Staging;
use crate::recordings::{RecordingsError, Store};
use crate::run::ErrorCode;
use crate::session::start::{Choice, StartError, build};
use crate::session::workload::{HELPER_ARGUMENT, chain};

/// Longest wait for the end of everything that was built.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Directories that were made for a while; removed when dropped, unless somebody has put something into them.
struct Lent(Vec<PathBuf>);

impl Lent {
    /// Makes the directory of the recordings as the run would, where it does not exist.
    fn recordings(path: &Path) -> Result<Self, RecordingsError> {
        let absent = path.ancestors().take_while(|path| !path.exists());
        let lent = Self(absent.map(Path::to_owned).collect());
        Store::open_or_create(path)?;
        Ok(lent)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        for directory in &self.0 {
            // Not empty: a run has begun there.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// Builds the sandbox of a run and takes it down; takes some milliseconds, in which no signal ends this process.
///
/// # Errors
/// The end that the run would have had.
pub fn rehearse(description: &RunDescription, recordings: &Path) -> Result<(), EarlyEnd> {
    let unblocked = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let unblocked = unblocked
        .map_err(|errno| EarlyEnd::new(ErrorCode::SetupFailed, errno.desc().to_owned()))?;
    let tried = match Lent::recordings(recordings) {
        Ok(_lent) => try_sandbox(description, recordings),
        Err(error) => Err(EarlyEnd::new(ErrorCode::RecordingsUnusable, chain(&error))),
    };
    // What was sent meanwhile ends it here.
    let _ = unblocked.thread_set_mask();
    tried
}

fn try_sandbox(description: &RunDescription, recordings: &Path) -> Result<(), EarlyEnd> {
    let not_built = |error: StartError| EarlyEnd::not_started(&error, description);
    let failed = |message: String| EarlyEnd::new(ErrorCode::SetupFailed, message);
    let mut policy = policy::of(description, Some(recordings));
    policy.group = Some(format!("rehearsal-{}", std::process::id()));
    let helper = Helper::spawn(Path::new(SELF), &[HELPER_ARGUMENT])
        .map_err(|error| not_built(StartError::Helper(error)))?;
    let (sandbox, staging) = build(
        &helper,
        policy,
        Choice::of(description),
        Staging::make_unnoted,
        Staging::remove_unnoted,
    )
    .map_err(not_built)?;
    // Where the launch of a look cannot begin, none of the run could.
    let question = Probe::File {
        path: PathBuf::from("."),
    };
    let begun = null_streams()
        .map_err(|error| error.to_string())
        .and_then(|streams| {
            let begun = sandbox.probe(question, description.chdir.clone(), streams);
            begun.map_err(|error| chain(&error))
        });
    let destroyed = helper.destroy(&sandbox, END_LIMIT);
    let removed = staging.map_or(Ok(()), Staging::remove_unnoted);
    begun.map_err(failed)?;
    destroyed.map_err(|error| failed(chain(&error)))?;
    removed.map_err(|error| failed(chain(&error)))
}

fn null_streams() -> io::Result<[OwnedFd; 3]> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    Ok([null()?.into(), null()?.into(), null()?.into()])
}
