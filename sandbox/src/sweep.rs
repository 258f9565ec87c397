//! The killing of all descendants of a process, where no pid namespace does it at once.
//!
//! Owns the loop of scan, kill and reap, also for a part of the tree. Never signals by a bare number: a descriptor is opened
//! and the start time is compared, so that a reused pid is not hit. Invariant: whose descendants are killed is a subreaper,
//! so no orphan escapes the tree.

use crate::process_table::{self, Entry};
use crate::sys::process::{self, Ended, Wait};
use crate::sys::signal;
use crate::wire::{self, Deadline};
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Most names that a report of killed processes carries.
pub const MAX_REPORTED_NAMES: usize = 32;

/// Most ends that one round waits for; the others are found by the next scan.
const MAX_AWAITED: usize = 256;

/// Most looks at a tree that forks while it is signalled; whoever signals it comes again.
const MAX_TREE_ROUNDS: usize = 16;

/// How long what was killed by somebody else may take to end before it counts as left: the end of a pid namespace takes
/// milliseconds for a thousand processes.
const DYING_LIMIT: Duration = Duration::from_millis(200);

/// First pause between two looks at what is ending.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// What killing everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillReport {
    /// Live processes that were killed, the in-sandbox init not counted.
    pub killed: u32,
    /// Names of the first [`MAX_REPORTED_NAMES`] of them.
    pub names: Vec<String>,
    /// Live processes that could not be ended before the deadline.
    pub left: u32,
}

/// Counts processes once each, however often they are seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: HashSet<(i32, u64)>,
    report: KillReport,
}

impl Tally {
    /// Counts a process that is about to be killed.
    pub(crate) fn count(&mut self, entry: &Entry) {
        if !self.seen.insert((entry.pid, entry.started)) {
            return;
        }
        self.report.killed += 1;
        if self.report.names.len() < MAX_REPORTED_NAMES {
            self.report.names.push(entry.name.clone());
        }
    }

    /// Ends the count.
    pub(crate) fn finish(self, left: usize) -> KillReport {
        KillReport {
            left: u32::try_from(left).unwrap_or(u32::MAX),
            ..self.report
        }
    }
}

