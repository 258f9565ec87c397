//! `stockade rm RUN…`: deletes recordings by a control plane.

use std::process::ExitCode;

use super::reach::{block_on, fail};
use super::results::Results;
use super::server::{Server, fail_asking};
use crate::client::ClientError;
use crate::client::plane::Plane;
use crate::run::RunId;

/// Which runs.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The runs, by their ids
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<RunId>,

    #[command(flatten)]
    server: Server,
}

/// Deletes: 0 when all are gone, 125 when one is not: it goes on, is pinned, or is not there.
pub fn main(arguments: &Arguments) -> ExitCode {
    let plane = match arguments.server.find() {
        Ok((address, token)) => Plane { address, token },
        Err(error) => return fail(&error, None),
    };
    let mut results = Results::stdout();
    let mut code = ExitCode::SUCCESS;
    for run in &arguments.runs {
        match block_on(plane.remove(run)) {
            Ok(Ok(())) => {
                results.line(format!("removed {run}"));
            }
            Ok(Err(error)) => {
                code = fail_asking(&error);
                // Nobody else will be found there for the next.
                if let ClientError::Unreachable { .. } = error {
                    break;
                }
            }
            Err(error) => {
                code = fail(&error, None);
                break;
            }
        }
    }
    results.end(code)
}
