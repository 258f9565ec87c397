//! `stockade verify DIR`
//!
//! The log by its hash chain, and every file by the manifest.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use super::results::Results;
use super::{FAILURE, notice};
use crate::log::verify::{KeptHead, VerifyReport, verify};
use crate::recordings::{RunDir, inventory, layout};
use crate::session::workload::chain;
use crate::status::StatusDocument;

/// Exit status for a recording that is not sound.
const NOT_SOUND: u8 = 1;

/// Largest `status.json` that is read, in bytes.
const MAX_STATUS_BYTES: u64 = 4 * 1024 * 1024;

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run's directory
    dir: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Checks a recording: 0 when it is sound, 1 when it is not, 125 when it cannot be read.
pub fn main(arguments: &Arguments) -> ExitCode {
    let report = RunDir::open(&arguments.dir)
        .map_err(|error| chain(&error))
        .and_then(|run_dir| check(&run_dir));
    match report {
        Ok((report, n_files)) => {
            let mut results = Results::stdout();
            print(&report, n_files, arguments.json, &mut results);
            results.end(if report.sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(NOT_SOUND)
            })
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
}

/// Checks log and files; gives the report and the number of files that are as the manifest says.
fn check(run_dir: &RunDir) -> Result<(VerifyReport, u64), String> {
    let kept = kept_head(run_dir);
    let mut report = verify(run_dir.as_fd(), kept.as_ref()).map_err(|error| error.to_string())?;
    // While a run goes on its manifest is not written yet.
    if report.terminal_seq.is_none() {
        return Ok((report, 0));
    }
    let audit = inventory::audit(run_dir).map_err(|error| chain(&error))?;
    report.findings.extend(audit.findings);
    report.sound = report.findings.is_empty();
    Ok((report, audit.n_files))
}

/// The head that `status.json` keeps, if there is one.
fn kept_head(run_dir: &RunDir) -> Option<KeptHead> {
    let bytes = run_dir.read(layout::STATUS, MAX_STATUS_BYTES).ok()??;
    let head = StatusDocument::decode(&bytes).ok()?.log?;
    Some(KeptHead {
        seq: head.seq,
        hash: head.head,
    })
}

fn print(report: &VerifyReport, n_files: u64, as_json: bool, results: &mut Results) {
    if as_json {
        let mut object = serde_json::to_value(report).unwrap_or_default();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("n_files".to_owned(), n_files.into());
        }
        results.line(object.to_string());
        return;
    }
    for finding in &report.findings {
        results.line(finding);
    }
    let verdict = if report.sound { "sound" } else { "not sound" };
    results.line(format!(
        "{verdict}: {} events, head {} at event {}, {n_files} files as the manifest says",
        report.n_events, report.head, report.last_seq
    ));
}
