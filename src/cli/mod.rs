//! The command line: which process this is, and what people may ask of it.
//!
//! Owns the commands and their exit statuses. The binary is several processes in one: `guardian`, `supervisor` and
//! `sandbox-helper` are started by the program itself and never by people.

pub mod config;
mod dry_run;
pub mod diff;
pub mod finalize;
pub mod flags;
pub mod manual;
pub mod notice;
pub mod prune;
pub mod pin;
pub mod reach;
pub mod replay;
pub mod run;
pub mod show;
pub mod status;
pub mod stop;
pub mod tail;
pub mod schema;
pub mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::recordings::{RecordingsError, Store};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

/// Exit status of a wrong command line, and only of that.
pub const USAGE: u8 = 2;

/// Exit status when the program itself could not do its work (docker run, env(1) and timeout(1) use the same).
pub const FAILURE: u8 = 125;

/// What stands below the list of commands.
const AFTER_HELP: &str = "\
Examples:
  stockade run -- make test            run a command in a sandbox
  stockade tail                        follow the run that was started last
  stockade stop latest --grace 2       end it, and everything that it started

Each command tells its flags by --help. The documentation is in docs/, beginning with docs/tutorial.md.";

/// What stands below the flags of `run`.
const AFTER_RUN_HELP: &str = "\
Examples:
  stockade run -- make test
  stockade run --workspace-mode read-only --timeout 2m -- ls -R
  stockade run --net host --credential API_KEY=file:key.txt --adapter jsonl -- ./agent
  stockade run --config run.toml --run-id nightly-7

The exit code is the command's own; 124 is a timeout, 125 a fault of the set-up, 128 + n a stop by signal n.";

/// The supervisor at the door of an AI agent's sandbox
#[derive(Parser)]
#[command(
    name = "stockade",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command or agent in a sandbox and record everything that it does
    #[command(after_help = AFTER_RUN_HELP)]
    Run(Box<run::Arguments>),
    /// Check or show the description of a run, and start nothing
    Config(config::Arguments),
    /// Say where a run is, or how it ended
    Status(status::Arguments),
    /// Follow a run, live and from its recording
    Tail(tail::Arguments),
    /// Ask a run to stop, and wait for its end
    Stop(stop::Arguments),
    /// Print the JSON Schema of a file that people write
    Schema(schema::Arguments),
    /// Play a recording, as it was seen or as lines
    Replay(replay::Arguments),
    /// Show what happened in a run, on one screen
    Show(show::Arguments),
    /// Compare two runs step by step
    Diff(diff::Arguments),
    /// Check a recording: lines, numbers, hash chain, and every file by the manifest
    Verify(verify::Arguments),
    /// Give the record of a run that was cut off a true end
    Finalize(finalize::Arguments),
    /// Remove old recordings
    Prune(prune::Arguments),
    /// Keep a recording whatever the limits of pruning say
    Pin(pin::Arguments),
    /// Print the help of a command
    Help(manual::HelpArguments),
    /// Print completions for a shell
    Completions(manual::CompletionArguments),
    /// Print a man page
    Man(manual::ManArguments),
}

/// All commands and flags, as help, completions and man pages have them.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("run", manual::with_variables)
}

/// The recordings directory that a command means: the one that was named, else the default one.
fn recordings_path(named: Option<&Path>) -> Result<PathBuf, RecordingsError> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => Store::default_path(&|name| std::env::var_os(name)),
    }
}

/// Does what the arguments say; `arguments` begins with the program's own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let rest = || arguments.iter().skip(2).cloned();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some(crate::session::workload::HELPER_ARGUMENT) => return stockade_sandbox::helper_main(),
        Some("guardian") => return stockade_entrypoint::guardian_main(rest()),
        Some("supervisor") => return crate::supervisor::main(rest()),
        // Nothing of the run exists yet: a stop ends this process, and other signals wait for the guardian that it becomes.
        Some("run") => {
            if let Err(error) = stockade_entrypoint::block_signals_before_a_run() {
                notice::error(&format!("cannot hold signals back: {error}"));
                return ExitCode::from(FAILURE);
            }
        }
        Some(_) | None => {}
    }
    match Cli::try_parse_from(&arguments) {
        Ok(Cli {
            command: Command::Run(arguments),
        }) => run::main(*arguments),
        Ok(Cli {
            command: Command::Config(arguments),
        }) => config::main(arguments),
        Ok(Cli {
            command: Command::Status(arguments),
        }) => status::main(&arguments),
        Ok(Cli {
            command: Command::Tail(arguments),
        }) => tail::main(&arguments),
        Ok(Cli {
            command: Command::Stop(arguments),
        }) => stop::main(&arguments),
        Ok(Cli {
            command: Command::Schema(arguments),
        }) => schema::main(&arguments),
        Ok(Cli {
            command: Command::Replay(arguments),
        }) => replay::main(&arguments),
        Ok(Cli {
            command: Command::Show(arguments),
        }) => show::main(&arguments),
        Ok(Cli {
            command: Command::Diff(arguments),
        }) => diff::main(&arguments),
        Ok(Cli {
            command: Command::Verify(arguments),
        }) => verify::main(&arguments),
        Ok(Cli {
            command: Command::Finalize(arguments),
        }) => finalize::main(&arguments),
        Ok(Cli {
            command: Command::Prune(arguments),
        }) => prune::main(&arguments),
        Ok(Cli {
            command: Command::Pin(arguments),
        }) => pin::main(&arguments),
        Ok(Cli {
            command: Command::Help(arguments),
        }) => manual::help(&arguments, command()),
        Ok(Cli {
            command: Command::Completions(arguments),
        }) => manual::completions(&arguments, command()),
        Ok(Cli {
            command: Command::Man(arguments),
        }) => manual::man(&arguments, command()),
        Err(error) => {
            let error = match error.kind() {
                // Help names the variables too; nobody else waits until they are looked up.
                ErrorKind::DisplayHelp => command()
                    .try_get_matches_from(&arguments)
                    .err()
                    .unwrap_or(error),
                _ => error,
            };
            let is_help = !error.use_stderr();
            // Nobody is left to be told when the terminal is gone.
            let _ = error.print();
            if is_help {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(USAGE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
