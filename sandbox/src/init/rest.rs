//! The rest: all of the sandbox but what is kept apart.
//!
//! Owns what is done to the workload while services beside it go on: signals, the count, the kill. Never touches a launch that
//! is kept apart, its keeper, or what descends from it. Invariant: a process that was started by none of those is the rest's,
//! whatever sessions and orphans it has made.

use super::Init;
use crate::process_table::{self, Entry};
use crate::sweep::{self, KillReport};
use crate::sys::signal;
use crate::wire::Deadline;
use nix::libc;
use std::io;
use std::time::Duration;

impl Init {
    /// The keepers of what is kept apart.
    fn apart(&self) -> Vec<i32> {
        let keepers = self.keepers.iter();
        keepers
            .filter(|(_, keeper)| keeper.is_apart && keeper.socket.is_some())
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Lists the live processes of the rest; keepers are none of them.
    fn live_rest(&self) -> io::Result<Vec<Entry>> {
        let table = process_table::scan()?;
        let mut live = process_table::descendants(&table, sweep::own_pid()?, &self.apart());
        live.retain(|entry| entry.is_alive && !self.keepers.contains_key(&entry.pid));
        Ok(live)
    }

    pub(super) fn count_rest(&self) -> io::Result<u32> {
        if !self.has_proc {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        u32::try_from(self.live_rest()?.len()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    pub(super) fn signal_rest(&self, signo: i32) -> io::Result<()> {
        if !self.has_proc {
            return self.signal_groups_of_rest(signo);
        }
        for entry in self.live_rest()? {
            // One that ended by itself is as well.
            let _ = sweep::signal_exactly(&entry, signo);
        }
        Ok(())
    }

    pub(super) fn kill_rest(&mut self, limit: Duration) -> io::Result<KillReport> {
        if !self.has_proc {
            self.signal_groups_of_rest(libc::SIGKILL)?;
            return Ok(KillReport::default());
        }
        let apart = self.apart();
        let keepers: Vec<i32> = self.keepers.keys().copied().collect();
        let mut ended = Vec::new();
        let deadline = Deadline::after(limit);
        // Not by the control group: what is kept apart is in it as well.
        let report = sweep::kill_descendants(&apart, &keepers, None, deadline, &mut |one| {
            ended.push(one);
        });
        self.take_ended(ended)?;
        report
    }

    /// Signals the groups that launches of the rest lead: all that is known of them without a /proc.
    fn signal_groups_of_rest(&self, signo: i32) -> io::Result<()> {
        let is_apart = |leader: i32| {
            let mut keepers = self.keepers.values();
            keepers.any(|keeper| keeper.is_apart && keeper.leader == leader)
        };
        for leader in self.running.keys().filter(|leader| !is_apart(**leader)) {
            match signal::send(-leader, signo) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        Ok(())
    }
}
