//! `stockade show`

use std::process::ExitCode;

use super::place::Place;
use super::results::{Results, size};
use super::{FAILURE, notice};
use crate::review::account::Account;
use crate::review::reading;
use crate::review::screen;
use crate::session::recorder::now_ms;
use crate::session::workload::chain;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run: latest, a run id, or a run's directory
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows what happened in a run: 0 when it was shown, 125 when the recording cannot be read.
pub fn main(arguments: &Arguments) -> ExitCode {
    match read(arguments) {
        Ok(account) => {
            let text = if arguments.json {
                serde_json::to_string(&account).unwrap_or_default()
            } else {
                screen::render(&account, size(), super::reach::colours())
            };
            let mut results = Results::stdout();
            results.line(text.trim_end());
            results.end(ExitCode::SUCCESS)
        }
        Err(error) => {
            notice::error(&error);
            ExitCode::from(FAILURE)
        }
    }
}

fn read(arguments: &Arguments) -> Result<Account, String> {
    let run = arguments.place.recording(&arguments.run)?;
    reading::read(&run, now_ms()).map_err(|error| chain(&error))
}
