//! From sources to a description: the layers are laid over each other, then every key is checked in the order of the table.
//!
//! It finds all faults in one pass, and gives a description only if there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::MAX_ARGUMENTS;
use super::checker::{Checker, StandardInput, Unit, plain_text};
use super::credential_directory::CredentialDirectory;
use super::environment::{self, Environment};
use super::error::{DescriptionErrors, ErrorKind};
use super::file::Described;
use super::keys::{KEYS, Key, Support};
use super::layers::{Faults, Layer};
use super::mounts::writable_places;
use super::origin::Origin;
use super::playbook::Replacement;
use super::settings::{
    Adapter, Durability, Isolation, Mount, MountKey, Network, OnError, OnFull, Recording,
    WorkspaceMode,
};
use super::sight::Sight;
use super::supervisor::{self, SupervisorOptions};
use super::value::{Given, Value};
use super::{RunDescription, bounds, file, profile};
use crate::document::Format;
use crate::run::RunId;

/// Longest task, in characters.
const MAX_TASK_CHARS: usize = 10_000;
/// Longest deadline and idle limit: a week.
const MAX_TIMEOUT_SECONDS: u64 = 7 * 86_400;
/// Longest grace and linger: an hour.
const MAX_GRACE_SECONDS: u64 = 3_600;

/// `max_steps` where nobody gives it.
pub(super) const DEFAULT_MAX_STEPS: u64 = 50;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Everything that a description is made from.
pub(crate) struct Sources<'a> {
    /// The keys that flags and arguments set.
    pub(crate) flags: Layer,
    /// The file that `--config` or `STOCKADE_CONFIG` names.
    pub(crate) file: Option<Given>,
    /// The options of the supervisor that flags set, by the flag's name.
    pub(crate) options: BTreeMap<&'static str, Given>,
    /// The environment of the process.
    pub(crate) environment: &'a Environment,
    /// The directory that relative paths begin at, absolute.
    pub(crate) current_dir: &'a Path,
}

/// Resolves the sources; `faults` are those that reading the flags has found.
///
/// # Errors
///
/// All faults of all sources, and where the failure can be recorded.
pub(crate) fn resolve(
    mut sources: Sources<'_>,
    mut faults: Faults,
) -> Result<(RunDescription, SupervisorOptions), DescriptionErrors> {
    let mut stronger = file_layer(&mut sources, &mut faults);
    stronger.overlay(environment::layer(sources.environment, &mut faults));
    stronger.overlay(std::mem::take(&mut sources.flags));
    let mut layer = profile::layer(&stronger, &mut sources, &mut faults);
    layer.overlay(stronger);
    let origins = layer.origins();
    let credential_directory = CredentialDirectory::of(&mut sources, &mut faults);
    let mut checker = Checker {
        layer,
        faults: &mut faults,
        environment: sources.environment,
        current_dir: sources.current_dir,
        credential_directory,
        stdin: match sources.file.as_ref().and_then(plain_text) {
            Some(file::STDIN) => StandardInput::Description,
            _ => StandardInput::Unread,
        },
    };
    let run_id = checker.run_id();
    let earlier_runs =
        supervisor::recordings(&sources.options, sources.environment, sources.current_dir);
    let description = checker.description(
        run_id.clone().unwrap_or_else(RunId::mint),
        origins,
        earlier_runs.as_deref(),
    );
    bounds::check(&description, &mut faults);
    let (isolation, workspace) = (description.isolation, &description.workspace);
    let sight = Sight::of(isolation, workspace, &description.shown());
    if let Some(given) = sources.options.get("junit")
        && description.playbook.is_none()
        && faults.is_empty()
    {
        let expected = "give --playbook, too: only a playbook has such a report";
        faults.add(ErrorKind::Conflict, "junit", given, expected);
    }
    let (recordings, options) = supervisor::options(
        sources.options,
        sources.environment,
        sources.current_dir,
        &sight,
        &mut faults,
    );
    match options {
        Some(options) if faults.is_empty() => Ok((description, options)),
        _ => {
            let secrets: Vec<_> = description.secrets().map(|(_, s)| s.clone()).collect();
            let errors = DescriptionErrors {
                errors: faults.into_errors(),
                run_id,
                recordings,
            };
            Err(errors.mask(&secrets))
        }
    }
}

