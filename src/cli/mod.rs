//! The command line: which process this is, and what people may ask of it.
//!
//! Owns the commands and their exit statuses. The binary is several processes in one: `guardian`, `supervisor` and
//! `sandbox-helper` are started by the program itself and never by people.

mod described;
pub mod doctor;
mod dry_run;
pub mod finalize;
pub mod flags;
pub mod health;
pub mod help;
pub mod init;
pub mod notice;
pub mod operator;
pub mod place;
pub mod prune;
pub mod reach;
pub mod results;
pub mod run;
pub mod status;
pub mod stop;
pub mod verify;
pub mod whereabouts;

#[cfg(feature = "operator")]
pub mod config;
#[cfg(feature = "operator")]
mod detached;
#[cfg(feature = "operator")]
pub mod diff;
#[cfg(feature = "operator")]
pub mod draft;
#[cfg(feature = "operator")]
pub mod exec;
#[cfg(feature = "operator")]
pub mod logs;
#[cfg(feature = "operator")]
pub mod manual;
#[cfg(feature = "operator")]
pub mod pause;
#[cfg(feature = "operator")]
pub mod pin;
#[cfg(feature = "operator")]
pub mod policy;
#[cfg(feature = "operator")]
pub mod replay;
#[cfg(feature = "operator")]
pub mod rm;
#[cfg(feature = "operator")]
pub mod runs;
#[cfg(feature = "operator")]
pub mod schema;
#[cfg(feature = "operator")]
pub mod serve;
#[cfg(feature = "operator")]
pub mod server;
#[cfg(feature = "operator")]
pub mod show;
#[cfg(feature = "operator")]
pub mod submit;
#[cfg(feature = "operator")]
pub mod tail;

use std::ffi::OsString;
use std::process::ExitCode;

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
  stockade status                      say where the run is that was started last
  stockade stop latest --grace 2       end it, and everything that it started

Each command tells its flags by --help. The documentation is in docs/, beginning with docs/tutorial.md.";

/// What stands below the flags of `run`.
const AFTER_RUN_HELP: &str = "\
Examples:
  stockade run -- make test
  stockade run --workspace-mode read-only --timeout 2m -- ls -R
  stockade run --net allow=api.example.com --credential API_KEY=file:key.txt --adapter jsonl -- ./agent
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
    /// Say where a run is, or how it ended
    Status(status::Arguments),
    /// Ask a run to stop, and wait for its end
    Stop(stop::Arguments),
    /// Say whether the run of this container answers, for health checks
    Health(health::Arguments),
    /// Show what this host allows of the sandbox, layer by layer, and what to change
    Doctor(Box<doctor::Arguments>),
    #[cfg(feature = "operator")]
    #[command(flatten)]
    Operator(operator::Command),
    /// Check a recording: lines, numbers, hash chain, and every file by the manifest
    Verify(verify::Arguments),
    /// Be the init of a container: pass signals on, reap, end with the command's exit code
    #[command(after_help = init::AFTER_HELP)]
    Init(init::Arguments),
    /// Give the record of a run that was cut off a true end
    Finalize(finalize::Arguments),
    /// Remove old recordings
    Prune(prune::Arguments),
    /// Print the help of a command
    Help(help::Arguments),
}

/// All commands and flags, as help, completions and man pages have them.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("run", help::with_variables)
}

/// Does what the arguments say; `arguments` begins with the program's own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    if let Some(code) = init::started(&arguments) {
        return code;
    }
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
        #[cfg(feature = "operator")]
        Some(crate::engine::program::DETACHED) => return detached::main(rest()),
        #[cfg(feature = "operator")]
        Some("exec") => {
            if let Some(arguments) = exec::parsed(&arguments) {
                return exec::main(arguments);
            }
        }
        Some(word) => {
            if let Some(code) = operator::refuse(word) {
                return code;
            }
        }
        None => {}
    }
    let command = match Cli::try_parse_from(&arguments) {
        Ok(Cli { command }) => command,
        Err(error) => {
            let error = match error.kind() {
                // Help names the variables too; nobody else waits until they are looked up.
                ErrorKind::DisplayHelp => command()
                    .try_get_matches_from(&arguments)
                    .err()
                    .unwrap_or(error),
                _ => error,
            };
            if error.use_stderr() {
                // Nobody is left to be told when stderr is gone.
                let _ = error.print();
                return ExitCode::from(USAGE);
            }
            return results::printed(error.print());
        }
    };
    match command {
        Command::Run(arguments) => run::main(*arguments),
        Command::Status(arguments) => status::main(&arguments),
        Command::Stop(arguments) => stop::main(&arguments),
        Command::Health(arguments) => health::main(&arguments),
        Command::Doctor(arguments) => doctor::main(*arguments),
        #[cfg(feature = "operator")]
        Command::Operator(command) => command.main(),
        Command::Verify(arguments) => verify::main(&arguments),
        Command::Init(arguments) => arguments.main(),
        Command::Finalize(arguments) => finalize::main(&arguments),
        Command::Prune(arguments) => prune::main(&arguments),
        Command::Help(arguments) => help::main(&arguments, self::command()),
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
