//! The commands for people beside the sandbox, which the build for sandboxes (`--no-default-features`) is without.
//!
//! Owns their names, in both builds: a build that lacks a command says so, and says which build has it. What belongs to a
//! run (whether it gets a sandbox, starting it, its end, its record, `status` and `stop` for health checks) is no command of this list.

use std::process::ExitCode;

#[cfg(feature = "operator")]
pub(super) use commands::Command;

/// The names of these commands.
pub const COMMANDS: [&str; 19] = [
    "pause",
    "resume",
    "exec",
    "config",
    "tail",
    "logs",
    "serve",
    "submit",
    "runs",
    "rm",
    "replay",
    "show",
    "diff",
    "draft",
    "pin",
    "policy",
    "schema",
    "completions",
    "man",
];

/// The exit status for a command that this build lacks, which is told; none for any other word.
pub(super) fn refuse(word: &str) -> Option<ExitCode> {
    if cfg!(feature = "operator") || !COMMANDS.contains(&word) {
        return None;
    }
    super::notice::error(&format!(
        "this build has no command {word}: it is the build for sandboxes (--no-default-features); the default build has it and reads the same recordings"
    ));
    Some(ExitCode::from(super::USAGE))
}

#[cfg(feature = "operator")]
mod commands {
    use std::process::ExitCode;

    use clap::Subcommand;

    use crate::cli::pause::{self, Wish};
    use crate::cli::{
        config, diff, draft, exec, logs, manual, pin, policy, replay, rm, runs, schema, serve,
        show, submit, tail,
    };

    #[derive(Subcommand)]
    pub(in crate::cli) enum Command {
        /// Let everything in a run's sandbox stand still, and its deadline with it
        Pause(pause::Arguments),
        /// Let a paused run go on
        Resume(pause::Arguments),
        /// Run a command in a sandbox and keep no record
        #[command(after_help = exec::AFTER_HELP)]
        Exec(Box<exec::Arguments>),
        /// Check or show the description of a run, and start nothing
        Config(config::Arguments),
        /// Follow a run, live and from its recording
        #[command(after_help = tail::AFTER_HELP)]
        Tail(tail::Arguments),
        /// Print what a run has logged; with -f, follow it to its end
        #[command(after_help = tail::AFTER_HELP)]
        Logs(logs::Arguments),
        /// Be the control plane: create, find, follow and stop runs by HTTP
        Serve(serve::Arguments),
        /// Ask a control plane for a run
        #[command(
            after_help = submit::AFTER_HELP,
            override_usage = "stockade submit [OPTIONS] [FILE] [-- COMMAND...]"
        )]
        Submit(Box<submit::Arguments>),
        /// List the runs of a control plane
        Runs(runs::Arguments),
        /// Delete the recordings of runs of a control plane
        Rm(rm::Arguments),
        /// Play a recording, as it was seen or as lines
        Replay(replay::Arguments),
        /// Show what happened in a run, on one screen
        Show(show::Arguments),
        /// Compare two runs step by step
        Diff(diff::Arguments),
        /// Write a playbook that does again what a run did
        Draft(draft::Arguments),
        /// Keep a recording whatever the limits of pruning say
        Pin(pin::Arguments),
        /// Print the presets of the sandbox
        Policy(policy::Arguments),
        /// Print the JSON Schema of a file that people write
        Schema(schema::Arguments),
        /// Print completions for a shell
        Completions(manual::CompletionArguments),
        /// Print a man page
        Man(manual::ManArguments),
    }

    impl Command {
        /// Does what the arguments say.
        pub(in crate::cli) fn main(self) -> ExitCode {
            match self {
                Self::Pause(arguments) => pause::main(Wish::Pause, &arguments),
                Self::Resume(arguments) => pause::main(Wish::Resume, &arguments),
                Self::Exec(arguments) => exec::main(*arguments),
                Self::Config(arguments) => config::main(arguments),
                Self::Tail(arguments) => tail::main(&arguments),
                Self::Logs(arguments) => logs::main(&arguments),
                Self::Serve(arguments) => serve::main(&arguments),
                Self::Submit(arguments) => submit::main(&arguments),
                Self::Runs(arguments) => runs::main(&arguments),
                Self::Rm(arguments) => rm::main(&arguments),
                Self::Replay(arguments) => replay::main(&arguments),
                Self::Show(arguments) => show::main(&arguments),
                Self::Diff(arguments) => diff::main(&arguments),
                Self::Draft(arguments) => draft::main(&arguments),
                Self::Pin(arguments) => pin::main(&arguments),
                Self::Policy(arguments) => policy::main(&arguments),
                Self::Schema(arguments) => schema::main(&arguments),
                Self::Completions(arguments) => {
                    manual::completions(&arguments, crate::cli::command())
                }
                Self::Man(arguments) => manual::man(&arguments, crate::cli::command()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::COMMANDS;

    #[test]
    fn a_build_has_all_of_the_commands_for_people_or_none() {
        let command = crate::cli::command();
        let known: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert!(
            known.contains(&"run") && known.contains(&"status"),
            "{known:?}"
        );
        for name in COMMANDS {
            let is_there = known.contains(&name);
            assert_eq!(is_there, cfg!(feature = "operator"), "{name}");
            assert_eq!(super::refuse(name).is_none(), is_there, "{name}");
        }
        for name in known.iter().filter(|name| !COMMANDS.contains(name)) {
            assert!(super::refuse(name).is_none(), "{name}");
        }
    }
}
