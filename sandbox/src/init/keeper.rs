//! The keeper: a process between the init and a launch that is to be ended as a whole.
//!
//! Owns both its sides: the adoption of whatever the launch leaves behind, also in sessions of its own: its descendants stay below it until
//! it is let go, and only then become the init's. It runs no program and reads nothing of the workload. Invariant: it tells
//! once how the launched process ended, and does not reap it before it is let go, so that its pid names nobody else. Who
//! kills the keeper loses no more than that order: the init adopts the rest and reports the launch itself.
//!
//! ```text
//!   init --fork--> keeper --fork, exec--> launch --> descendants, adopted by the keeper as they are orphaned
//!    |                |  `-- leads, ended --> init
//!    `-- let go ------'  (the socket closes: the keeper exits, and the init adopts what lives)
//! ```

use super::Init;
use crate::process_table;
use crate::protocol::LaunchId;
use crate::sweep::{self, KillReport};
use crate::sys::process::{self, Ended};
use crate::sys::{credential, descriptor, signal};
use crate::wire::{self, Deadline, Received};
use nix::libc;
use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// What a keeper tells the init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// The launch leads with this pid.
    Leads(i32),
    /// It ended.
    Ended {
        status: i32,
        user_cpu: Duration,
        system_cpu: Duration,
        max_rss_bytes: u64,
    },
}

/// The init's side of a keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) launch: LaunchId,
    /// The launched process; its pid names nobody else until the keeper is let go.
    pub(super) leader: i32,
    /// What it keeps is not the rest of the sandbox.
    pub(super) is_apart: bool,
    /// None once the keeper was let go, and until it is reaped.
    pub(super) socket: Option<OwnedFd>,
    /// Nothing more comes from it.
    pub(super) has_told: bool,
}

impl Init {
    /// The keeper of a launch that was not let go, with its pid.
    pub(super) fn keeper_of(&self, launch: LaunchId) -> io::Result<(i32, &Keeper)> {
        self.keepers
            .iter()
            .find(|(_, keeper)| keeper.launch == launch && keeper.socket.is_some())
            .map(|(pid, keeper)| (*pid, keeper))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
    }

    pub(super) fn count_tree(&self, launch: LaunchId) -> io::Result<u32> {
        if !self.has_proc {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let (pid, _) = self.keeper_of(launch)?;
        let mut live = process_table::descendants(&process_table::scan()?, pid, &[]);
        live.retain(|entry| entry.is_alive);
        u32::try_from(live.len()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    pub(super) fn kill_tree(
        &mut self,
        launch: LaunchId,
        limit: Duration,
    ) -> io::Result<KillReport> {
        let (pid, keeper) = self.keeper_of(launch)?;
        let report = if self.has_proc {
            sweep::kill_below(pid, Deadline::after(limit))?
        } else {
            signal::send(-keeper.leader, libc::SIGKILL)?;
            KillReport::default()
        };
        self.let_go(launch)?;
        Ok(report)
    }

    pub(super) fn let_go(&mut self, launch: LaunchId) -> io::Result<()> {
        let (pid, keeper) = self.keeper_of(launch)?;
        if self.running.contains_key(&keeper.leader) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        if let Some(keeper) = self.keepers.get_mut(&pid) {
            keeper.socket = None;
        }
        Ok(())
    }

    /// Takes what a keeper tells.
    pub(super) fn hear(&mut self, pid: i32) -> io::Result<()> {
        let Some(keeper) = self.keepers.get_mut(&pid) else {
            return Ok(());
        };
        let Some(socket) = &keeper.socket else {
            return Ok(());
        };
        match wire::receive(socket.as_fd())? {
            Received::Nothing | Received::Message(Told::Leads(_), _) => {}
            // Its end is taken when it is reaped.
            Received::Closed => keeper.has_told = true,
            Received::Message(
                Told::Ended {
                    status,
                    user_cpu,
                    system_cpu,
                    max_rss_bytes,
                },
                _,
            ) => {
                keeper.has_told = true;
                let leader = keeper.leader;
                self.record(Ended {
                    pid: leader,
                    status,
                    user_cpu,
                    system_cpu,
                    max_rss_bytes,
                });
            }
        }
        Ok(())
    }

    /// Takes the end of keepers: of those that were let go it is what was asked for, any other one was killed. What was
    /// below that is the init's by now.
    pub(super) fn lose_keepers(&mut self, ended: &[i32]) -> io::Result<()> {
        for pid in ended {
            // What it told last may not have been heard yet.
            self.hear(*pid)?;
            let Some(keeper) = self.keepers.remove(pid) else {
                continue;
            };
            if self.running.contains_key(&keeper.leader) && !process::is_child(keeper.leader) {
                // It ended, and nobody is left who knows how.
                self.record(Ended::killed(keeper.leader));
            }
        }
        Ok(())
    }
}

/// Makes the calling process, a child of the init, a keeper before it has any child.
///
/// # Errors
/// If it cannot adopt orphans.
pub(super) fn prepare() -> io::Result<()> {
    // Without a pid namespace it would outlive a killed init until the launch helper's sweep.
    credential::die_with_parent(libc::SIGKILL)?;
    credential::adopt_orphans()?;
    credential::set_name(c"stockade-keeper")
}

/// Keeps what was launched with the pid `leader`, and exits when it is let go. Every signal is blocked, as in the init.
pub(super) fn keep(leader: i32, socket: OwnedFd) -> ! {
    // Whatever fails here, the end of this process is the answer.
    let _ = watch(leader, socket);
    process::exit_now(0)
}

fn watch(leader: i32, socket: OwnedFd) -> io::Result<()> {
    wire::send(socket.as_fd(), &Told::Leads(leader), &[])?;
    // Pipes of the launch that stayed open here would never end for those who read them; the init's sockets are its own.
    let socket = descriptor::copy_above(socket.as_fd(), 3)?;
    let number = socket.as_raw_fd().unsigned_abs();
    descriptor::close_between(0, number - 1)?;
    descriptor::close_between(number + 1, u32::MAX)?;
    let Ended {
        status,
        user_cpu,
        system_cpu,
        max_rss_bytes,
        ..
    } = loop {
        let ended = process::await_end()?;
        if ended.pid == leader {
            break ended;
        }
        process::reap_exactly(ended.pid)?;
    };
    let ended = Told::Ended {
        status,
        user_cpu,
        system_cpu,
        max_rss_bytes,
    };
    wire::send(socket.as_fd(), &ended, &[])?;
    // Nothing is ever sent to it: the socket becomes readable when it is closed.
    while wire::wait_any([(socket.as_fd(), PollFlags::POLLIN)])? == [false] {}
    Ok(())
}
