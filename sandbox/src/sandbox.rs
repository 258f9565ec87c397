//! A sandbox that is built: the supervisor's side of the in-sandbox init.
//!
//! Owns the two sockets to the init. Never starts a process of its own.
//! Invariant: when the handle is dropped the init sees both sockets close, kills everything and ends.

use crate::caller::{CallError, Caller};
use crate::cgroup::{ControlGroup, GroupReading};
use crate::failure::Failure;
use crate::launch::{Launch, LaunchError};
use crate::layer::{Enforced, Tier};
use crate::pausing::PauseMeans;
use crate::probe::Probe;
use crate::protocol::{
    HandedOver, InitAnswer, InitRequest, LaunchId, LaunchSpec, Overlay, Report, Target,
};
use crate::sweep::KillReport;
use crate::sys::signal;
use crate::taken::Taken;
use crate::terminal::{self, Terminal, TerminalSize};
use crate::wire::{self, Deadline, Received};
use nix::libc;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

/// Time for the answer to a launch: the init gives an exec 5 s.
const LAUNCH_LIMIT: Duration = Duration::from_secs(7);

/// Time for the answer to a signal or a count, which takes the init well below a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Time for the answer to a pause: the init gives it 1 s.
const PAUSE_LIMIT: Duration = Duration::from_secs(3);

