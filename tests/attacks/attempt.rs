//! What an attempt is: something that a sandbox must not allow, beside the nearest thing that it must.
//!
//! Owns the form of the table and the names in it. Runs nothing.

use std::path::{Path, PathBuf};

use super::stage::Stage;

/// The kinds of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Files,
    Privileges,
    Processes,
    Kernel,
    Network,
    Resources,
    Life,
    Terminals,
    Descriptors,
    Environment,
    Output,
    Artifacts,
}

impl Class {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Files,
        Self::Privileges,
        Self::Processes,
        Self::Kernel,
        Self::Network,
        Self::Resources,
        Self::Life,
        Self::Terminals,
        Self::Descriptors,
        Self::Environment,
        Self::Output,
        Self::Artifacts,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "fs",
            Self::Privileges => "priv",
            Self::Processes => "proc",
            Self::Kernel => "kernel",
            Self::Network => "net",
            Self::Resources => "resource",
            Self::Life => "life",
            Self::Terminals => "tty",
            Self::Descriptors => "fd",
            Self::Environment => "env",
            Self::Output => "output",
            Self::Artifacts => "artifact",
        }
    }
}

/// A run in which attempts are made, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// Nothing but the defaults.
    Plain,
    /// Few processes. An attempt may end the run.
    Pids,
    /// Few threads. An attempt may end the run.
    Threads,
    /// Little disk.
    Limits,
    /// Little memory. An attempt may end the run.
    Memory,
    /// Little memory, of which files take a part. An attempt may end the run.
    SharedMemory,
    /// Started from a terminal.
    Operator,
    /// The workload has a terminal of its own.
    OwnTerminal,
    /// The network is open to one address.
    Proxy,
    /// Processes that stay behind.
    Survivors,
    /// The first process of the sandbox is killed.
    Suicide,
    /// It is stopped.
    StopFirst,
    /// It is sent every signal.
    Storm,
    /// Every process is killed that can be.
    Everyone,
    /// Output, with a secret that the workload has.
    Output,
    /// Artifacts.
    Artifacts,
    /// The recordings lie in the workspace.
    Hidden,
    /// The workspace and a mount beside it can only be read.
    ReadOnly,
    /// The workspace may be changed and stays as it was.
    Overlay,
    /// Little disk. An attempt ends the run.
    Disk,
    /// A step of a playbook.
    Step,
    /// A result and artifacts that the supervisor takes from the workspace.
    Result,
}

impl Round {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Plain,
        Self::Pids,
        Self::Threads,
        Self::Limits,
        Self::Memory,
        Self::SharedMemory,
        Self::Operator,
        Self::OwnTerminal,
        Self::Proxy,
        Self::Survivors,
        Self::Suicide,
        Self::StopFirst,
        Self::Storm,
        Self::Everyone,
        Self::Output,
        Self::Artifacts,
        Self::Hidden,
        Self::ReadOnly,
        Self::Overlay,
        Self::Disk,
        Self::Step,
        Self::Result,
    ];

    /// Whether an attempt may be the end of those behind it.
    pub fn may_end_early(self) -> bool {
        match self {
            Self::Pids
            | Self::Threads
            | Self::Memory
            | Self::SharedMemory
            | Self::Disk
            | Self::Suicide
            | Self::StopFirst
            | Self::Storm
            | Self::Everyone
            | Self::Step => true,
            Self::Plain
            | Self::Limits
            | Self::Operator
            | Self::OwnTerminal
            | Self::Proxy
            | Self::Survivors
            | Self::Output
            | Self::Artifacts
            | Self::Hidden
            | Self::ReadOnly
            | Self::Overlay
            | Self::Result => false,
        }
    }
}

/// Who gets through without a sandbox, which shows that an attempt is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// An ordinary user.
    Anyone,
    /// Root.
    Root,
    /// Not asserted, and why.
    Unproven(&'static str),
}

/// What the host finds after a round; `Some` says what.
pub type Finding = fn(&Scene<'_>) -> Option<String>;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub class: Class,
    pub name: &'static str,
    /// A verb of the probe and its arguments, with facts of the stage in braces.
    pub attack: &'static str,
    /// The same for the nearest thing that must work.
    pub twin: &'static str,
    pub round: Round,
    pub control: Control,
    /// What shows that the attack succeeded; without it what the probe was answered.
    pub damage: Option<Finding>,
    /// What shows that the twin worked, beside what the probe was answered.
    pub trace: Option<Finding>,
}

impl Attempt {
    /// An attempt that everybody succeeds with who is not confined.
    pub const fn new(
        class: Class,
        name: &'static str,
        attack: &'static str,
        twin: &'static str,
    ) -> Self {
        Self {
            class,
            name,
            attack,
            twin,
            round: Round::Plain,
            control: Control::Anyone,
            damage: None,
            trace: None,
        }
    }

    /// Only root gets through unconfined.
    pub const fn root(mut self) -> Self {
        self.control = Control::Root;
        self
    }

    /// Nothing is asserted of the control, because of `why`.
    pub const fn unproven(mut self, why: &'static str) -> Self {
        self.control = Control::Unproven(why);
        self
    }

    /// It is made in that round.
    pub const fn round(mut self, round: Round) -> Self {
        self.round = round;
        self
    }

    /// It succeeded when the host finds that.
    pub const fn damage(mut self, damage: Finding) -> Self {
        self.damage = Some(damage);
        self
    }

    /// The twin worked only when the host finds that.
    pub const fn trace(mut self, trace: Finding) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Its name with that of its class.
    pub fn id(&self) -> String {
        format!("{}.{}", self.class.name(), self.name)
    }

    /// The name of its twin.
    pub fn twin_id(&self) -> String {
        format!("{}+", self.id())
    }
}

/// What is left when a round has ended.
pub struct Scene<'a> {
    pub stage: &'a Stage,
    /// The run's directory; nothing is there without a supervisor.
    pub recording: PathBuf,
    /// All that the command printed, its workload and its log lines.
    pub printed: String,
    /// The binary under attack.
    pub binary: &'a Path,
    /// The exit code of the command that was started; none when a signal ended it.
    pub exit_code: Option<i32>,
}

impl Scene<'_> {
    /// A file of the run, as text; empty when there is none.
    pub fn recorded(&self, name: &str) -> String {
        let bytes = std::fs::read(self.recording.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The run's status.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.recorded("status.json")).unwrap_or_default()
    }

    /// Whether a file of the run, at any depth, has `text`.
    pub fn is_recorded(&self, text: &str) -> Option<String> {
        files_below(&self.recording).into_iter().find_map(|path| {
            let bytes = std::fs::read(&path).ok()?;
            let found = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            found.then(|| path.display().to_string())
        })
    }
}

/// Every regular file below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}
