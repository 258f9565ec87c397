//! `stockade pin RUN…`

use std::process::ExitCode;

use super::place::Place;
use super::results::Results;
use super::{FAILURE, notice};
use crate::recordings::directory::Creation;
use crate::recordings::{Store, pin};
use crate::run::RunId;
use crate::session::workload::chain;

/// What to keep.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The runs, by their ids
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Take the pins away instead
    #[arg(long)]
    unpin: bool,
    #[command(flatten)]
    place: Place,
}

/// Sets or takes away pins: 0 when all is as it was asked for, 125 when a run is not there or a pin cannot be written.
pub fn main(arguments: &Arguments) -> ExitCode {
    let store = match arguments.place.path().and_then(|path| Store::open(&path)) {
        Ok(store) => store,
        Err(error) => {
            notice::error(&chain(&error));
            return ExitCode::from(FAILURE);
        }
    };
    let mut results = Results::stdout();
    let mut is_done = true;
    for run in &arguments.runs {
        match one(&store, run, arguments.unpin) {
            Ok(done) => {
                results.line(done);
            }
            Err(error) => {
                notice::error(&error);
                is_done = false;
            }
        }
    }
    results.end(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILURE)
    })
}

fn one(store: &Store, run: &str, is_unpin: bool) -> Result<String, String> {
    let id: RunId = if run == crate::run::id::LATEST {
        let latest = store.latest().map_err(|error| chain(&error))?;
        latest.ok_or_else(|| format!("there is no run in {}", store.path().display()))?
    } else {
        run.parse().map_err(|error| chain(&error))?
    };
    if is_unpin {
        let was_pinned = pin::unpin(store, &id).map_err(|error| chain(&error))?;
        let done = if was_pinned {
            "unpinned"
        } else {
            "was not pinned:"
        };
        return Ok(format!("{done} {id}"));
    }
    Ok(match pin::pin(store, &id).map_err(|error| chain(&error))? {
        Creation::Created => format!("pinned {id}"),
        Creation::Existed => format!("was pinned already: {id}"),
    })
}