/// Why killing everything could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The init did not answer in time or is gone: destroy the sandbox through its launch helper.
    #[error("the sandbox did not answer the order to kill everything")]
    NoAnswer(#[source] io::Error),
    /// The init could not do it: destroy the sandbox through its launch helper.
    #[error("the sandbox could not kill everything")]
    Failed(#[source] Failure),
}

/// A sandbox, in which everything that the agent starts is launched.
#[derive(Debug)]
pub struct Sandbox {
    control: Caller,
    reports: OwnedFd,
    init_pid: i32,
    enforced: Enforced,
    handed_over: HandedOver,
    has_id_of_starter: bool,
    /// Last, because a group can be removed only when the sockets are closed and the init has ended.
    group: Option<ControlGroup>,
}

impl Sandbox {
    pub(crate) fn new(
        control: OwnedFd,
        reports: OwnedFd,
        init_pid: i32,
        enforced: Enforced,
        handed_over: HandedOver,
    ) -> Self {
        Self {
            control: Caller::new(control),
            reports,
            init_pid,
            enforced,
            handed_over,
            has_id_of_starter: false,
            group: None,
        }
    }

    /// The same, with or without the id of whoever started the launch helper.
    pub(crate) fn with_id_of_starter(self, has_id_of_starter: bool) -> Self {
        Self {
            has_id_of_starter,
            ..self
        }
    }

    /// Tells whether the workload can connect to Unix sockets that whoever started the launch helper keeps to itself: in a
    /// container with the same id, where the kernel's Landlock has no rule for that.
    #[must_use]
    pub fn reaches_sockets_of_its_starter(&self) -> bool {
        const WITH_RULE: u32 = 9;
        self.enforced.tier == Tier::Container
            && self.has_id_of_starter
            && self.enforced.landlock_abi < Some(WITH_RULE)
    }

    /// The same with its control group.
    pub(crate) fn with_group(self, group: Option<ControlGroup>) -> Self {
        Self { group, ..self }
    }

    /// Returns what the kernel counted for the sandbox, if it has a control group. A few small files are read.
    #[must_use]
    pub fn group_reading(&self) -> Option<GroupReading> {
        self.group.as_ref().map(ControlGroup::read)
    }

    /// Begins a new peak of memory where the kernel can: version 1, and version 2 from Linux 6.12 on.
    pub fn begin_peak(&self) {
        if let Some(group) = &self.group {
            group.begin_peak();
        }
    }

    /// Returns the directories of the control group, for whoever has to remove them when everything else is dead; see
    /// [`remove_recorded_groups`](crate::remove_recorded_groups).
    #[must_use]
    pub fn group_directories(&self) -> Vec<PathBuf> {
        self.group
            .as_ref()
            .map(ControlGroup::directories)
            .unwrap_or_default()
    }

    /// Kills all that is in the control group, in an isolated sandbox its init as well, if the kernel has a step for that.
    pub(crate) fn kill_group(&self) {
        if let Some(group) = &self.group {
            let _ = group.kill();
            // What is frozen in version 1 takes no signal.
            let _ = group.thaw();
        }
    }

    /// Lets every process stand still until [`Sandbox::resume`], and says by what. Where a control group does it, the in-sandbox
    /// init may stand still as well: nothing else of this sandbox is answered meanwhile. Blocks, at most 4 s.
    ///
    /// # Errors
    /// When neither a group nor the init can do it; then everything goes on.
    pub fn pause(&self) -> io::Result<PauseMeans> {
        if let Some(means) = self.group.as_ref().and_then(ControlGroup::freeze) {
            return Ok(means);
        }
        match self.ask(InitRequest::Pause, PAUSE_LIMIT)? {
            InitAnswer::Done => Ok(PauseMeans::Signals),
            other => Err(refusal(&other)),
        }
    }

    /// Lets go on what [`Sandbox::pause`] stopped.
    ///
    /// # Errors
    /// When the group cannot be thawed, or the init does not answer.
    pub fn resume(&self, means: PauseMeans) -> io::Result<()> {
        match (means, &self.group) {
            (PauseMeans::CgroupV2 | PauseMeans::CgroupV1, Some(group)) => return group.thaw(),
            (PauseMeans::CgroupV2 | PauseMeans::CgroupV1, None) | (PauseMeans::Signals, _) => {}
        }
        match self.ask(InitRequest::Resume, ANSWER_LIMIT)? {
            InitAnswer::Done => Ok(()),
            other => Err(refusal(&other)),
        }
    }

    /// Starts a program; its end comes as a [`Report`]. Blocks until the exec succeeded or failed, at most 7 s.
    ///
    /// # Errors
    /// If the program cannot be started, with the reason; after [`LaunchError::NoAnswer`] it may have been started.
    pub fn launch(&self, launch: Launch) -> Result<LaunchId, LaunchError> {
        let (spec, descriptors) = launch.into_wire()?;
        self.start(spec, &descriptors)
    }

    /// The same for a program that is given the caller's own standard streams: a terminal among them stays the caller's, and
    /// the program has none to control.
    ///
    /// # Errors
    /// As [`Sandbox::launch`].
    pub fn launch_beside_terminal(&self, launch: Launch) -> Result<LaunchId, LaunchError> {
        let (mut spec, descriptors) = launch.into_wire()?;
        spec.takes_terminal = false;
        self.start(spec, &descriptors)
    }

    /// The same, and all that descends from it stays together, whatever orphans and sessions it makes: it can be signalled as
    /// [`Target::Tree`], counted and killed as one, until it is let go. That costs a process, the keeper, which is not
    /// counted among those of the sandbox.
    ///
    /// # Errors
    /// As [`Sandbox::launch`].
    pub fn launch_kept(&self, launch: Launch) -> Result<LaunchId, LaunchError> {
        let (mut spec, descriptors) = launch.into_wire()?;
        spec.is_kept = true;
        self.start(spec, &descriptors)
    }

    /// The same, apart from the rest: what is told, counted or killed as the rest of the sandbox ([`Target::Rest`]) is neither
    /// it nor what descends from it.
    ///
    /// # Errors
    /// As [`Sandbox::launch`].
    pub fn launch_apart(&self, launch: Launch) -> Result<LaunchId, LaunchError> {
        let (mut spec, descriptors) = launch.into_wire()?;
        (spec.is_kept, spec.is_apart) = (true, true);
        self.start(spec, &descriptors)
    }

    /// Lets go of a kept launch that has ended: what it has left lives on by itself.
    ///
    /// # Errors
    /// ESRCH if there is no such launch, EBUSY if it has not ended, or if the init does not answer.
    pub fn let_go(&self, launch: LaunchId) -> io::Result<()> {
        match self.ask(InitRequest::LetGo(launch), ANSWER_LIMIT)? {
            InitAnswer::Done => Ok(()),
            other => Err(refusal(&other)),
        }
    }

    /// Kills all that descends from a kept launch that has ended, and lets go of it. Blocks until nothing of it is left, at
    /// most for `limit`; what is left then is counted in the report.
    ///
    /// # Errors
    /// As [`Sandbox::let_go`]; without a /proc, the process group alone is killed and what is left is not known.
    pub fn kill_tree(&self, launch: LaunchId, limit: Duration) -> io::Result<KillReport> {
        let request = InitRequest::KillTree { launch, limit };
        match self.ask(request, limit + ANSWER_LIMIT)? {
            InitAnswer::Killed(report) => Ok(report),
            other => Err(refusal(&other)),
        }
    }

    /// Counts the live processes that descend from a kept launch, the launched one among them.
    ///
    /// # Errors
    /// ESRCH if there is no such launch, EOPNOTSUPP if the host refused a /proc, or if the init does not answer.
    pub fn processes_of(&self, launch: LaunchId) -> io::Result<u32> {
        match self.ask(InitRequest::CountTree(launch), ANSWER_LIMIT)? {
            InitAnswer::Counted(count) => Ok(count),
            other => Err(refusal(&other)),
        }
    }

    /// Looks at the sandbox from inside, beginning in `directory`. It is a launch like any other: its end comes as a
    /// [`Report`], and what it saw is written to standard output for [`Seen::from_wire`](crate::Seen::from_wire).
    ///
    /// # Errors
    /// As [`Sandbox::launch`].
    pub fn probe(
        &self,
        probe: Probe,
        directory: PathBuf,
        stdio: [OwnedFd; 3],
    ) -> Result<LaunchId, LaunchError> {
        let launch = Launch {
            argv: vec!["stockade-probe".into()],
            env: Vec::new(),
            cwd: directory,
            stdio,
            extra: Vec::new(),
        };
        let (mut spec, descriptors) = launch.into_wire()?;
        spec.probe = Some(probe);
        self.start(spec, &descriptors)
    }

    fn start(&self, spec: LaunchSpec, descriptors: &[OwnedFd]) -> Result<LaunchId, LaunchError> {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let deadline = Deadline::after(LAUNCH_LIMIT);
        match self
            .control
            .call(InitRequest::Launch(spec), &borrowed, deadline)
        {
            Ok(InitAnswer::Started { launch, .. }) => Ok(launch),
            Ok(InitAnswer::Failed(failure)) => Err(LaunchError::from_failure(failure)),
            Ok(
                InitAnswer::Done
                | InitAnswer::Terminal
                | InitAnswer::Counted(_)
                | InitAnswer::Measured(_)
                | InitAnswer::Killed(_),
            ) => Err(LaunchError::NoAnswer(io::ErrorKind::InvalidData.into())),
            Err(CallError::Send(error)) => Err(LaunchError::NotSent(error)),
            Err(CallError::Receive(error)) => Err(LaunchError::NoAnswer(error)),
        }
    }

    /// Makes a terminal inside, for the standard streams of one launch.
    ///
    /// # Errors
    /// If the init cannot make one, or does not answer.
    pub fn open_terminal(&self, size: TerminalSize) -> io::Result<Terminal> {
        if self.enforced.tier == Tier::Container {
            // No devpts is the workload's own, and the init may open none of the others.
            return terminal::make(size);
        }
        let request = InitRequest::OpenTerminal(size);
        let (answer, descriptors) = self
            .control
            .call_for_descriptors(request, &[], Deadline::after(ANSWER_LIMIT))
            .map_err(CallError::into_io)?;
        let [master, slave] =
            <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| refusal(&answer))?;
        Ok(Terminal { master, slave })
    }

    /// Sends a signal, and SIGCONT after it unless the signal stops, so that a stopped process takes it.
    ///
    /// # Errors
    /// ESRCH if the launch has ended, EINVAL if there is no such signal, or if the init does not answer.
    pub fn signal(&self, target: Target, signo: i32) -> io::Result<()> {
        if !(0..=signal::HIGHEST).contains(&signo) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        match self.ask(InitRequest::Signal { target, signo }, ANSWER_LIMIT)? {
            InitAnswer::Done => Ok(()),
            other => Err(refusal(&other)),
        }
    }

    /// Counts the live processes of the sandbox, the init not among them.
    ///
    /// # Errors
    /// EOPNOTSUPP if the host refused a /proc, or if the init does not answer.
    pub fn processes(&self) -> io::Result<u32> {
        match self.ask(InitRequest::Count, ANSWER_LIMIT)? {
            InitAnswer::Counted(count) => Ok(count),
            other => Err(refusal(&other)),
        }
    }

    /// Counts the live processes of the sandbox but the init and what is kept apart.
    ///
    /// # Errors
    /// As [`Sandbox::processes`].
    pub fn processes_of_rest(&self) -> io::Result<u32> {
        match self.ask(InitRequest::CountRest, ANSWER_LIMIT)? {
            InitAnswer::Counted(count) => Ok(count),
            other => Err(refusal(&other)),
        }
    }

    /// Kills every process of the sandbox but the init and what is kept apart. Blocks until none is left, at most for
    /// `limit`; what is left then is counted in the report.
    ///
    /// # Errors
    /// If the init does not answer. Without a /proc the process groups of the launches alone are killed, and what is left
    /// is not known.
    pub fn kill_rest(&self, limit: Duration) -> io::Result<KillReport> {
        match self.ask(InitRequest::KillRest { limit }, limit + ANSWER_LIMIT)? {
            InitAnswer::Killed(report) => Ok(report),
            other => Err(refusal(&other)),
        }
    }

    /// Looks at what the workload takes, for limits that are [`Means::Sampled`](crate::Means::Sampled). Memory that
    /// processes share is counted once if all of it is more than `bound` bytes.
    ///
    /// # Errors
    /// EOPNOTSUPP if the host refused a /proc, or if the init does not answer.
    pub fn taken(&self, bound: u64) -> io::Result<Taken> {
        match self.ask(InitRequest::Measure { bound }, ANSWER_LIMIT)? {
            InitAnswer::Measured(taken) => Ok(taken),
            other => Err(refusal(&other)),
        }
    }

    /// Kills every process of the sandbox but the init and reaps them; the sandbox can be used again.
    ///
    /// # Errors
    /// If that is not confirmed before the deadline.
    pub fn kill_all(&self, deadline: Duration) -> Result<KillReport, KillError> {
        match self.ask(InitRequest::KillAll { limit: deadline }, deadline) {
            Ok(InitAnswer::Killed(report)) => Ok(report),
            Ok(InitAnswer::Failed(failure)) => Err(KillError::Failed(failure)),
            Ok(
                InitAnswer::Done
                | InitAnswer::Terminal
                | InitAnswer::Counted(_)
                | InitAnswer::Measured(_)
                | InitAnswer::Started { .. },
            ) => Err(KillError::NoAnswer(io::ErrorKind::InvalidData.into())),
            Err(error) => Err(KillError::NoAnswer(error)),
        }
    }

    /// Takes the next report, if one is there, without waiting. Reports come in the order in which launches ended.
    ///
    /// # Errors
    /// `BrokenPipe` if the init is gone: no launch lives, and no report of those that did will come.
    pub fn try_report(&self) -> io::Result<Option<Report>> {
        match wire::receive(self.reports.as_fd())? {
            Received::Message(report, _) => Ok(Some(report)),
            Received::Nothing => Ok(None),
            Received::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits for the next report until the deadline.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, `BrokenPipe` if the init is gone.
    pub fn wait_report(&self, deadline: Duration) -> io::Result<Report> {
        wire::receive_before(self.reports.as_fd(), Deadline::after(deadline))
            .map(|(report, _)| report)
    }

    /// Returns what is enforced.
    #[must_use]
    pub fn enforced(&self) -> &Enforced {
        &self.enforced
    }

    /// Returns the directory [`OUTPUT`](crate::OUTPUT), if the policy asked for it. It can be read as long as the
    /// descriptor is held, also when nothing of the sandbox lives any more.
    #[must_use]
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.handed_over.output.as_ref().map(AsFd::as_fd)
    }

    /// Returns the overlay of the workspace, if the policy asked for it.
    #[must_use]
    pub fn overlay(&self) -> Option<&Overlay> {
        self.handed_over.overlay.as_ref()
    }

    /// Returns the listener on [`PROXY_ADDRESS`](crate::PROXY_ADDRESS), in a container on any port of loopback, if the policy asked
    /// for it. What is accepted on it
    /// comes from the sandbox.
    #[must_use]
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.handed_over.listener.as_ref().map(AsFd::as_fd)
    }

    /// Returns the init's pid on the host.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.init_pid
    }

    fn ask(&self, request: InitRequest, limit: Duration) -> io::Result<InitAnswer> {
        self.control
            .call(request, &[], Deadline::after(limit))
            .map_err(CallError::into_io)
    }
}

/// Readable when a report is there or the init is gone.
impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }
}

/// For event loops that want a number.
impl AsRawFd for Sandbox {
    fn as_raw_fd(&self) -> RawFd {
        self.reports.as_raw_fd()
    }
}

fn refusal(answer: &InitAnswer) -> io::Error {
    match answer {
        InitAnswer::Failed(failure) => io::Error::from_raw_os_error(failure.errno),
        InitAnswer::Started { .. }
        | InitAnswer::Done
        | InitAnswer::Terminal
        | InitAnswer::Counted(_)
        | InitAnswer::Measured(_)
        | InitAnswer::Killed(_) => io::ErrorKind::InvalidData.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Sandbox;
    use crate::helper::Helper;

    #[test]
    fn handles_may_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Sandbox>();
        shared::<Helper>();
    }
}