fn file_layer(sources: &mut Sources<'_>, faults: &mut Faults) -> Layer {
    let format = file_format(sources, faults);
    let Some(given) = &sources.file else {
        return Layer::default();
    };
    let described = Described {
        key: "config",
        given,
        shown_path: plain_text(given).unwrap_or_default(),
        format,
    };
    file::layer(&described, sources.current_dir, faults)
}

/// The format that somebody named, for a file whose ending does not say it.
fn file_format(sources: &mut Sources<'_>, faults: &mut Faults) -> Option<Format> {
    let given = sources.options.remove("config-format")?;
    let format = match plain_text(&given) {
        Some("toml") => Some(Format::Toml),
        Some("yaml") => Some(Format::Yaml),
        Some("json") => Some(Format::Json),
        _ => None,
    };
    if format.is_none() {
        let expected = r#"give "toml", "yaml" or "json""#;
        faults.add(ErrorKind::Invalid, "config-format", &given, expected);
    }
    format
}

impl Checker<'_> {
    pub(super) fn description(
        &mut self,
        run_id: RunId,
        origins: BTreeMap<String, Origin>,
        recordings: Option<&Path>,
    ) -> RunDescription {
        self.refuse_unsupported();
        let task = self.task();
        let playbook = self.playbook(task.as_deref(), recordings);
        let command = match playbook {
            Replacement::Given(_) => Vec::new(),
            Replacement::Absent => self.command(),
        };
        let adapter = self.choice(
            "adapter",
            &[
                "claude-code",
                "codex",
                "gemini",
                "opencode",
                "mini-swe-agent",
            ],
            Adapter::default(),
        );
        let workspace = self.workspace();
        let workspace_mode = self.choice("workspace_mode", &[], WorkspaceMode::ReadWrite);
        let chdir = self.chdir(&workspace);
        let env = self.environment_variables();
        let credentials = self.credentials(&env);
        let profile = self.profile();
        let labels = self.labels();
        let seconds = Unit::Seconds;
        let timeout = self.number("timeout_seconds", seconds, 1..=MAX_TIMEOUT_SECONDS, 600);
        let idle = self.number("idle_timeout_seconds", seconds, 0..=MAX_TIMEOUT_SECONDS, 0);
        let grace = self.number("grace_seconds", seconds, 1..=MAX_GRACE_SECONDS, 8);
        let stop_message = self.number("stop_message_seconds", seconds, 0..=grace, 0);
        let linger = self.number("linger_seconds", seconds, 0..=MAX_GRACE_SECONDS, 0);
        let max_steps = self.number("max_steps", Unit::Count, 1..=1_000_000, DEFAULT_MAX_STEPS);
        let guardrails = self.guardrails(max_steps, &origins);
        let tty = self.tty(adapter);
        let interactive = self.switch("interactive", false);
        let limits = self.limits();
        let (isolation, requirement) = self.isolation();
        let (uid, gid) = (self.id("uid"), self.id("gid"));
        let (network, mounts) = self.confinement(isolation, (&workspace, workspace_mode), &origins);
        let blocked_domains = self.blocked_domains(&network);
        let tmpfs = self.tmpfs(&mounts);
        if isolation == Isolation::None {
            let target = tmpfs.first().map(|one| one.target.display().to_string());
            self.refuse_unenforced("tmpfs", target, &origins);
            self.refuse_unenforced("uid", uid.map(|id| id.to_string()), &origins);
            self.refuse_unenforced("gid", gid.map(|id| id.to_string()), &origins);
        }
        let preset = self.preset(
            isolation,
            &mounts,
            &tmpfs,
            &writable_places(workspace_mode.writable(&workspace), &mounts),
        );
        let services = self.services(grace);
        let hooks = self.hooks(grace);
        RunDescription {
            run_id,
            task,
            command,
            playbook: playbook.into_run(),
            adapter,
            workspace,
            workspace_mode,
            chdir,
            env,
            credentials,
            profile,
            labels,
            timeout: Duration::from_secs(timeout),
            idle_timeout: (idle > 0).then(|| Duration::from_secs(idle)),
            grace: Duration::from_secs(grace),
            stop_message: (stop_message > 0).then(|| Duration::from_secs(stop_message)),
            linger: Duration::from_secs(linger),
            max_steps: u32::try_from(max_steps).unwrap_or(u32::MAX),
            tty,
            interactive,
            guardrails,
            limits,
            network,
            blocked_domains,
            isolation,
            requirement,
            preset,
            mounts,
            tmpfs,
            uid,
            gid,
            services,
            hooks,
            output: self.output(workspace_mode.access()),
            recording: self.recording(),
            artifacts: self.artifacts(),
            origins,
        }
    }

    fn refuse_unsupported(&mut self) {
        for key in KEYS {
            let Support::Unsupported { since } = key.support else {
                continue;
            };
            if let Some(given) = self.layer.take(key) {
                let expected = format!("leave it out; it is planned for {since}");
                self.faults
                    .add(ErrorKind::Unsupported, key.name, &given, expected);
            }
        }
    }

    /// An adapter reads lines of standard output, and a terminal has no standard output.
    fn tty(&mut self, adapter: Adapter) -> bool {
        let given = Key::find("tty").and_then(|key| self.layer.get(key).cloned());
        let tty = self.switch("tty", false);
        if let (true, Some(given), Adapter::Jsonl) = (tty, given, adapter) {
            let expected = "an adapter cannot read from a terminal; leave one of the two out";
            self.faults
                .add(ErrorKind::Conflict, "tty", &given, expected);
        }
        tty
    }

    /// The given run id, or a minted one; `None` if the given one is bad.
    fn run_id(&mut self) -> Option<RunId> {
        let Some((key, given)) = self.take("run_id") else {
            return Some(RunId::mint());
        };
        let run_id = plain_text(&given).and_then(|text| text.parse().ok());
        if run_id.is_none() {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
        }
        run_id
    }

    fn task(&mut self) -> Option<String> {
        let (key, given) = self.take("task")?;
        let Some(task) = plain_text(&given) else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return None;
        };
        if task.trim().is_empty() || task.chars().count() > MAX_TASK_CHARS {
            self.faults
                .add_by_table(ErrorKind::OutOfBounds, key, &given);
        }
        Some(task.to_owned())
    }

    fn command(&mut self) -> Vec<String> {
        let Some((key, given)) = self.take("command") else {
            self.require_command();
            return Vec::new();
        };
        let Value::List(items) = &given.value else {
            self.faults.add_by_table(ErrorKind::Invalid, key, &given);
            return Vec::new();
        };
        if items.is_empty() || items.len() > MAX_ARGUMENTS {
            self.faults
                .add_by_table(ErrorKind::OutOfBounds, key, &given);
        }
        self.arguments(key.name, items)
    }

    /// A description without a command is at fault, unless what stands in its place or may give it is refused already.
    fn require_command(&mut self) {
        if self
            .faults
            .has_any(&["command", "playbook", "agent", "config", "profile"])
        {
            return;
        }
        let expected = "give the program and its arguments after --, as command in the file, or as a JSON list in STOCKADE_COMMAND";
        self.faults
            .add_without_value(ErrorKind::Missing, "command", &Origin::Arguments, expected);
    }

    fn workspace(&mut self) -> PathBuf {
        let unset = || Given::text(self.current_dir.to_string_lossy(), Origin::Unset);
        let given = match self.take("workspace") {
            Some((_, given)) => given,
            None => unset(),
        };
        let expected = "give an existing directory other than /";
        let Some(path) = plain_text(&given).filter(|path| !path.is_empty()) else {
            self.faults
                .add(ErrorKind::Invalid, "workspace", &given, expected);
            return PathBuf::new();
        };
        let kind = match self.existing(&self.absolute(path, &given.origin)) {
            Ok(path) if path == Path::new("/") => ErrorKind::OutOfBounds,
            Ok(path) if path.is_dir() => return path,
            Ok(_) => ErrorKind::Unusable {
                cause: "not a directory".to_owned(),
            },
            Err(kind) => kind,
        };
        self.faults.add(kind, "workspace", &given, expected);
        PathBuf::new()
    }

    /// Network and mounts. What only isolation could enforce is refused where there is none.
    fn confinement(
        &mut self,
        isolation: Isolation,
        (workspace, workspace_mode): (&Path, WorkspaceMode),
        origins: &BTreeMap<String, Origin>,
    ) -> (Network, Vec<Mount>) {
        let network = self.network();
        let is_network_named =
            origins.contains_key("network") && !self.faults.has_any(&["network"]);
        let mounts = self.mounts(workspace_mode.writable(workspace));
        if (isolation, workspace_mode) == (Isolation::Container, WorkspaceMode::Overlay) {
            let origin = origins.get("workspace_mode").cloned();
            let given = Given::text("overlay", origin.unwrap_or(Origin::Unset));
            let expected = "isolation = \"container\" has no mounts to make one of; give \"read-write\" or \"read-only\", or leave isolation at \"best\"";
            self.faults
                .add(ErrorKind::Unsupported, "workspace_mode", &given, expected);
        }
        if isolation != Isolation::None {
            return (network, mounts);
        }
        let mut refuse = |key: &str, value: &str, remedy: &str| {
            let origin = origins.get(key).cloned().unwrap_or(Origin::Unset);
            let given = Given::text(value, origin);
            let expected = format!("with isolation = \"none\" nothing enforces it; {remedy}");
            self.faults.add(ErrorKind::Conflict, key, &given, expected);
        };
        let needs_namespace = match &network {
            Network::None => Some("none"),
            Network::Allow(_) => Some("allow"),
            Network::Host => None,
        };
        if let (true, Some(value)) = (is_network_named, needs_namespace) {
            refuse(
                "network",
                value,
                "give \"host\", or leave isolation at \"best\"",
            );
        }
        let confined_mode = match workspace_mode {
            WorkspaceMode::ReadWrite => None,
            WorkspaceMode::ReadOnly => Some("read-only"),
            WorkspaceMode::Overlay => Some("overlay"),
        };
        if let Some(mode) = confined_mode {
            refuse(
                "workspace_mode",
                mode,
                "give \"read-write\", or leave isolation at \"best\"",
            );
        }
        let leave_out = "give none, or leave isolation at \"best\"";
        if let Some(mount) = mounts.first() {
            let key = match mount.key {
                MountKey::Mounts => "mounts",
                MountKey::Ro => "ro",
                MountKey::Rw => "rw",
            };
            refuse(key, &mount.target.to_string_lossy(), leave_out);
        }
        (Network::Host, mounts)
    }

    fn recording(&mut self) -> Recording {
        Recording {
            durability: self.choice("recording.durability", &[], Durability::default()),
            segment_bytes: self.number(
                "recording.segment_bytes",
                Unit::Bytes,
                MIB..=16 * GIB,
                256 * MIB,
            ),
            on_error: self.choice("recording.on_error", &[], OnError::default()),
            on_full: self.choice("recording.on_full", &[], OnFull::default()),
            terminal: self.switch("recording.terminal", true),
            terminal_bytes: self.number(
                "recording.terminal_bytes",
                Unit::Bytes,
                64 * KIB..=16 * GIB,
                64 * MIB,
            ),
        }
    }
}
