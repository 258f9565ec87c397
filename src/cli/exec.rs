//! `stockade exec`: a command alone in a sandbox, for whoever would type bwrap.
//!
//! Owns the flags, which are those of a run as far as they mean something without one. Never starts a thread.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::flags::{RunFlags, SandboxFlags, resolve_alone};
use super::run::tell_faults;
use super::{FAILURE, notice};

/// What stands below the flags.
pub(super) const AFTER_HELP: &str = "\
Examples:
  stockade exec -- make test                               work in the current directory, and see nothing else
  stockade exec --workspace-mode read-only -- ls -R
  stockade exec --ro ~/.cargo --tmpfs /scratch:1GiB --memory 2GiB -- cargo build
  stockade exec --policy strict.toml -- ./agent

The exit status is the command's own; a signal that ends the command ends this process, too. 124 is the timeout,
125 a fault of the set-up, 126 and 127 a command that cannot be executed or found.";

/// A command, and what confines it.
#[derive(clap::Args)]
#[expect(
    missing_debug_implementations,
    reason = "the values of --env may be secrets"
)]
pub struct Arguments {
    /// Read keys of the run description from FILE (TOML, YAML or JSON); flags win over it
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,

    /// What it finds in the sandbox.
    #[command(flatten)]
    sandbox: SandboxFlags,

    /// Let the command change the workspace or not: read-write, read-only, or overlay to forget its changes [default: read-write]
    #[arg(long, value_name = "MODE", help_heading = "What the workload sees")]
    workspace_mode: Option<String>,

    /// Open the network: none, allow=RULE,… or host [default: none]
    #[arg(long, value_name = "NETWORK", help_heading = "What the workload sees")]
    net: Option<String>,

    /// Give the command so much memory: bytes, or 512MiB, 2GiB [default: 2GiB, looked at]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    memory: Option<String>,

    /// Give it so much swap beside its memory [default: 0 with --memory]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    swap: Option<String>,

    /// Let it have so many processes and threads [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pids: Option<String>,

    /// Give it so many processors, such as 1.5 [default: all]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    cpus: Option<String>,

    /// End it after so long: seconds, or 90s, 10m, 2h [default: no limit]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    timeout: Option<String>,

    /// Give it so long to end at its timeout before everything is killed [default: 8]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    grace: Option<String>,

    /// Give the command a terminal of its own, shown in this one
    #[arg(short, long)]
    tty: bool,

    /// End everything when the process that started this one ends
    #[arg(long)]
    die_with_parent: bool,

    /// The program that runs in the sandbox, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The command line without the other commands, which take longer to set up than a sandbox.
#[derive(Parser)]
#[command(name = "exec", disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    arguments: Arguments,
}

/// The arguments behind `stockade`, if they are right; who gets none asks the whole command line, which knows what to say.
pub(super) fn parsed(arguments: &[OsString]) -> Option<Arguments> {
    let alone = Alone::try_parse_from(arguments.iter().skip(1)).ok()?;
    Some(alone.arguments)
}

/// Runs the command; returns its exit status, and not at all where a signal ended it.
pub fn main(arguments: Arguments) -> ExitCode {
    if arguments.die_with_parent
        && let Err(error) = die_with_parent()
    {
        notice::error(&format!("cannot be bound to the caller's life: {error}"));
        return ExitCode::from(FAILURE);
    }
    let current_dir = match std::env::current_dir() {
        Ok(current_dir) => current_dir,
        Err(error) => {
            notice::error(&format!("the current directory cannot be used: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    let argv = arguments.command;
    let program = argv.first().map(|program| program.to_string_lossy());
    let program = program.unwrap_or_default().into_owned();
    let flags = RunFlags {
        sandbox: arguments.sandbox,
        workspace_mode: arguments.workspace_mode,
        net: arguments.net,
        memory: arguments.memory,
        swap: arguments.swap,
        pids: arguments.pids,
        cpus: arguments.cpus,
        timeout: arguments.timeout,
        grace: arguments.grace,
        tty: arguments.tty,
        ..RunFlags::default()
    };
    let policy = arguments.policy.as_deref();
    match resolve_alone(flags, policy, &program, std::env::vars_os(), &current_dir) {
        Ok(description) => crate::exec::run(&description, argv),
        Err(errors) => ExitCode::from(tell_faults(&errors)),
    }
}

/// Asks for SIGKILL when the caller ends (prctl(2)); who ended before that is not waited for.
fn die_with_parent() -> nix::Result<()> {
    let parent = getppid();
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(nix::Error::ESRCH);
    }
    Ok(())
}
