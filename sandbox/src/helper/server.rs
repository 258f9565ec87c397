//! The launch helper's process.
//!
//! Owns the inits that it gave birth to, and their reaping. Never holds a secret: it starts with an empty environment.
//! Invariant: it has one thread, so that a fork copies no lock and the parent-death signal is bound to the process; and it
//! ends by the end of its socket or by SIGKILL, never by another signal.

use super::birth;
use crate::cgroup;
use crate::confine::Parent;
use crate::policy::Isolation;
use crate::protocol::{Answer, Destruction, HelperAnswer, HelperRequest, Request};
use crate::sweep::{self, KillReport};
use crate::sys::process::Ended;
use crate::sys::{credential, descriptor, signal};
use crate::text::Text;
use crate::wire::{self, Deadline, Received};
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// Time to end what is left when the supervisor is gone.
const LAST_SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// Most sandboxes whose control groups are removed at the end; the supervisor removes each with its sandbox, and this process
/// those of a supervisor that died.
const MAX_REMEMBERED_GROUPS: usize = 1_024;

/// A sandbox's init that is not reaped yet.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) isolation: Isolation,
    /// Closed when this process ends or gives the init up; the init takes that as its end.
    pub(super) _lifeline: OwnedFd,
}

/// Runs the launch helper on the socket at standard input until the supervisor is gone.
#[must_use]
pub fn helper_main() -> ExitCode {
    // A name hides nothing and protects nothing, so a kernel that refuses it changes nothing.
    let _ = credential::set_name(c"stockade-helper");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    // Whoever signals a whole group (a process manager, a terminal, `kill -- -PGID`) means the run, and the run ends in
    // order: this process is needed until the workload had its grace. The init inherits the mask.
    signal::block_all()?;
    signal::reset_dispositions()?;
    let supervisor = descriptor::take_standard_input()?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&supervisor).unsigned_abs();
    if number > 3 {
        descriptor::close_between(3, number - 1)?;
    }
    descriptor::close_between(number + 1, u32::MAX)?;
    let null = std::fs::File::open("/dev/null")?;
    descriptor::place_at(null.as_fd(), 0)?;
    drop(null);
    let _ = nix::unistd::setsid();
    credential::adopt_orphans()?;
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGCHLD);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let mut server = Server {
        supervisor,
        child_signals: SignalFd::with_flags(&wanted, flags)?,
        living: HashMap::new(),
        groups: VecDeque::new(),
    };
    let outcome = server.serve();
    server.end()?;
    outcome
}

struct Server {
    supervisor: OwnedFd,
    child_signals: SignalFd,
    living: HashMap<i32, Living>,
    /// Directories of control groups, the newest last.
    groups: VecDeque<Vec<Text>>,
}

impl Server {
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let [is_asked, has_ended] = wire::wait_any([
                (self.supervisor.as_fd(), PollFlags::POLLIN),
                (self.child_signals.as_fd(), PollFlags::POLLIN),
            ])?;
            if has_ended {
                while self.child_signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            if !is_asked {
                continue;
            }
            match wire::receive::<Request<HelperRequest>>(self.supervisor.as_fd())? {
                Received::Closed => return Ok(()),
                Received::Nothing => {}
                Received::Message(request, descriptors) => {
                    let (body, descriptors) = self.answer(request.body, descriptors)?;
                    let answer = Answer {
                        number: request.number,
                        body,
                    };
                    let handed_over: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                    wire::send(self.supervisor.as_fd(), &answer, &handed_over)?;
                }
            }
        }
    }

    fn answer(
        &mut self,
        request: HelperRequest,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<(HelperAnswer, Vec<OwnedFd>)> {
        match request {
            HelperRequest::Build { plan, limit } => {
                let isolation = plan.isolation;
                let group = plan.limits.group.as_ref();
                self.groups
                    .extend(group.map(|group| group.directories.clone()));
                if self.groups.len() > MAX_REMEMBERED_GROUPS {
                    self.groups.pop_front();
                }
                match birth::build(*plan, descriptors, Deadline::after(limit), Parent::Helper) {
                    Err(failure) => Ok((HelperAnswer::Refused(failure), Vec::new())),
                    Ok(born) => {
                        let living = Living {
                            isolation,
                            _lifeline: born.lifeline,
                        };
                        self.living.insert(born.pid, living);
                        let answer = HelperAnswer::Built {
                            pid: born.pid,
                            missing: born.missing,
                            identity: born.identity,
                        };
                        Ok((answer, born.handed_over))
                    }
                }
            }
            HelperRequest::Destroy { pid, limit } => self
                .destroy(pid, Deadline::after(limit))
                .map(|destruction| (HelperAnswer::Destroyed(destruction), Vec::new())),
        }
    }

    /// Kills an init and waits for its end; a pid that is not one of ours any more has ended before.
    fn destroy(&mut self, pid: i32, deadline: Deadline) -> io::Result<Destruction> {
        let Some(living) = self.living.get(&pid) else {
            return Ok(Destruction {
                init_status: None,
                swept: self.sweep(deadline)?,
            });
        };
        let isolation = living.isolation;
        // The pid is ours until it is reaped here, so it cannot name another process.
        let descriptor = signal::open_process(pid)?;
        signal::send(pid, libc::SIGKILL)?;
        let _ = wire::wait_readable(descriptor.as_fd(), deadline);
        let mut init_status = None;
        let living = &mut self.living;
        sweep::reap_ended(&mut |ended: Ended| {
            living.remove(&ended.pid);
            if ended.pid == pid {
                init_status = Some(ended.status);
            }
        })?;
        let swept = match isolation {
            Isolation::Full => KillReport {
                left: u32::from(init_status.is_none()),
                ..KillReport::default()
            },
            Isolation::Container | Isolation::None => self.sweep(deadline)?,
        };
        Ok(Destruction { init_status, swept })
    }

    fn reap(&mut self) -> io::Result<()> {
        let mut must_sweep = false;
        let living = &mut self.living;
        sweep::reap_ended(&mut |ended| {
            let init = living.remove(&ended.pid);
            must_sweep |= init.is_some_and(|init| init.isolation != Isolation::Full);
        })?;
        if must_sweep {
            self.sweep(Deadline::after(LAST_SWEEP_LIMIT))?;
        }
        Ok(())
    }

    /// Kills what inits without a pid namespace left to this process, their subreaper.
    fn sweep(&mut self, deadline: Deadline) -> io::Result<KillReport> {
        let spared: Vec<i32> = self.living.keys().copied().collect();
        let living = &mut self.living;
        sweep::kill_descendants(&spared, &[], None, deadline, &mut |ended| {
            living.remove(&ended.pid);
        })
    }

    /// Kills everything. An init with a pid namespace takes its processes with it, the others are swept.
    fn end(&mut self) -> io::Result<()> {
        let deadline = Deadline::after(LAST_SWEEP_LIMIT);
        for (pid, living) in self.living.drain() {
            if living.isolation == Isolation::Full {
                let _ = signal::send(pid, libc::SIGKILL);
            }
        }
        // A supervisor that dies while its sandbox stands still lets nothing go on any more: what is frozen in version 1 dies
        // when it is thawed, and an init hears of the end.
        for directory in self.groups.iter().flatten() {
            let _ = cgroup::thaw_directory(directory.as_path());
        }
        sweep::kill_descendants(&[], &[], None, deadline, &mut |_| {})?;
        for directory in self.groups.drain(..).flatten() {
            let _ = cgroup::remove_directory(directory.as_path(), deadline.left());
        }
        Ok(())
    }
}
