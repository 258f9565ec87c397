//! The workload: the run's one sandbox, and every process in it.
//!
//! Owns the launch helper and the sandbox that it built, and turns their blocking calls into futures. It decides nothing:
//! when to signal and when to kill is the session's business. Dropping it kills what is left.

mod apart;
mod reports;

pub use reports::HelperWatch;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use stockade_sandbox::{
    DestroyError, End, GroupReading, Helper, KillError, LaunchError, LaunchId, Policy, Report,
    Sandbox, Surroundings, Taken, Target, Terminal, TerminalSize,
};
use tokio::net::UnixDatagram;

use crate::agent::{Exit, NotStarted, SandboxState};
use crate::event::Isolation;
use crate::event::action::ProcessUsage;
use crate::event::lifecycle::{EnforcedLimit, MissingLayer};
use crate::recordings::RunDir;
use crate::recordings::staging::Staging;
use crate::run::ErrorCode;
use crate::session::start::{Choice, StartError, build};
use crate::status::gauge::{Gauge, Level};

/// Longest wait for the end of the launch helper; milliseconds, with nothing left in the sandbox.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The argument that makes this program the launch helper.
pub const HELPER_ARGUMENT: &str = "sandbox-helper";

/// What killing the rest of the workload gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Killed {
    /// Processes that had to be killed.
    pub killed: u64,
    /// Command names of some of them.
    pub names: Vec<String>,
    /// Why it is not certain that nothing is left; none when it is.
    pub doubt: Option<String>,
}

/// The run's sandbox.
#[derive(Debug)]
pub struct Workload {
    sandbox: Arc<Sandbox>,
    helper: Arc<Helper>,
    /// Only watched; the sandbox reads from its own descriptor of the same socket.
    reports: UnixDatagram,
    /// Taken while the run was paused, for whoever asks next; at most one of each launch that lives.
    kept: VecDeque<Report>,
    /// The group that an engine made around this process; none where the sandbox has one of its own.
    surroundings: Option<Surroundings>,
}

impl Workload {
    /// Starts the launch helper from `program` and builds the sandbox.
    ///
    /// # Errors
    /// When a path of the policy cannot be opened, or the host refuses a layer.
    pub async fn start(
        program: &Path,
        policy: Policy,
        choice: Choice,
        run_dir: Arc<RunDir>,
    ) -> Result<(Self, Option<Staging>), StartError> {
        let program = program.to_owned();
        let build = move || {
            let helper = Helper::spawn(&program, &[HELPER_ARGUMENT]).map_err(StartError::Helper)?;
            let make = || Staging::make(&run_dir);
            let remove = |staging: Staging| staging.remove(&run_dir);
            let (sandbox, staging) = build(&helper, policy, choice, make, remove)?;
            Ok((helper, sandbox, staging))
        };
        let joined = tokio::task::spawn_blocking(build).await;
        let (helper, sandbox, staging) =
            joined.map_err(|error| StartError::Watch(io::Error::other(error)))??;
        let reports = watch(&sandbox).map_err(StartError::Watch)?;
        let has_group = sandbox.group_reading().is_some();
        let workload = Self {
            surroundings: (!has_group).then(Surroundings::find).flatten(),
            sandbox: Arc::new(sandbox),
            helper: Arc::new(helper),
            reports,
            kept: VecDeque::new(),
        };
        Ok((workload, staging))
    }

    /// Whether the workload can connect to a Unix socket of this process's user.
    pub fn reaches_our_sockets(&self) -> bool {
        self.sandbox.reaches_sockets_of_its_starter()
    }

