//! The run description: what a run is, from file, environment and flags, checked once and then only read.
//!
//! It owns the schema, the precedence of the sources and every check; it never starts anything and never reads the
//! process's environment or arguments by itself. Invariant: a [`RunDescription`] that exists is valid.

pub mod credentials;
pub mod error;
pub mod hand_over;
pub mod keys;
pub mod listen;
pub mod option_sources;
pub mod origin;
pub mod schema;
pub mod secret;
pub mod service;
pub mod settings;
pub mod sight;
pub mod supervisor;
pub mod variables;

#[cfg(feature = "operator")]
mod alone;
mod arguments;
mod bounds;
mod artifacts;
mod checker;
mod credential_directory;
mod environment;
mod earlier;
mod file;
mod guardrails;
mod hooks;
mod isolation;
mod layers;
mod limits;
mod maps;
mod mounts;
mod places;
mod network;
mod output;
mod playbook;
mod preset;
mod profile;
mod public;
pub(crate) mod quantity;
mod resolution;
mod seed;
mod services;
mod spelling;
mod value;

#[cfg(test)]
pub(crate) mod standard;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::egress::BlockList;
use crate::guardrail::Guardrails;
use crate::run::RunId;

pub use credentials::{Credential, CredentialSource, Expose};
pub use earlier::{EarlierStep, Resumed};
pub use error::{DescriptionError, DescriptionErrors, ErrorClass, ErrorKind};
pub use hand_over::HandOver;
pub use isolation::Requirement;
pub use listen::Listen;
pub use origin::Origin;
pub use playbook::{MAX_PLAYBOOKS, PlaybookRun};
pub use preset::ChosenPreset;
pub use secret::Secret;
pub use service::{Hooks, Service};
pub use services::MAX_SERVICES;
pub use settings::{
    Access, Adapter, ArtifactSecrets, Artifacts, Durability, Isolation, Limits, Mount, MountKey,
    Network, OnError, OnFull, Output, Recording, Tmpfs, WorkspaceMode,
};
pub use supervisor::{Authentication, LogFormat, LogLevel, Socket, SupervisorOptions};

#[cfg(feature = "operator")]
pub(crate) use alone::resolve_alone;
pub(crate) use checker::is_variable_name;
pub(crate) use environment::Environment;
pub(crate) use layers::{Faults, Layer};
pub(crate) use maps::MAX_ARGUMENT_BYTES;
pub(crate) use resolution::{Sources, resolve};
pub(crate) use spelling::closest;
pub(crate) use value::{Given, Value, shown_name};

/// One run, described and checked.
///
/// `Debug` shows what [`RunDescription::public`] shows. Serialising one with credentials is an error: [`HandOver`] does it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDescription {
    /// The run's id, given or minted.
    pub run_id: RunId,
    /// What the agent is asked to do; 1 to 10,000 characters.
    pub task: Option<String>,
    /// The program and its arguments, the program's name not empty; empty only where there is a playbook.
    pub command: Vec<String>,
    /// The playbook that runs in the place of a command.
    pub playbook: Option<PlaybookRun>,
    /// How the command's output becomes actions.
    pub adapter: Adapter,
    /// The directory that the workload works in: absolute, existing, links resolved, not `/`.
    pub workspace: PathBuf,
    /// What the workload may do with the workspace.
    pub workspace_mode: WorkspaceMode,
    /// The directory in which each launch begins, as the workload sees it: absolute.
    pub chdir: PathBuf,
    /// Environment variables of the workload.
    pub env: BTreeMap<String, String>,
    /// Secrets of the run, by name; no name is also in `env`.
    pub credentials: BTreeMap<String, Credential>,
    /// The profile that it is based on.
    pub profile: Option<String>,
    /// Marks of the orchestrator.
    pub labels: BTreeMap<String, String>,
    /// The deadline of the run, from its start.
    pub timeout: Duration,
    /// How long no event may be recorded; absent when there is no such limit.
    pub idle_timeout: Option<Duration>,
    /// How long a stop may take in all.
    pub grace: Duration,
    /// How long the agent has to end by itself once a stop was told it; absent when it is not told.
    pub stop_message: Option<Duration>,
    /// How long the terminal status stays readable.
    pub linger: Duration,
    /// The most actions.
    pub max_steps: u32,
    /// When an agent fails again and again, or goes in circles.
    pub guardrails: Guardrails,
    /// Whether each launch gets a terminal of its own.
    pub tty: bool,
    /// Whether the workload reads what is typed or piped into the run.
    pub interactive: bool,
    /// The limits of the workload.
    pub limits: Limits,
    /// What the workload reaches.
    pub network: Network,
    /// Names that the egress proxy denies whatever `network` allows; empty unless it is the way out, or none is.
    pub blocked_domains: BlockList,
    /// The tier that is built.
    pub isolation: Isolation,
    /// What must hold in it.
    pub requirement: Requirement,
    /// The preset.
    pub preset: ChosenPreset,
    /// More files and directories of the host.
    pub mounts: Vec<Mount>,
    /// Directories in memory; no target is also that of a mount.
    pub tmpfs: Vec<Tmpfs>,
    /// The user id that the workload sees as its own; absent for the usual one.
    pub uid: Option<u32>,
    /// The group id that it sees as its own.
    pub gid: Option<u32>,
    /// Programs beside the agent, in the order in which they start; each name once.
    pub services: Vec<Service>,
    /// Commands at moments of the run.
    pub hooks: Hooks,
    /// The result that the run has to give; absent when any end that succeeds is one.
    pub output: Option<Output>,
    /// How the run is recorded.
    pub recording: Recording,
    /// What is kept of the files that the workload leaves.
    pub artifacts: Artifacts,
    /// Where each value that somebody set came from, by dotted key, and for maps by `key.name` as well.
    pub origins: BTreeMap<String, Origin>,
}

impl RunDescription {
    /// The secrets of the run with their names: its credentials and the secret parameters of its playbook.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &Secret)> {
        let credentials = self.credentials.iter();
        let credentials = credentials.map(|(name, credential)| (name.as_str(), &credential.secret));
        let playbook = self.playbook.iter();
        credentials.chain(playbook.flat_map(PlaybookRun::secrets))
    }

    /// Everything of the host that the workload sees beside the workspace and the system directories.
    pub fn shown(&self) -> Vec<Mount> {
        let of_preset = self.preset.mounts.iter();
        self.mounts.iter().chain(of_preset).cloned().collect()
    }

    /// Where the value of a dotted key came from; `Unset` when nobody set it.
    pub fn origin_of(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Unset)
    }

    /// Whether somebody set the key, be it to its default.
    pub fn is_explicit(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// How many keys somebody set; the entries of a map are one.
    pub fn n_explicit_keys(&self) -> usize {
        let is_key = |name: &&String| keys::Key::find(name).is_some();
        self.origins.keys().filter(is_key).count()
    }
}
