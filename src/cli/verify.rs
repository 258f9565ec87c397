//! `stockade verify DIR`

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{FAILURE, notice};
use crate::log::verify::{KeptHead, VerifyReport, verify};
use crate::recordings::{RunDir, layout};
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
        .and_then(|run_dir| {
            let kept = kept_head(&run_dir);
            verify(run_dir.as_fd(), kept.as_ref()).map_err(|error| error.to_string())
        });
    match report {
        Ok(report) => {
            print(&report, arguments.json);
            if report.sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(NOT_SOUND)
            }
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
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

fn print(report: &VerifyReport, as_json: bool) {
    if as_json {
        notice::result(&serde_json::to_string(report).unwrap_or_default());
        return;
    }
    for finding in &report.findings {
        notice::result(finding);
    }
    let verdict = if report.sound { "sound" } else { "not sound" };
    notice::result(&format!(
        "{verdict}: {} events, head {} at event {}",
        report.n_events, report.head, report.last_seq
    ));
}
