//! `stockade help`, and what `--help` says of variables.
//!
//! Owns no text of its own: names, help and values come from the one definition that also reads the command line.

use std::process::ExitCode;

use clap::Command;

use super::{notice, operator, results};
use crate::description::keys::KEYS;
use crate::description::variables::VARIABLES;

/// Which command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The command, as in: stockade help run
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Prints the help of a command: 0, 2 for a command that there is not, 125 when it could not be written.
pub fn main(arguments: &Arguments, mut command: Command) -> ExitCode {
    command.build();
    let mut found = &mut command;
    for name in &arguments.command {
        match found.find_subcommand_mut(name) {
            Some(known) => found = known,
            None => return unknown(name),
        }
    }
    results::printed(found.print_help())
}

/// Says that there is no such command.
pub(super) fn unknown(name: &str) -> ExitCode {
    if let Some(code) = operator::refuse(name) {
        return code;
    }
    notice::error(&format!(
        "there is no command {name:?}; stockade --help lists them"
    ));
    ExitCode::from(super::USAGE)
}

/// Adds to the help of each flag of `run` the variable that says the same.
pub fn with_variables(run: Command) -> Command {
    run.mut_args(|argument| {
        let variable = argument.get_long().and_then(variable_of);
        let help = argument.get_help().map(ToString::to_string);
        match (variable, help) {
            (Some(variable), Some(help)) => argument.help(format!("{help} [env: {variable}]")),
            _ => argument,
        }
    })
}

/// The variable that says the same as a flag of `run`.
fn variable_of(flag: &str) -> Option<String> {
    let of_key = KEYS
        .iter()
        .find(|key| key.flags.contains(&flag))
        .map(|key| key.environment_name());
    of_key.or_else(|| {
        let row = VARIABLES.iter().find(|row| row.flag == Some(flag))?;
        row.name.map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn the_help_of_a_flag_names_its_variable() {
        assert_eq!(
            variable_of("timeout").as_deref(),
            Some("STOCKADE_TIMEOUT_SECONDS")
        );
        assert_eq!(variable_of("listen").as_deref(), Some("STOCKADE_LISTEN"));
        assert_eq!(variable_of("insecure-nothing"), None);
        let help = command().render_help().to_string();
        assert!(help.contains("run"), "{help}");
    }
}
