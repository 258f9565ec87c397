//! `stockade prune`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::{FAILURE, notice};
use crate::recordings::prune::{self, Retention};
use crate::recordings::{RecordingsError, Store};
use crate::session::workload::chain;

/// What to keep.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The recordings directory
    #[arg(long, value_name = "DIR", env = "STOCKADE_RECORDINGS")]
    recordings: Option<PathBuf>,
    /// Remove runs older than this many days
    #[arg(long, value_name = "N")]
    max_age_days: Option<u64>,
    /// Keep at most this many runs
    #[arg(long, value_name = "N")]
    max_runs: Option<usize>,
    /// Keep at most this many bytes
    #[arg(long, value_name = "N")]
    max_bytes: Option<u64>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Removes recordings: 0 when all that was due is gone, 125 when some could not be removed.
pub fn main(arguments: &Arguments) -> ExitCode {
    if arguments.max_age_days.is_none()
        && arguments.max_runs.is_none()
        && arguments.max_bytes.is_none()
    {
        notice::error("nothing to prune by: give --max-age-days, --max-runs or --max-bytes");
        return ExitCode::from(super::USAGE);
    }
    match prune(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(error) => {
            notice::error(&chain(&error));
            ExitCode::from(FAILURE)
        }
    }
}

fn prune(arguments: &Arguments) -> Result<bool, RecordingsError> {
    let path = match &arguments.recordings {
        Some(path) => path.clone(),
        None => Store::default_path(&|name| std::env::var_os(name))?,
    };
    let store = Store::open_or_create(&path)?;
    let retention = Retention {
        max_age: arguments
            .max_age_days
            .map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60))),
        max_runs: arguments.max_runs,
        max_bytes: arguments.max_bytes,
    };
    let plan = prune::plan(&store, &retention, SystemTime::now())?;
    if arguments.dry_run {
        for run in &plan.remove {
            notice::result(&format!("would remove {}", run.id));
        }
        return Ok(true);
    }
    let report = prune::execute(&store, &plan)?;
    for id in &report.removed {
        notice::result(&format!("removed {id}"));
    }
    for skipped in &report.skipped {
        notice::line(&format!("kept {skipped:?}"));
    }
    for failed in &report.failed {
        notice::error(&format!("{failed:?}"));
    }
    Ok(report.failed.is_empty())
}
