//! The flags of `stockade run`, and the way from them to a checked run description.
//!
//! It owns the names of flags and their help. Values are taken as text: one validator checks them, whatever their source.

mod reader;
mod sandbox;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::description::option_sources::{ChosenOption, chosen_options};
use crate::description::{
    DescriptionErrors, Environment, Faults, Given, Layer, Origin, RunDescription, Sources,
    SupervisorOptions, Value,
};
use reader::FlagReader;
pub use sandbox::SandboxFlags;

/// The flags and arguments of `stockade run`. It has no `Debug`: values of `--env` may be secrets.
#[expect(
    missing_debug_implementations,
    reason = "the values of --env may be secrets"
)]
#[derive(clap::Args, Default, Clone)]
pub struct RunFlags {
    /// Read the run description from FILE (TOML, YAML or JSON; - is stdin); flags and environment win over it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<String>,

    /// Read that file as toml, yaml or json [default: by its ending, else toml]
    #[arg(long, value_name = "FORMAT", help_heading = "Run")]
    pub config_format: Option<String>,

    /// Base the run on a profile: a named partial description; every other source wins over it
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub profile: Option<String>,

    /// Look for the profile in DIR [default: $XDG_CONFIG_HOME/stockade/profiles, then /etc/stockade/profiles]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub profile_dir: Option<String>,

    /// Name the run: a DNS label [default: minted, ordered by time]
    #[arg(long, value_name = "ID", help_heading = "Run")]
    pub run_id: Option<String>,

    /// Say in words what the agent is asked to do
    #[arg(long, value_name = "TEXT", alias = "directive", help_heading = "Run")]
    pub task: Option<String>,

    /// Mark the run, so that it can be found again; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Run")]
    pub label: Vec<String>,

    /// Run the playbook FILE in the place of a command, or the one of DIR that the task asks for
    #[arg(long, value_name = "FILE|DIR", help_heading = "Run")]
    pub playbook: Option<String>,

    /// Set a parameter of the playbook, a secret one as NAME=file:PATH, env:VAR, fd:N or ref:NAME; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Run")]
    pub param: Vec<String>,

    /// Begin the playbook with the step ID and skip those before it
    #[arg(long, value_name = "ID", help_heading = "Run")]
    pub from_step: Option<String>,

    /// Take over the outputs of the steps that succeeded in an earlier RUN of the playbook: an id, latest, or a directory
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    pub resumed_from: Option<String>,

    /// Turn the command's output into actions: none, or jsonl for one action a JSON line [default: none]
    #[arg(long, value_name = "ADAPTER", help_heading = "Run")]
    pub adapter: Option<String>,

    /// Require a result of the form that the JSON schema in FILE describes
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub output_schema: Option<String>,

    /// Take the result from the JSON file PATH of the workspace [default: the last JSON line of the output]
    #[arg(long, value_name = "PATH", help_heading = "Run")]
    pub output_file: Option<String>,

    /// Give the command a terminal of its own
    #[arg(short, long, help_heading = "Run")]
    pub tty: bool,

    /// Let the command read what is typed or piped into the run
    #[arg(short, long, help_heading = "Run")]
    pub interactive: bool,

    /// What a launch alone takes as well.
    #[command(flatten)]
    pub sandbox: SandboxFlags,

    /// What becomes of changes to the workspace: read-write, read-only or overlay [default: read-write]
    #[arg(long, value_name = "MODE", help_heading = "What the workload sees")]
    pub workspace_mode: Option<String>,

