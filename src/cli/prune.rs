//! `stockade prune`
//!
//! Owns what is said of a pruning. It makes no recordings directory: one that is not there was named wrongly.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::description::quantity;
use crate::recordings::prune::{self, Planned, PrunePlan, PruneReport, Retention};
use crate::recordings::{RecordingsError, Store};
use crate::session::workload::chain;
use crate::text::measure;

/// What to keep.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Remove runs older than so many days
    #[arg(
        long,
        value_name = "DAYS",
        env = "STOCKADE_KEEP_DAYS",
        alias = "max-age-days"
    )]
    keep_days: Option<u64>,
    /// Keep at most so many runs, the newest first
    #[arg(
        long,
        value_name = "COUNT",
        env = "STOCKADE_KEEP_RUNS",
        alias = "max-runs"
    )]
    keep_runs: Option<usize>,
    /// Keep at most so many bytes, the newest runs first: bytes, or 500MB, 1GiB
    #[arg(
        long,
        value_name = "SIZE",
        env = "STOCKADE_KEEP_BYTES",
        alias = "max-bytes",
        value_parser = size
    )]
    keep_bytes: Option<u64>,
    /// Say what would be removed and why, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    quantity::bytes(text).ok_or_else(|| "give bytes, or text such as 500MB or 1GiB".to_owned())
}

/// Removes recordings: 0 when all that was due is gone, 125 when something could not be removed or looked into.
pub fn main(arguments: &Arguments) -> ExitCode {
    let Arguments {
        keep_days,
        keep_runs,
        keep_bytes,
        ..
    } = arguments;
    let retention = Retention::of(*keep_days, *keep_runs, *keep_bytes);
    if retention.is_unlimited() {
        notice::error("nothing to prune by: give --keep-days, --keep-runs or --keep-bytes");
        return ExitCode::from(super::USAGE);
    }
    let mut results = Results::stdout();
    match prune(arguments, &retention, &mut results) {
        Ok(true) => results.end(ExitCode::SUCCESS),
        Ok(false) => results.end(ExitCode::from(FAILURE)),
        Err(error) => {
            notice::error(&chain(&error));
            ExitCode::from(FAILURE)
        }
    }
}

fn prune(
    arguments: &Arguments,
    retention: &Retention,
    results: &mut Results,
) -> Result<bool, RecordingsError> {
    let path = arguments.place.path()?;
    let now = SystemTime::now();
    let (plan, report) = match Store::open(&path) {
        Ok(store) => {
            let plan = prune::plan(&store, retention, now)?;
            let report = if arguments.dry_run {
                None
            } else {
                Some(prune::execute(&store, &plan)?)
            };
            (plan, report)
        }
        // To remove what is not there is no error; a mistyped name is seen by what is said.
        Err(RecordingsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            notice::line(&format!(
                "stockade: there is no directory {}",
                path.display()
            ));
            let report = (!arguments.dry_run).then(PruneReport::default);
            (PrunePlan::default(), report)
        }
        Err(error) => return Err(error),
    };
    if arguments.json {
        results.line(as_json(&plan, report.as_ref()).to_string());
    } else {
        tell(&plan, report.as_ref(), now, results);
    }
    Ok(plan.unreadable.is_empty() && report.is_none_or(|report| report.failed.is_empty()))
}

fn tell(plan: &PrunePlan, report: Option<&PruneReport>, now: SystemTime, results: &mut Results) {
    let (verb, verdict) = match report {
        None => ("would remove", "would be removed"),
        Some(_) => ("removed", "removed"),
    };
    let (mut n_removed, mut removed_bytes) = (0, 0_u64);
    let mut n_kept = u64::try_from(plan.keep.len()).unwrap_or(u64::MAX);
    let mut kept_bytes: u64 = plan.keep.iter().map(|run| run.bytes).sum();
    for run in &plan.remove {
        if report.is_none_or(|report| report.removed.contains(&run.id)) {
            n_removed += 1;
            removed_bytes = removed_bytes.saturating_add(run.bytes);
            results.line(line(verb, run, run.reason.as_str(), now));
        } else if report.is_some_and(|report| report.skipped.contains(&run.id)) {
            n_kept = n_kept.saturating_add(1);
            kept_bytes = kept_bytes.saturating_add(run.bytes);
            results.line(format!(
                "left alone {}: taken, pinned or named latest meanwhile",
                run.id
            ));
        }
    }
    for (path, error) in &plan.unreadable {
        notice::error(&format!("{} stays: {}", path.display(), chain(error)));
    }
    if let Some(report) = report {
        for id in &report.gone {
            results.line(format!("gone {id}: somebody else removed it meanwhile"));
        }
        for (path, error) in &report.failed {
            notice::error(&format!("{}: {}", path.display(), chain(error)));
        }
    } else {
        for run in &plan.keep {
            results.line(line("would keep", run, run.reason.as_str(), now));
        }
    }
    results.line(format!(
        "{} {verdict} ({}), {} kept ({})",
        measure::count(n_removed, "run"),
        measure::bytes(removed_bytes),
        measure::count(n_kept, "run"),
        measure::bytes(kept_bytes)
    ));
}

fn line<R>(verb: &str, run: &Planned<R>, reason: &str, now: SystemTime) -> String {
    let age = now.duration_since(run.modified_at).unwrap_or_default();
    format!(
        "{verb} {}: {reason} (last changed {} ago, {})",
        run.id,
        measure::duration(age),
        measure::bytes(run.bytes)
    )
}

fn as_json(plan: &PrunePlan, report: Option<&PruneReport>) -> serde_json::Value {
    fn entry<R>(run: &Planned<R>, reason: &str) -> serde_json::Value {
        let modified_at = jiff::Timestamp::try_from(run.modified_at).unwrap_or_default();
        json!({"run_id": run.id, "reason": reason, "bytes": run.bytes, "modified_at": modified_at.to_string()})
    }
    fn told(faults: &[(PathBuf, RecordingsError)]) -> serde_json::Value {
        let told = faults.iter();
        told.map(|(path, error)| json!({"path": path.to_string_lossy(), "error": chain(error)}))
            .collect()
    }
    let remove = plan.remove.iter();
    let keep = plan.keep.iter();
    let mut object = json!({
        "remove": remove.map(|run| entry(run, run.reason.as_str())).collect::<Vec<_>>(),
        "keep": keep.map(|run| entry(run, run.reason.as_str())).collect::<Vec<_>>(),
        "unreadable": told(&plan.unreadable),
        "dry_run": report.is_none(),
    });
    if let (Some(report), Some(fields)) = (report, object.as_object_mut()) {
        fields.insert("removed".to_owned(), json!(report.removed));
        fields.insert("skipped".to_owned(), json!(report.skipped));
        fields.insert("gone".to_owned(), json!(report.gone));
        fields.insert("failed".to_owned(), told(&report.failed));
    }
    object
}