    /// Where the workload finds the egress proxy, if there is one.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        let listener = self.listener()?.try_clone_to_owned().ok()?;
        TcpListener::from(listener).local_addr().ok()
    }

    /// What is enforced, as an event.
    pub fn isolation(&self, requested: &str, network: &str) -> Isolation {
        let enforced = self.sandbox.enforced();
        Isolation {
            requested: requested.to_owned(),
            enforced: wire_name(&enforced.tier),
            layers: enforced.layers.iter().map(wire_name).collect(),
            missing: enforced
                .missing
                .iter()
                .map(|missing| MissingLayer {
                    layer: wire_name(&missing.layer),
                    reason: missing.reason.clone(),
                })
                .collect(),
            network: network.to_owned(),
            landlock_abi: enforced.landlock_abi,
            limits: enforced
                .limits
                .iter()
                .map(|held| EnforcedLimit {
                    limit: wire_name(&held.limit),
                    value: held.value,
                    by: wire_name(&held.by),
                })
                .collect(),
            groups: self.groups(),
        }
    }

    /// Directories of the control group; a path that is no text cannot be named on record, and none of ours is.
    fn groups(&self) -> Vec<String> {
        let directories = self.sandbox.group_directories().into_iter();
        directories
            .filter_map(|directory| directory.into_os_string().into_string().ok())
            .collect()
    }

    /// What the kernel counted for the sandbox; without a control group of its own the kills of the one around it, if that has
    /// a limit. Reads a few small files of the kernel.
    pub fn reading(&self) -> Option<GroupReading> {
        let around = || self.surroundings.as_ref().map(Surroundings::reading);
        self.sandbox.group_reading().or_else(around)
    }

    /// Begins a new peak of memory, and reads what was counted before.
    pub fn begin_peak(&self) -> Option<GroupReading> {
        self.sandbox.begin_peak();
        self.reading()
    }

    /// Reads what the workload takes now, for as long as there is one.
    pub fn gauge(&self) -> Gauge {
        let sandbox = Arc::downgrade(&self.sandbox);
        Gauge::new(move || {
            let reading = sandbox.upgrade()?.group_reading()?;
            Some(Level {
                memory_bytes: reading.memory_bytes?,
                pids: reading.pids?,
            })
        })
    }

    /// The output directory inside the sandbox, if there is one; it can be read when nothing lives there any more.
    pub fn output(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.sandbox.output()
    }

    /// The sides of the workspace, if it is an overlay; they can be read when nothing lives there any more.
    pub fn overlay(&self) -> Option<&stockade_sandbox::Overlay> {
        self.sandbox.overlay()
    }

    /// The listener of the egress proxy inside the sandbox, if there is one.
    pub fn listener(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.sandbox.listener()
    }

    /// Pid of the launch helper, which a sweep has to spare while the run goes on.
    pub fn helper_pid(&self) -> i32 {
        self.helper.pid()
    }

    /// Starts a process.
    ///
    /// # Errors
    /// With the code of the run that follows from it.
    pub async fn launch(&self, launch: stockade_sandbox::Launch) -> Result<LaunchId, NotStarted> {
        self.started(move |sandbox| sandbox.launch(launch)).await
    }

    /// Starts a process whose descendants stay together until it is let go.
    ///
    /// # Errors
    /// As [`Workload::launch`].
    pub async fn launch_kept(
        &self,
        launch: stockade_sandbox::Launch,
    ) -> Result<LaunchId, NotStarted> {
        self.started(move |sandbox| sandbox.launch_kept(launch))
            .await
    }

    async fn started(
        &self,
        start: impl FnOnce(&Sandbox) -> Result<LaunchId, LaunchError> + Send + 'static,
    ) -> Result<LaunchId, NotStarted> {
        let sandbox = Arc::clone(&self.sandbox);
        let launched = tokio::task::spawn_blocking(move || start(&sandbox)).await;
        match launched {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(error)) => Err(NotStarted {
                code: code_of(&error),
                message: chain(&error),
                sandbox: state_after(&error),
            }),
            Err(error) => Err(NotStarted {
                code: ErrorCode::SetupFailed,
                message: error.to_string(),
                sandbox: SandboxState::Lost,
            }),
        }
    }

    /// Sends a signal to every process of the workload, and SIGCONT behind it.
    pub async fn signal_all(&self, signo: i32) -> io::Result<()> {
        self.signal(Target::All, signo).await
    }

    /// Lets everything stand still, and says by what.
    ///
    /// # Errors
    /// When that cannot be done; then everything goes on.
    pub async fn pause(&self) -> io::Result<stockade_sandbox::PauseMeans> {
        self.ask(Sandbox::pause).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the sandbox is gone or does not answer.
    pub async fn resume(&self, means: stockade_sandbox::PauseMeans) -> io::Result<()> {
        self.ask(move |sandbox| sandbox.resume(means)).await
    }

    /// A handle that signals, and keeps nothing alive.
    pub fn signaller(&self) -> Signaller {
        Signaller {
            sandbox: Arc::downgrade(&self.sandbox),
        }
    }

    /// Makes a terminal for a launch.
    ///
    /// # Errors
    /// When the sandbox makes none.
    pub async fn open_terminal(&self, size: TerminalSize) -> io::Result<Terminal> {
        self.ask(move |sandbox| sandbox.open_terminal(size)).await
    }

    /// Signals a kept launch with its descendants.
    pub async fn signal_tree(&self, launch: LaunchId, signo: i32) -> io::Result<()> {
        self.signal(Target::Tree(launch), signo).await
    }

    /// Counts the live processes that descend from a kept launch; none when that cannot be known.
    pub async fn processes_of(&self, launch: LaunchId) -> Option<u32> {
        let count = move |sandbox: &Sandbox| sandbox.processes_of(launch);
        self.ask(count).await.ok()
    }

    /// Kills what a kept launch that has ended left, and lets go of it; gives how many processes could not be ended.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn kill_tree(&self, launch: LaunchId, limit: Duration) -> io::Result<u32> {
        Ok(self.end_tree(launch, limit).await?.left)
    }

    /// Lets go of a kept launch that has ended: what it has left lives on.
    ///
    /// # Errors
    /// When the sandbox does not do it.
    pub async fn let_go(&self, launch: LaunchId) -> io::Result<()> {
        self.ask(move |sandbox| sandbox.let_go(launch)).await
    }

    /// Kills a launch.
    pub async fn kill_launch(&self, launch: LaunchId) -> io::Result<()> {
        self.signal(Target::Launch(launch), nix::libc::SIGKILL)
            .await
    }

    /// Looks at the sandbox from inside; its report comes like that of any launch.
    ///
    /// # Errors
    /// As [`Workload::launch`].
    pub async fn probe(
        &self,
        probe: stockade_sandbox::Probe,
        directory: PathBuf,
        stdio: [OwnedFd; 3],
    ) -> Result<LaunchId, NotStarted> {
        self.started(move |sandbox| sandbox.probe(probe, directory, stdio))
            .await
    }

    async fn signal(&self, target: Target, signo: i32) -> io::Result<()> {
        self.ask(move |sandbox| sandbox.signal(target, signo)).await
    }

    /// Counts the live processes; none when that cannot be known.
    pub async fn processes(&self) -> Option<u32> {
        self.ask(|sandbox| sandbox.processes()).await.ok()
    }

    /// Asks the sandbox, which blocks until it answers.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Sandbox) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let sandbox = Arc::clone(&self.sandbox);
        tokio::task::spawn_blocking(move || question(&sandbox))
            .await
            .map_err(io::Error::other)?
    }

    /// Lets go of the sandbox and waits for the launch helper to end, for at most [`CLOSE_LIMIT`].
    pub async fn close(self) {
        let Self {
            sandbox,
            helper,
            reports,
            kept: _,
            surroundings: _,
        } = self;
        drop(reports);
        let close = tokio::task::spawn_blocking(move || {
            drop(sandbox);
            drop(helper);
        });
        if tokio::time::timeout(CLOSE_LIMIT, close).await.is_err() {
            tracing::warn!("the launch helper did not end in time");
        }
    }

    /// Kills everything, by the in-sandbox init, else by the end of the sandbox itself.
    pub async fn kill_all(&self, limit: Duration) -> Killed {
        let (sandbox, helper) = (Arc::clone(&self.sandbox), Arc::clone(&self.helper));
        let kill = move || match sandbox.kill_all(limit) {
            Ok(report) => Killed {
                killed: u64::from(report.killed),
                names: report.names,
                doubt: (report.left > 0)
                    .then(|| format!("{} processes could not be ended", report.left)),
            },
            Err(error) => destroyed(&error, helper.destroy(&sandbox, limit)),
        };
        let doubt = |error: tokio::task::JoinError| Killed {
            doubt: Some(error.to_string()),
            ..Killed::default()
        };
        tokio::task::spawn_blocking(kill)
            .await
            .unwrap_or_else(doubt)
    }
}

