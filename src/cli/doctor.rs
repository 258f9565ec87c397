//! `stockade doctor`: what this host allows, layer by layer, and what to change.
//!
//! Takes the flags of `stockade run` and builds the sandbox that such a run would have. It starts no agent and writes no
//! recording.

use std::process::ExitCode;

use super::flags::RunFlags;
use super::results::{Results, size};
use super::{FAILURE, notice};
use crate::doctor;

/// Exit status where a run with these flags would get no sandbox.
const NO_SANDBOX: u8 = 1;

/// For which run.
#[derive(clap::Args)]
#[expect(
    missing_debug_implementations,
    reason = "the flags of a run may hold secrets"
)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long = "json", id = "doctor-json")]
    as_json: bool,

    #[command(flatten)]
    run: RunFlags,
}

/// Examines the host: 0 when a run with these flags gets its sandbox, 1 when it does not, 125 when nothing can be tried.
pub fn main(arguments: Arguments) -> ExitCode {
    let Arguments { as_json, mut run } = arguments;
    // What is run does not matter here, and nobody has to name it.
    if run.playbook.is_none() && run.command.is_empty() {
        run.command.push("true".into());
    }
    let explained = match super::described::described(run) {
        Ok(explained) => explained,
        Err(code) => return code,
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            notice::error(&format!("the program's own file cannot be found: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    match doctor::examine(&program, &explained.description, &explained.options) {
        Ok(examination) => {
            let text = if as_json {
                serde_json::to_string(&examination).unwrap_or_default()
            } else {
                doctor::render(&examination, size().columns, super::reach::colours())
            };
            let mut results = Results::stdout();
            results.line(text.trim_end());
            results.end(if examination.holds {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(NO_SANDBOX)
            })
        }
        Err(error) => {
            notice::error(&format!("no process can be made to try anything: {error}"));
            ExitCode::from(FAILURE)
        }
    }
}