/// Reaps every child that has ended; false if the caller has no child at all.
pub(crate) fn reap_ended(reaped: &mut dyn FnMut(Ended)) -> io::Result<bool> {
    loop {
        match process::reap(Wait::Poll) {
            Ok(Some(ended)) => reaped(ended),
            Ok(None) => return Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Kills all descendants of the calling process but the spared subtrees, until none is left or the deadline is over. Those
/// in a control group die first and at once, if one is given; the rest is what left it. Those that are `our_own` are not
/// told of.
pub(crate) fn kill_descendants(
    spared: &[i32],
    our_own: &[i32],
    group: Option<BorrowedFd<'_>>,
    deadline: Deadline,
    reaped: &mut dyn FnMut(Ended),
) -> io::Result<KillReport> {
    let family = Family {
        root: own_pid()?,
        spared,
        our_own,
        group,
    };
    kill_family(&family, deadline, &mut || reap_ended(reaped))
}

/// Kills all descendants of a child of the caller, which adopts their orphans and reaps nothing meanwhile.
pub(crate) fn kill_below(root: i32, deadline: Deadline) -> io::Result<KillReport> {
    let family = Family {
        root,
        spared: &[],
        our_own: &[],
        group: None,
    };
    kill_family(&family, deadline, &mut || Ok(true))
}

/// Whose descendants are killed.
struct Family<'a> {
    root: i32,
    /// Left alone with all that is below.
    spared: &'a [i32],
    /// Killed, and not counted.
    our_own: &'a [i32],
    /// What is in it is killed at once.
    group: Option<BorrowedFd<'a>>,
}

/// `reap` reaps what has ended, and tells whether the root may have a child.
fn kill_family(
    family: &Family<'_>,
    deadline: Deadline,
    reap: &mut dyn FnMut() -> io::Result<bool>,
) -> io::Result<KillReport> {
    let mut tally = Tally::default();
    loop {
        // The root adopts every orphan below it, so without a child it has no descendant, and no table has to be read.
        if !reap()? {
            return Ok(tally.finish(0));
        }
        let table = process_table::scan()?;
        let mut live = process_table::descendants(&table, family.root, family.spared);
        live.retain(|entry| entry.is_alive);
        if live.is_empty() || deadline.left().is_zero() {
            reap()?;
            return Ok(tally.finish(live.len()));
        }
        if let Some(group) = family.group {
            // Who is killed with its parent may be reaped before it is looked at again.
            let theirs = |entry: &&Entry| !family.our_own.contains(&entry.pid);
            for entry in live.iter().filter(theirs) {
                tally.count(entry);
            }
            let _ = kill_group(group);
        }
        let mut awaited = Vec::new();
        let mut refused = 0;
        for entry in &live {
            match signal_exactly(entry, libc::SIGKILL) {
                Ok(descriptor) => {
                    if !family.our_own.contains(&entry.pid) {
                        tally.count(entry);
                    }
                    if awaited.len() < MAX_AWAITED {
                        awaited.push(descriptor);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused += 1,
                Err(_) => {}
            }
        }
        if refused == live.len() {
            reap()?;
            return Ok(tally.finish(refused));
        }
        for descriptor in awaited {
            // A timeout is found by the next look at the deadline.
            let _ = wire::wait_readable(descriptor.as_fd(), deadline);
        }
    }
}

/// Kills what is in a control group of version 2 (Linux 5.14).
fn kill_group(directory: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let kill = openat(directory, "cgroup.kill", flags, Mode::empty())?;
    nix::unistd::write(kill, b"1")?;
    Ok(())
}

/// Signals all descendants of a child of the caller, and looks again for what was forked in the meantime. The child adopts
/// the orphans among them and is not reaped, so its pid means nobody else.
pub(crate) fn signal_below(root: i32, signo: i32) -> io::Result<()> {
    let mut told = HashSet::new();
    for _ in 0..MAX_TREE_ROUNDS {
        let members = process_table::descendants(&process_table::scan()?, root, &[]);
        let before = told.len();
        for entry in members.iter().filter(|entry| entry.is_alive) {
            if told.insert((entry.pid, entry.started)) {
                // One that ended by itself is as well.
                let _ = signal_exactly(entry, signo);
            }
        }
        if told.len() == before {
            break;
        }
    }
    Ok(())
}

/// Kills what lives of a dead run, again until nothing does or the limit is over, and counts it. What dies by itself within
/// 200 ms is not counted: it is on its way with those that held it.
pub(crate) fn kill_until_gone(
    living: &dyn Fn() -> Vec<Entry>,
    kill: &dyn Fn(&[Entry]),
    limit: Duration,
) -> KillReport {
    let mut tally = Tally::default();
    let mut pause = FIRST_PAUSE;
    let began_at = Instant::now();
    loop {
        let left = living();
        let passed = began_at.elapsed();
        if left.is_empty() || passed >= limit {
            return tally.finish(left.len());
        }
        if passed >= DYING_LIMIT {
            for entry in &left {
                tally.count(entry);
            }
            kill(&left);
        }
        wire::pause(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Signals a process that was read from /proc, unless its pid names another one by now; returns its descriptor.
pub(crate) fn signal_exactly(entry: &Entry, signo: i32) -> io::Result<OwnedFd> {
    let descriptor = signal::open_process(entry.pid)?;
    // The descriptor holds the process that has the pid now, so a look after it was opened is final.
    if process_table::read(entry.pid).is_none_or(|now| now.started != entry.started) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    signal::send_to(descriptor.as_fd(), signo)?;
    Ok(descriptor)
}

/// Returns the pid of the calling process.
pub(crate) fn own_pid() -> io::Result<i32> {
    i32::try_from(std::process::id()).map_err(|_| io::ErrorKind::InvalidData.into())
}