/// Signals a workload and looks at it for as long as there is one.
#[derive(Debug, Clone)]
pub struct Signaller {
    sandbox: Weak<Sandbox>,
}

impl Signaller {
    /// Looks at what the workload takes, for limits that nothing in the kernel holds.
    ///
    /// # Errors
    /// When the sandbox is gone, busy, or cannot tell.
    pub async fn taken(&self, bound: u64) -> io::Result<Taken> {
        let sandbox = self.sandbox.upgrade().ok_or(io::ErrorKind::NotFound)?;
        tokio::task::spawn_blocking(move || sandbox.taken(bound))
            .await
            .map_err(io::Error::other)?
    }

    /// As [`Workload::signal_all`].
    ///
    /// # Errors
    /// When the sandbox is gone.
    pub async fn signal_all(&self, signo: i32) -> io::Result<()> {
        let sandbox = self.sandbox.upgrade().ok_or(io::ErrorKind::NotFound)?;
        tokio::task::spawn_blocking(move || sandbox.signal(Target::All, signo))
            .await
            .map_err(io::Error::other)?
    }
}

fn destroyed(
    why: &KillError,
    destruction: Result<stockade_sandbox::Destruction, DestroyError>,
) -> Killed {
    match destruction {
        // The namespace is gone and everything in it; how many that were nobody counted.
        Ok(_) => Killed::default(),
        Err(error) => Killed {
            doubt: Some(format!("{}; {}", chain(why), chain(&error))),
            ..Killed::default()
        },
    }
}