    /// Show a file or directory of the host, read-only unless :rw is said; may be repeated
    #[arg(
        long,
        value_name = "SOURCE[:TARGET][:ro|rw]",
        help_heading = "What the workload sees"
    )]
    pub mount: Vec<String>,

    /// Give a secret, read from file:PATH, env:VAR, fd:N or ref:REFERENCE; may be repeated
    #[arg(
        long,
        value_name = "NAME=SOURCE",
        help_heading = "What the workload sees"
    )]
    pub credential: Vec<String>,

    /// Look for the secrets that are given by reference in DIR [default: $CREDENTIALS_DIRECTORY]
    #[arg(long, value_name = "DIR", help_heading = "What the workload sees")]
    pub credentials_dir: Option<String>,

    /// Open the network: none, host, or allow=RULES such as allow=example.com,*.example.org [default: none]
    #[arg(long, value_name = "NETWORK", help_heading = "What the workload sees")]
    pub net: Option<String>,

    /// End the run after so long: seconds, or 90s, 10m, 2h [default: 600]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub timeout: Option<String>,

    /// End the run when nothing happened for so long; 0 is off [default: 0]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub idle_timeout: Option<String>,

    /// Give a stop so long before everything is killed [default: 8]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub grace: Option<String>,

    /// Keep the status readable for so long after the end [default: 0]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub linger: Option<String>,

    /// End the run after so many actions of the agent [default: 50]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pub max_steps: Option<String>,

    /// End the run when it has put out so much: bytes, or 500MB, 1GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub limit_output: Option<String>,

    /// Give the workload so much memory: bytes, or 512MiB, 2GiB [default: 2GiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub memory: Option<String>,

    /// Give the workload so much swap beside its memory [default: 0]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub swap: Option<String>,

    /// Let the workload have so many processes and threads [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pub pids: Option<String>,

    /// Give the workload so many processors, such as 1.5 [default: all]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub cpus: Option<String>,

    /// Let the workload write so much to its workspace and mounts; 0 is off [default: 0]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub disk: Option<String>,

    /// Keep the recordings of all runs in DIR [default: $XDG_STATE_HOME/stockade/runs]
    #[arg(long, value_name = "DIR", help_heading = "Recording")]
    pub recordings: Option<String>,

    /// Remove recordings older than so many days when the run begins [default: keep all]
    #[arg(long, value_name = "DAYS", help_heading = "Recording")]
    pub keep_days: Option<String>,

    /// Remove the oldest recordings beyond so many runs when the run begins [default: keep all]
    #[arg(long, value_name = "COUNT", help_heading = "Recording")]
    pub keep_runs: Option<String>,

    /// Remove the oldest recordings beyond so many bytes when the run begins [default: keep all]
    #[arg(long, value_name = "SIZE", help_heading = "Recording")]
    pub keep_bytes: Option<String>,

    /// Keep the files of the workspace that PATTERN chooses, such as 'target/*.xml'; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Recording")]
    pub artifact: Vec<String>,

    /// Show events as soon as they are written, or only once they are durable [default: written]
    #[arg(long, value_name = "WHEN", help_heading = "Recording")]
    pub durability: Option<String>,

    /// Serve the status API on ADDRESS:PORT, or none, or image as entrypoint of a container [default: 127.0.0.1:8090 or the next free port]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Status API")]
    pub listen: Option<String>,

    /// Serve the status API on a Unix socket, or none [default: under $XDG_RUNTIME_DIR/stockade]
    #[arg(long, value_name = "PATH", help_heading = "Status API")]
    pub socket: Option<String>,

    /// Read the token for reading and control from FILE
    #[arg(long, value_name = "FILE", help_heading = "Status API")]
    pub token_file: Option<String>,

    /// Read the token for reading alone from FILE
    #[arg(long, value_name = "FILE", help_heading = "Status API")]
    pub read_token_file: Option<String>,

    /// Serve an address that is not loopback without any token
    #[arg(long, help_heading = "Status API")]
    pub insecure_no_auth: bool,

    /// Write log lines for people (human) or as JSON (json) [default: human]
    #[arg(long, value_name = "FORMAT", help_heading = "Process")]
    pub log_format: Option<String>,

    /// Write log lines from this level up: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Process")]
    pub log_level: Option<String>,

    /// Show the run on stderr: auto, live, plain, log or none [default: auto: live on a terminal, else plain]
    #[arg(long, value_name = "HOW", help_heading = "Process")]
    pub progress: Option<String>,

    /// Copy the JUnit report of a playbook to FILE
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    pub junit: Option<String>,

    /// Exit with CODE when the run was stopped [default: 128 + the signal]
    #[arg(long, value_name = "CODE", help_heading = "Process")]
    pub stop_exit_code: Option<String>,

    /// The program that runs in the sandbox, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Resolves flags, environment, the file that `--config` names and the profile, in this order of strength.
