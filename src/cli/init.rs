//! `stockade init`: the guardian alone, as the init of any container.
//!
//! Owns help, man page and completions of its flags. Never does: read them; the init does that itself, from the same table,
//! because the definition of all commands takes longer than its own start may.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Command};
use stockade_entrypoint::init::{FLAGS, Flag, Form, init_main};

use super::{USAGE, notice};

/// What stands below the flags.
pub(super) const AFTER_HELP: &str = "\
Examples:
  stockade init -- ./server -p 80
  stockade init --grace 3s --rewrite TERM:QUIT -- nginx -g 'daemon off;'
  stockade init --compat tini -g -- ./server

Started by the name tini, docker-init or dumb-init, as by a link, the program is that init.

The exit code is the command's own; 128 + n when signal n ended it, 127 or 126 when it cannot be
found or executed, 125 when the init cannot do its work, 2 for wrong flags.";

/// The flags, for help alone.
#[derive(Debug)]
pub struct Arguments;

impl Arguments {
    /// Comes here only when the command line was read otherwise by the init than by the definition of its help.
    pub(super) fn main(&self) -> ExitCode {
        notice::error("stockade init must be the first word, before any flag");
        ExitCode::from(USAGE)
    }
}

impl clap::Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let flags = FLAGS.iter().map(argument);
        let words = Arg::new("command")
            .value_name("COMMAND")
            .help("The program, and its arguments")
            .num_args(1..)
            .required(true)
            .last(true);
        command.args(flags).arg(words)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Arguments {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

/// A flag as the help has it.
fn argument(flag: &Flag) -> Arg {
    let action = match (flag.value, flag.repeats) {
        (None, _) => ArgAction::SetTrue,
        (Some(_), false) => ArgAction::Set,
        (Some(_), true) => ArgAction::Append,
    };
    let argument = Arg::new(flag.long)
        .long(flag.long)
        .help(StyledStr::from(flag.help))
        .action(action);
    let argument = match flag.value {
        Some(name) => argument.value_name(name),
        None => argument,
    };
    match flag.short {
        Some(letter) => argument.short(letter),
        None => argument,
    }
}

/// The exit code of an init, when this process was started as one; none for anything else, and when help is asked for.
pub(super) fn started(arguments: &[OsString]) -> Option<ExitCode> {
    let program = arguments.first()?;
    let rest = |from| arguments.iter().skip(from).cloned().collect();
    match Form::of_program(program) {
        Some(form) => init_main(form, program, rest(1)),
        None if arguments.get(1).is_some_and(|word| word == "init") => {
            init_main(Form::Own, program, rest(2))
        }
        None => None,
    }
}
