//! A command alone in a sandbox, as `stockade exec` runs it: no log, no API, no recordings.
//!
//! Owns the order from a checked description to the exit status, and what is said when there is no command to speak for
//! itself. It has one thread and no runtime, for the sandbox is born from this
//! very process; the egress proxy, where there are rules, gets a thread behind that. Invariant: whatever ends this process
//! ends all that was started, and the exit status is the command's own unless a line on stderr says why not.

mod egress;
mod home;
mod terminal;
mod watch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, stderr, stdin, stdout};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stdin, dup2_stdout};
use stockade_sandbox as sandbox;
use stockade_sandbox::{LaunchError, Layer};

use self::egress::Proxy;
use self::home::{Home, HomeError};
use self::terminal::Console;
use self::watch::{Ended, Watch};
use crate::cli::{FAILURE, notice};
use crate::description::RunDescription;
use crate::session::environment::{self, ACTIONS_FD_VARIABLE, Inherited};
use crate::session::start::Choice;
use crate::session::workload::chain;
use crate::supervisor::egress::variables as variables_of_proxy;
use crate::supervisor::{policy, setup};

/// Exit status when the timeout ended the command, timeout(1).
const TIMED_OUT: u8 = 124;
/// Exit status when the command cannot be executed, as of a shell.
const NOT_EXECUTABLE: u8 = 126;
/// Exit status when there is no such command, as of a shell.
const NOT_FOUND: u8 = 127;

/// Why there is no command whose end could be passed on.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    /// Signals cannot be read.
    #[error("signals cannot be held back")]
    Signals(#[source] nix::Error),
    /// There is no sandbox.
    #[error(transparent)]
    Home(HomeError),
    /// There are rules for the network, and no proxy that applies them.
    #[error("the egress proxy cannot be started")]
    Egress(#[source] io::Error),
    /// A standard stream cannot be handed on.
    #[error("the standard streams cannot be handed on")]
    Streams(#[source] io::Error),
    /// The command did not start.
    #[error(transparent)]
    Launch(LaunchError),
    /// The sandbox was lost while the command ran.
    #[error("the sandbox ended before the command did")]
    Lost(#[source] io::Error),
}

impl ExecError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Launch(LaunchError::NotFound { .. }) => NOT_FOUND,
            Self::Launch(LaunchError::NotExecutable { .. }) => NOT_EXECUTABLE,
            Self::Launch(
                LaunchError::Refused(_)
                | LaunchError::Invalid(_)
                | LaunchError::NotSent(_)
                | LaunchError::NoAnswer(_),
            )
            | Self::Signals(_)
            | Self::Home(_)
            | Self::Egress(_)
            | Self::Streams(_)
            | Self::Lost(_) => FAILURE,
        }
    }
}

/// Runs the command to its end. The caller has one thread.
///
/// It returns the exit status, and does not return where a signal ended the command: the same signal ends this process.
pub fn run(description: &RunDescription, argv: Vec<OsString>) -> ExitCode {
    match execute(description, argv) {
        Ok(Ended::Itself(end)) => ExitCode::from(end.pass_on()),
        Ok(Ended::Passed { limit, end }) => {
            notice::error(&limit);
            ExitCode::from(end.pass_on())
        }
        Ok(Ended::TimedOut) => {
            let seconds = description.timeout.as_secs();
            notice::error(&format!(
                "the command was ended after {seconds} s, its timeout"
            ));
            ExitCode::from(TIMED_OUT)
        }
        Err(error) => {
            notice::error(&chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(description: &RunDescription, argv: Vec<OsString>) -> Result<Ended, ExecError> {
    let inherited = Inherited::of(|name| std::env::var(name).ok());
    // From here on a signal is the command's, as soon as there is one.
    let all = SigSet::all();
    all.thread_block().map_err(ExecError::Signals)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&all, flags).map_err(ExecError::Signals)?;
    let home = Home::build(policy(description), Choice::of(description));
    let home = home.map_err(ExecError::Home)?;
    let proxy = Proxy::begin(description, home.sandbox()).map_err(ExecError::Egress)?;
    let address = proxy.as_ref().map(Proxy::address);
    let (mut console, stdio) = if description.tty {
        let opened = Console::open(home.sandbox()).map_err(ExecError::Streams)?;
        (Some(opened.0), opened.1)
    } else {
        (None, own_streams().map_err(ExecError::Streams)?)
    };
    let launch = sandbox::Launch {
        argv,
        env: variables(description, &inherited, home.scratch(), address),
        cwd: description.chdir.clone(),
        stdio,
        extra: Vec::new(),
    };
    let launched = match &console {
        Some(_) => home.sandbox().launch(launch),
        None => home.sandbox().launch_beside_terminal(launch),
    };
    let launch = launched.map_err(ExecError::Launch)?;
    if console.is_none() {
        let_go_of_streams().map_err(ExecError::Streams)?;
    }
    let watch = Watch::new(home.sandbox(), launch, &signals, description);
    let ended = watch.until_end(console.as_mut());
    let is_gone = home.end();
    if let Some(console) = &mut console {
        watch::show_the_rest(console, &signals);
    }
    drop(console);
    if let Err(error) = is_gone {
        notice::error(&format!("the end of the sandbox is not certain: {error}"));
    }
    ended.map_err(ExecError::Lost)
}

/// What the description asks for. A control group is made only for limits that somebody named, because it takes longer than
/// the sandbox; the others hold by other means.
fn policy(description: &RunDescription) -> sandbox::Policy {
    let mut policy = policy::of(description, None);
    policy.output_bytes = None;
    let is_limited = ["limits.memory", "limits.pids", "limits.cpus"]
        .iter()
        .any(|key| description.is_explicit(key));
    let is_required = policy.required.contains(&Layer::CgroupLimits);
    policy.movable = sandbox::Movable::Own;
    policy.group = (is_limited || is_required).then(|| format!("exec-{}", std::process::id()));
    policy
}

/// The whole environment of the command.
fn variables(
    description: &RunDescription,
    inherited: &Inherited,
    scratch: Option<&Path>,
    proxy: Option<SocketAddr>,
) -> Vec<(OsString, OsString)> {
    let declared = description.env.clone();
    let of_proxy = variables_of_proxy(description, proxy);
    let of_preset = setup::variables_of_preset(description);
    let declared = environment::temporary(scratch)
        .into_iter()
        .chain(of_proxy)
        .chain(of_preset)
        .chain(declared);
    let home = setup::home_of_workload(description, inherited, scratch);
    let mut variables = environment::build(&home, inherited, declared);
    variables.retain(|(name, _)| name != ACTIONS_FD_VARIABLE);
    variables
}

fn own_streams() -> io::Result<[OwnedFd; 3]> {
    Ok([
        stdin().as_fd().try_clone_to_owned()?,
        stdout().as_fd().try_clone_to_owned()?,
        stderr().as_fd().try_clone_to_owned()?,
    ])
}

/// Leaves input and output to the command alone, so that their other ends see when it closes them. Errors stay, for the line
/// that says why there is no status of the command.
fn let_go_of_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(())
}
