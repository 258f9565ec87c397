//! Services and hooks as the description has them: programs of the sandbox that are not the agent.
//!
//! It is data alone. How they are checked is `services.rs`'s and `hooks.rs`'s business, how they are run the session's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A program that runs beside the agent, in its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, once in a run: a label of 1 to 63 characters.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables beside those of the workload, which they win over.
    pub env: BTreeMap<String, String>,
    /// When it is ready; without it, as soon as it was started.
    pub ready: Option<Readiness>,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// How often it is started again in one run.
    pub max_restarts: u32,
    /// What asks it to end.
    pub stop_signal: StopSignal,
    /// How long it then has.
    pub stop_grace: Duration,
    /// Whether the run fails without it.
    pub required: bool,
}

/// Commands that run at one moment of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// When a stop begins, before the agent is asked to end.
    pub pre_stop: Option<Hook>,
    /// After the agent has ended, while services run.
    pub post_run: Option<Hook>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hooks {
    /// The hooks under the names of the file.
    pub(super) fn public(&self) -> Value {
        let command = |hook: &Option<Hook>| hook.as_ref().map(|hook| hook.command.clone());
        let seconds = |hook: &Option<Hook>| hook.as_ref().map(|hook| hook.timeout.as_secs());
        json!({
            "pre_stop": command(&self.pre_stop),
            "pre_stop_seconds": seconds(&self.pre_stop),
            "post_run": command(&self.post_run),
            "post_run_seconds": seconds(&self.post_run),
        })
    }
}

/// When a service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What is looked at.
    pub check: ReadyCheck,
    /// How long it may take, from each start.
    pub timeout: Duration,
}

/// What shows that a service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyCheck {
    /// A command that exits with 0.
    Exec(Vec<String>),
    /// A URL of the loopback that answers with a status below 400.
    Http(String),
    /// A port of the loopback that accepts a connection.
    Tcp(u16),
    /// A path at which anything is.
    File(String),
}

/// What happens when a service ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It stays away.
    #[default]
    Never,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It is started again.
    Always,
}

/// A signal that asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    #[serde(rename = "TERM")]
    Term,
    /// SIGINT.
    #[serde(rename = "INT")]
    Int,
    /// SIGHUP.
    #[serde(rename = "HUP")]
    Hup,
    /// SIGQUIT.
    #[serde(rename = "QUIT")]
    Quit,
    /// SIGUSR1.
    #[serde(rename = "USR1")]
    Usr1,
    /// SIGUSR2.
    #[serde(rename = "USR2")]
    Usr2,
    /// SIGKILL, for a program that needs no asking.
    #[serde(rename = "KILL")]
    Kill,
}

impl StopSignal {
    /// Its number (signal(7)).
    pub fn number(self) -> i32 {
        match self {
            Self::Term => nix::libc::SIGTERM,
            Self::Int => nix::libc::SIGINT,
            Self::Hup => nix::libc::SIGHUP,
            Self::Quit => nix::libc::SIGQUIT,
            Self::Usr1 => nix::libc::SIGUSR1,
            Self::Usr2 => nix::libc::SIGUSR2,
            Self::Kill => nix::libc::SIGKILL,
        }
    }
}

impl Service {
    /// The service under the names of the file.
    pub(super) fn public(&self) -> Value {
        let mut view = json!({
            "name": self.name,
            "command": self.command,
            "env": self.env,
            "restart": self.restart,
            "max_restarts": self.max_restarts,
            "stop_signal": self.stop_signal,
            "stop_grace_seconds": self.stop_grace.as_secs(),
            "required": self.required,
        });
        if let (Some(view), Some(ready)) = (view.as_object_mut(), &self.ready) {
            let timeout = ready.timeout.as_secs();
            let ready = match &ready.check {
                ReadyCheck::Exec(command) => json!({"exec": command, "timeout_seconds": timeout}),
                ReadyCheck::Http(url) => json!({"http": url, "timeout_seconds": timeout}),
                ReadyCheck::Tcp(port) => json!({"tcp": port, "timeout_seconds": timeout}),
                ReadyCheck::File(path) => json!({"file": path, "timeout_seconds": timeout}),
            };
            view.insert("ready".to_owned(), ready);
        }
        view
    }
}
