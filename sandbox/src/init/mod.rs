//! The in-sandbox init: pid 1 of the sandbox, never the workload.
//!
//! Owns the launches and the reaping. Never runs a program itself and never speaks to the workload.
//! Invariant: it sleeps unless a request, an end of a child or the end of its supervisor or launch helper wakes it.
//!
//! ```text
//!   control socket --> request --> answer --> control socket
//!   SIGCHLD        --> reap    --> report --> unsent queue --> report socket
//!   keeper         --> ended   --> report
//!   control or lifeline closed --> kill everything --> exit
//! ```

mod keeper;
mod launching;
mod null;
mod rest;
mod standstill;

use self::keeper::Keeper;
use self::launching::{Birthplace, Started};
use self::standstill::Standstill;
use crate::failure::{Failure, Step};
use crate::layer::MissingLayer;
use crate::policy::Isolation;
use crate::process_table;
use crate::protocol::{
    Answer, End, HandedOver, InitAnswer, InitRequest, LaunchId, Report, Request, SetUp, Target,
};
use crate::sweep::{self, KillReport, Tally};
use crate::sys::process::{self, Ended, Wait};
use crate::sys::sharing::Stack;
use crate::sys::signal;
use crate::taken::{self, Taken};
use crate::terminal;
use crate::wire::{self, Deadline, Received};
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Most launches whose report was not taken yet; each costs the init a table entry or a queued report.
pub const MAX_UNREPORTED_LAUNCHES: usize = 4_096;

/// Out-of-memory score of everything that is launched: above the init's, which has the supervisor's and next to no memory, so
/// that even a launch that lowers its own is chosen before who reports it; below what is sure to be chosen first.
const OUT_OF_MEMORY_SCORE: &str = "500";

/// Time for the last sweep without a pid namespace, after which the init leaves the rest to the launch helper.
const LAST_SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// A launch whose main process lives.
#[derive(Debug, Clone, Copy)]
struct Running {
    launch: LaunchId,
    started: Duration,
}

/// The init's state.
#[derive(Debug)]
pub(crate) struct Init {
    control: OwnedFd,
    reports: OwnedFd,
    lifeline: OwnedFd,
    child_signals: SignalFd,
    isolation: Isolation,
    has_proc: bool,
    /// Directories in memory that the policy names.
    in_memory: Vec<PathBuf>,
    /// The control group in which launches are born; none where they are in the init's.
    birthplace: Option<Birthplace>,
    /// That of the next launch, once there was one.
    stack: Option<Stack>,
    running: HashMap<i32, Running>,
    /// By their pids; a keeper that was let go stays until it is reaped.
    keepers: HashMap<i32, Keeper>,
    unsent: VecDeque<Report>,
    next_launch: u64,
    /// The pause by signals, while there is one.
    standstill: Option<Standstill>,
}

