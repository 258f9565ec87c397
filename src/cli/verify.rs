//! `stockade verify [RUN]`
//!
//! The log by its hash chain, and every file by the manifest.

use std::process::ExitCode;

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::log::verify::VerifyReport;
use crate::review::soundness::check;

/// Exit status for a recording that is not sound.
const NOT_SOUND: u8 = 1;

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The recording: a run's directory, a run id, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,

    #[command(flatten)]
    place: Place,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Checks a recording: 0 when it is sound, 1 when it is not, 125 when it cannot be read.
pub fn main(arguments: &Arguments) -> ExitCode {
    let recording = arguments.place.recording_or_directory(&arguments.run);
    let report = recording.and_then(|run_dir| check(&run_dir));
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
