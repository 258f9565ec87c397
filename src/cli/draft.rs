//! `stockade draft`

use std::process::ExitCode;

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::review::draft::draft;
use crate::session::workload::chain;
use crate::text::measure;

/// Of what to make a draft.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run: latest, a run id, or a run's directory
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    #[command(flatten)]
    place: Place,
}

/// Prints a playbook that does again what a run did: 0, or 125 when there is nothing that could be repeated.
pub fn main(arguments: &Arguments) -> ExitCode {
    let run = arguments.place.recording(&arguments.run);
    match run.and_then(|run| draft(&run).map_err(|error| chain(&error))) {
        Ok(draft) => {
            let mut results = Results::stdout();
            results.line(draft.text.trim_end());
            if draft.n_left_out > 0 {
                let left = measure::count(draft.n_left_out as u64, "action");
                notice::line(&format!(
                    "stockade: {left} could not be taken; the comments say why"
                ));
            }
            results.end(ExitCode::SUCCESS)
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
}