///
/// `environment` is that of the process, and `current_dir` its absolute current directory. It reads the description file,
/// the profile and the places of credentials and tokens, and nothing else.
///
/// # Errors
///
/// Every fault of every source.
pub fn resolve(
    flags: RunFlags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    current_dir: &Path,
) -> Result<(RunDescription, SupervisorOptions), DescriptionErrors> {
    let explained = explain(flags, environment, current_dir)?;
    Ok((explained.description, explained.options))
}

/// A checked run description and options, with who gave each option.
#[expect(
    missing_debug_implementations,
    reason = "an option that was chosen may be a token"
)]
pub struct Explained {
    /// The run.
    pub description: RunDescription,
    /// The options of the supervisor.
    pub options: SupervisorOptions,
    /// Every option as it was given.
    pub chosen: Vec<ChosenOption>,
}

/// Resolves as [`resolve`] does, and tells who gave each option.
///
/// # Errors
///
/// Every fault of every source.
pub fn explain(
    flags: RunFlags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    current_dir: &Path,
) -> Result<Explained, DescriptionErrors> {
    let environment = Environment::new(environment);
    let mut faults = Faults::default();
    let file = match flags.config.as_deref() {
        Some(path) => Some(Given::text(path, Origin::flag("config"))),
        None => environment.option("STOCKADE_CONFIG", &mut faults),
    };
    let options = supervisor_flags(&flags);
    let chosen = chosen_options(&options, file.as_ref(), &environment);
    let flags = FlagReader {
        layer: Layer::default(),
        faults: &mut faults,
        environment: &environment,
    }
    .layer(flags);
    let sources = Sources {
        flags,
        file,
        options,
        environment: &environment,
        current_dir,
    };
    let (description, options) = crate::description::resolve(sources, faults)?;
    Ok(Explained {
        description,
        options,
        chosen,
    })
}

/// Resolves what confines a command alone from flags and the file `policy`. `program` is the command's own name.
///
/// # Errors
///
/// Every fault of both sources.
#[cfg(feature = "operator")]
pub fn resolve_alone(
    flags: RunFlags,
    policy: Option<&str>,
    program: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    current_dir: &Path,
) -> Result<RunDescription, DescriptionErrors> {
    let environment = Environment::new(environment);
    let mut faults = Faults::default();
    let flags = FlagReader {
        layer: Layer::default(),
        faults: &mut faults,
        environment: &environment,
    }
    .layer(flags);
    let sources = Sources {
        flags,
        file: policy.map(|path| Given::text(path, Origin::flag("policy"))),
        options: BTreeMap::new(),
        environment: &environment,
        current_dir,
    };
    crate::description::resolve_alone(sources, program, faults)
}

fn supervisor_flags(flags: &RunFlags) -> BTreeMap<&'static str, Given> {
    let mut options: BTreeMap<&'static str, Given> = [
        ("config-format", &flags.config_format),
        ("profile-dir", &flags.profile_dir),
        ("credentials-dir", &flags.credentials_dir),
        ("recordings", &flags.recordings),
        ("keep-days", &flags.keep_days),
        ("keep-runs", &flags.keep_runs),
        ("keep-bytes", &flags.keep_bytes),
        ("listen", &flags.listen),
        ("socket", &flags.socket),
        ("token-file", &flags.token_file),
        ("read-token-file", &flags.read_token_file),
        ("log-format", &flags.log_format),
        ("log-level", &flags.log_level),
        ("progress", &flags.progress),
        ("stop-exit-code", &flags.stop_exit_code),
        ("junit", &flags.junit),
    ]
    .into_iter()
    .filter_map(|(flag, text)| {
        let given = Given::text(text.as_deref()?, Origin::flag(flag));
        Some((flag, given))
    })
    .collect();
    if flags.insecure_no_auth {
        let flag = "insecure-no-auth";
        let given = Given {
            value: Value::Bool(true),
            origin: Origin::flag(flag),
        };
        options.insert(flag, given);
    }
    options
}