impl Init {
    /// Takes over the sockets; blocks every signal, as the launch helper did before it, so that SIGCHLD is read and no other
    /// ends the init.
    pub(crate) fn new(
        control: OwnedFd,
        reports: OwnedFd,
        lifeline: OwnedFd,
        isolation: Isolation,
        has_proc: bool,
        birthplace: Option<OwnedFd>,
    ) -> io::Result<Self> {
        signal::block_all()?;
        let mut wanted = SigSet::empty();
        wanted.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            control,
            reports,
            lifeline,
            child_signals: SignalFd::with_flags(&wanted, flags)?,
            isolation,
            has_proc,
            in_memory: Vec::new(),
            birthplace: birthplace.map(Birthplace::new),
            stack: None,
            running: HashMap::new(),
            keepers: HashMap::new(),
            unsent: VecDeque::new(),
            next_launch: 1,
            standstill: None,
        })
    }

    /// The same, with directories in memory that count to what the workload takes.
    pub(crate) fn with_tmpfs(self, in_memory: Vec<PathBuf>) -> Self {
        Self { in_memory, ..self }
    }

    /// Reports that the sandbox is ready, hands over what was made for the supervisor, serves until supervisor or launch
    /// helper is gone, then kills everything.
    pub(crate) fn run(
        mut self,
        missing: Vec<MissingLayer>,
        handed_over: HandedOver,
    ) -> io::Result<()> {
        let descriptors: Vec<_> = handed_over.descriptors().map(AsFd::as_fd).collect();
        wire::send(self.lifeline.as_fd(), &SetUp::Ready(missing), &descriptors)?;
        drop(descriptors);
        drop(handed_over);
        let outcome = self.serve();
        // With a pid namespace the kernel kills the rest when pid 1 exits.
        if self.isolation != Isolation::Full {
            self.kill_all(LAST_SWEEP_LIMIT)?;
        }
        outcome
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let outgoing = if self.unsent.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            let (keepers, sockets): (Vec<i32>, Vec<_>) = self
                .keepers
                .iter()
                .filter(|(_, keeper)| !keeper.has_told)
                .filter_map(|(pid, keeper)| Some((*pid, keeper.socket.as_ref()?.as_fd())))
                .unzip();
            let wanted = [
                (self.control.as_fd(), PollFlags::POLLIN),
                (self.child_signals.as_fd(), PollFlags::POLLIN),
                (self.lifeline.as_fd(), PollFlags::POLLIN),
                (self.reports.as_fd(), outgoing),
            ];
            let ([is_asked, has_ended, is_orphaned, can_report], telling) =
                wire::wait_any_or(wanted, &sockets)?;
            drop(sockets);
            if is_orphaned {
                return Ok(());
            }
            if has_ended {
                while self.child_signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            for pid in telling.iter().filter_map(|idx| keepers.get(*idx)) {
                self.hear(*pid)?;
            }
            if has_ended || !telling.is_empty() || can_report {
                self.send_reports()?;
            }
            if is_asked {
                match wire::receive::<Request<InitRequest>>(self.control.as_fd())? {
                    Received::Closed => return Ok(()),
                    Received::Nothing => {}
                    Received::Message(request, descriptors) => {
                        let (body, made) = self.answer(request.body, descriptors);
                        let answer = Answer {
                            number: request.number,
                            body,
                        };
                        let made: Vec<_> = made.iter().map(AsFd::as_fd).collect();
                        wire::send(self.control.as_fd(), &answer, &made)?;
                        self.send_reports()?;
                    }
                }
            }
        }
    }

    /// The answer, and the descriptors that go with it.
    fn answer(
        &mut self,
        request: InitRequest,
        descriptors: Vec<OwnedFd>,
    ) -> (InitAnswer, Vec<OwnedFd>) {
        let answered = match request {
            InitRequest::Launch(launch) => {
                let descriptors: Vec<_> = descriptors.into_iter().map(null::own).collect();
                Ok(self.launch(&launch, descriptors))
            }
            InitRequest::OpenTerminal(size) => match terminal::make(size) {
                Ok(made) => return (InitAnswer::Terminal, vec![made.master, made.slave]),
                Err(error) => Err(error),
            },
            InitRequest::Signal { target, signo } => {
                self.signal(target, signo).map(|()| InitAnswer::Done)
            }
            InitRequest::Count => self.count().map(InitAnswer::Counted),
            InitRequest::CountRest => self.count_rest().map(InitAnswer::Counted),
            InitRequest::CountTree(launch) => self.count_tree(launch).map(InitAnswer::Counted),
            InitRequest::KillTree { launch, limit } => {
                self.kill_tree(launch, limit).map(InitAnswer::Killed)
            }
            InitRequest::LetGo(launch) => self.let_go(launch).map(|()| InitAnswer::Done),
            InitRequest::Measure { bound } => self.measure(bound).map(InitAnswer::Measured),
            InitRequest::Pause => self.pause().map(|()| InitAnswer::Done),
            InitRequest::Resume => self.resume().map(|()| InitAnswer::Done),
            InitRequest::KillAll { limit } => self.kill_all(limit).map(InitAnswer::Killed),
            InitRequest::KillRest { limit } => self.kill_rest(limit).map(InitAnswer::Killed),
        };
        let answer = answered.unwrap_or_else(|error| {
            InitAnswer::Failed(Failure::new(Step::Exchange, "the workload", &error))
        });
        (answer, Vec::new())
    }

    fn launch(
        &mut self,
        launch: &crate::protocol::LaunchSpec,
        descriptors: Vec<OwnedFd>,
    ) -> InitAnswer {
        if self.running.len() + self.unsent.len() >= MAX_UNREPORTED_LAUNCHES {
            let error = io::Error::from_raw_os_error(libc::EAGAIN);
            return InitAnswer::Failed(Failure::new(Step::Fork, "the launch", &error));
        }
        let started = process::monotonic();
        match launching::start(
            launch,
            descriptors,
            self.isolation,
            self.birthplace.as_ref(),
            &mut self.stack,
        ) {
            Err(failure) => InitAnswer::Failed(failure),
            Ok(Started { leader, keeper }) => {
                self.offer_to_out_of_memory_killer(leader);
                let is_apart = launch.is_apart;
                let launch = LaunchId(self.next_launch);
                self.next_launch += 1;
                self.running.insert(leader, Running { launch, started });
                self.keepers.extend(keeper.map(|(pid, socket)| {
                    let keeper = Keeper {
                        launch,
                        leader,
                        is_apart,
                        socket: Some(socket),
                        has_told: false,
                    };
                    (pid, keeper)
                }));
                InitAnswer::Started {
                    launch,
                    pid: leader,
                }
            }
        }
    }

    /// Raises the score of a launch above the init's, so that who fills memory is killed before who reports it. Not before
    /// the exec: until then the child is as unreadable as the init, and its files in /proc are not its own.
    fn offer_to_out_of_memory_killer(&self, pid: i32) {
        if self.has_proc {
            // Not every host grants it, and no limit is weaker without it.
            let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OUT_OF_MEMORY_SCORE);
        }
    }

    fn signal(&mut self, target: Target, signo: i32) -> io::Result<()> {
        if target == Target::All && self.is_for_later(signo) {
            return Ok(());
        }
        let wakes = !matches!(
            signo,
            0 | libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGCONT
        );
        let signals = [Some(signo), wakes.then_some(libc::SIGCONT)];
        for signo in signals.into_iter().flatten() {
            match (target, self.reaches_its_own_only()) {
                // A launch leads its group, and its pid is not reused before it is reaped here.
                (Target::Launch(launch), _) => signal::send(-self.pid_of(launch)?, signo)?,
                (Target::Tree(launch), _) => {
                    let (pid, keeper) = self.keeper_of(launch)?;
                    if signo == libc::SIGCONT {
                        // It may have been stopped with all others.
                        signal::send(pid, signo)?;
                    }
                    if self.has_proc {
                        sweep::signal_below(pid, signo)?;
                    } else {
                        signal::send(-keeper.leader, signo)?;
                    }
                }
                (Target::Rest, _) => self.signal_rest(signo)?,
                (Target::All, true) => send_to_all(signo)?,
                (Target::All, false) => {
                    for entry in self.live()? {
                        let _ = sweep::signal_exactly(&entry, signo);
                    }
                }
            }
        }
        Ok(())
    }

    fn pid_of(&self, launch: LaunchId) -> io::Result<i32> {
        self.running
            .iter()
            .find_map(|(pid, running)| (running.launch == launch).then_some(*pid))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
    }

    fn count(&self) -> io::Result<u32> {
        if !self.has_proc {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        u32::try_from(self.live()?.len()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn measure(&self, bound: u64) -> io::Result<Taken> {
        if !self.has_proc {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let in_memory = match self.isolation {
            Isolation::Full => Some(self.in_memory.as_slice()),
            Isolation::Container | Isolation::None => None,
        };
        Ok(taken::by(&self.live()?, in_memory, bound))
    }

    /// Lists the live processes of the sandbox but this one and its keepers.
    fn live(&self) -> io::Result<Vec<process_table::Entry>> {
        let table = process_table::scan()?;
        let own = sweep::own_pid()?;
        let mut live = match self.isolation {
            Isolation::Full => table,
            Isolation::Container | Isolation::None => process_table::descendants(&table, own, &[]),
        };
        live.retain(|entry| {
            entry.is_alive && entry.pid != own && !self.keepers.contains_key(&entry.pid)
        });
        Ok(live)
    }

    fn kill_all(&mut self, limit: Duration) -> io::Result<KillReport> {
        let deadline = Deadline::after(limit);
        let mut ended = Vec::new();
        let report = if self.reaches_its_own_only() {
            self.kill_within_reach(&mut ended)
        } else {
            let keepers: Vec<i32> = self.keepers.keys().copied().collect();
            let group = self.birthplace.as_mut().map(Birthplace::mark_killed);
            sweep::kill_descendants(&[], &keepers, group, deadline, &mut |one| ended.push(one))
        };
        self.take_ended(ended)?;
        report
    }

    /// Tells whether a signal to everybody reaches this sandbox and nobody else. It is tried, not believed: what else it would
    /// reach is the whole host.
    fn reaches_its_own_only(&self) -> bool {
        match self.isolation {
            Isolation::None => false,
            Isolation::Full => nix::unistd::getpid().as_raw() == 1,
            // The parent is the launch helper, or who adopted this process: outside of the id and of the domain.
            Isolation::Container => {
                let outside = nix::unistd::getppid().as_raw();
                let tried = signal::send(outside, 0);
                tried.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
            }
        }
    }

    /// Kills every process of the pid namespace, or of the id or domain that confines the init as well: it reaches no other.
    /// No fork can outrun that: a process with a pending SIGKILL cannot fork. So it is done once, and so is the look that
    /// tells whom it met.
    fn kill_within_reach(&self, ended: &mut Vec<Ended>) -> io::Result<KillReport> {
        let mut tally = Tally::default();
        if self.has_proc {
            for entry in &self.live()? {
                tally.count(entry);
            }
        }
        send_to_all(libc::SIGKILL)?;
        // Every orphan becomes a child of this process, so no child means no process.
        loop {
            match process::reap(Wait::Block) {
                Ok(one) => ended.extend(one),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        let mut report = tally.finish(0);
        if !self.has_proc {
            // What was reaped is the only count there is without a /proc.
            let ended = ended.iter().map(|ended| ended.pid);
            let counted = ended.filter(|pid| !self.keepers.contains_key(pid)).count();
            report.killed = u32::try_from(counted).unwrap_or(u32::MAX);
        }
        Ok(report)
    }

    fn reap(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        sweep::reap_ended(&mut |one| ended.push(one))?;
        self.take_ended(ended)
    }

    fn take_ended(&mut self, ended: Vec<Ended>) -> io::Result<()> {
        let pids: Vec<i32> = ended.iter().map(|ended| ended.pid).collect();
        // A launch whose keeper was killed is reaped here like any other, before or after its keeper.
        for one in ended {
            self.record(one);
        }
        self.lose_keepers(&pids)
    }

    /// Queues the report of a launch; the end of an orphan is nobody's.
    fn record(&mut self, ended: Ended) {
        if let Some(Running { launch, started }) = self.running.remove(&ended.pid) {
            self.unsent.push_back(Report {
                launch,
                end: End::from_status(ended.status),
                status: ended.status,
                user_cpu: ended.user_cpu,
                system_cpu: ended.system_cpu,
                max_rss_bytes: ended.max_rss_bytes,
                started,
                ended: process::monotonic(),
            });
        }
    }

    /// Sends what the supervisor's socket takes; the rest waits for it.
    fn send_reports(&mut self) -> io::Result<()> {
        while let Some(report) = self.unsent.front() {
            match wire::send(self.reports.as_fd(), report, &[]) {
                Ok(()) => self.unsent.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

/// Signals every process within reach but the init; no process at all is not an error.
fn send_to_all(signo: i32) -> io::Result<()> {
    match signal::send(-1, signo) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}