fn state_after(error: &LaunchError) -> SandboxState {
    match error {
        LaunchError::NotFound { .. }
        | LaunchError::NotExecutable { .. }
        | LaunchError::Refused(_)
        | LaunchError::Invalid(_) => SandboxState::Works,
        LaunchError::NotSent(_) | LaunchError::NoAnswer(_) => SandboxState::Lost,
    }
}

fn code_of(error: &LaunchError) -> ErrorCode {
    match error {
        LaunchError::NotFound { .. } => ErrorCode::CommandNotFound,
        LaunchError::NotExecutable { .. } => ErrorCode::CommandNotExecutable,
        LaunchError::Refused(_)
        | LaunchError::Invalid(_)
        | LaunchError::NotSent(_)
        | LaunchError::NoAnswer(_) => ErrorCode::SetupFailed,
    }
}

/// Watches the sandbox's reports. They come over a packet socket, which is watched like one for datagrams.
fn watch(sandbox: &Sandbox) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::from(sandbox.as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// The name of a tier or layer on the wire.
fn wire_name(named: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(named).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Converts the report of a launch.
pub fn exit_of(report: &Report) -> Exit {
    let (code, signal) = match report.end {
        End::Exited { code } => (Some(i32::from(code)), None),
        End::Signaled { signal, .. } => (None, Some(signal)),
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Exit {
        code,
        signal,
        duration: report.wall(),
        usage: ProcessUsage {
            user_cpu_ms: millis(report.user_cpu),
            system_cpu_ms: millis(report.system_cpu),
            max_rss_bytes: report.max_rss_bytes,
            wait_status: Some(report.status),
            ..ProcessUsage::default()
        },
        oom: None,
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
