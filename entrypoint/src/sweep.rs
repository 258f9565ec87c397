//! Killing what is left.
//!
//! Owns the repetition: kill, reap, look again, until none is left or the time is up.
//! Never does: kill what does not descend from this process, except as PID 1, for which everything descends.
//! Invariant: `sweep_to_the_last` reports nothing remaining only if the kernel says that there is no child.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::ppoll;
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpid};

use crate::descendants::{Process, find_descendants, kill_found};
use crate::notice::notice;
use crate::reaper::{Children, Reaper};

/// Longest sweep on request: it must fit into a stop, and the guardian forwards no signal meanwhile.
const REQUESTED_LIMIT: Duration = Duration::from_secs(1);

/// Longest sweep at the end: what does not die of SIGKILL by then sleeps in the kernel.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// First pause between two looks; a killed process needs about this long to end.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Most names of killed processes that are kept.
pub(crate) const MAX_NAMES: usize = 32;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Processes that were alive and had to be killed.
    pub(crate) killed: u32,
    /// What the first [`MAX_NAMES`] of them called themselves.
    pub(crate) names: Vec<OsString>,
    /// Processes that were still alive at the end.
    pub(crate) remaining: u32,
}

/// Pauses that grow, up to a limit in all.
#[derive(Debug)]
pub(crate) struct Patience {
    /// When it is over.
    ends_at: Instant,
    /// The next pause.
    pause: Duration,
}

impl Patience {
    /// Starts the clock.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            ends_at: Instant::now() + limit,
            pause: FIRST_PAUSE,
        }
    }

    /// Pauses once; false when the time is up.
    pub(crate) fn pause(&mut self) -> bool {
        if Instant::now() >= self.ends_at {
            return false;
        }
        // Signals are blocked, so only the time ends this, or a stop of the whole process; both are fine.
        let _ = ppoll(&mut [], Some(TimeSpec::from_duration(self.pause)), None);
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        true
    }
}

/// Kills all descendants but those in `spared`, repeatedly, until two looks in a row find none.
///
/// Two, because a process whose parent ends during a look can be missed by that look, and not by the next.
pub(crate) fn sweep_on_request(spared: &[i32], reaper: &mut Reaper) -> Swept {
    let mut patience = Patience::new(REQUESTED_LIMIT);
    let mut killed = Killed::default();
    let mut empty_looks = 0;
    loop {
        let alive = match killed.look_and_kill(spared) {
            Ok(alive) => alive,
            Err(error) => {
                notice(format_args!("cannot sweep: {error}"));
                return killed.into_swept(u32::MAX);
            }
        };
        reaper.reap();
        empty_looks = if alive == 0 { empty_looks + 1 } else { 0 };
        if empty_looks == 2 || (alive > 0 && !patience.pause()) {
            return killed.into_swept(alive);
        }
    }
}

/// Kills everything that is left once the supervisor is gone, and reaps it.
pub(crate) fn sweep_to_the_last(reaper: &mut Reaper) -> Swept {
    if getpid().as_raw() == 1 {
        sweep_namespace(reaper)
    } else {
        sweep_descendants(reaper)
    }
}

/// As PID 1: everything in the namespace, in one atomic call, so that nothing can fork away from it.
///
/// Survivors are counted before the kill, because a parent may reap a killed child before it dies itself; where `/proc`
/// cannot tell, what is reaped here is the count.
fn sweep_namespace(reaper: &mut Reaper) -> Swept {
    let mut patience = Patience::new(LAST_LIMIT);
    reaper.reap();
    let reaped_before = reaper.reaped();
    let found = find_descendants().unwrap_or_default();
    let names: Vec<OsString> = found
        .iter()
        .take(MAX_NAMES)
        .map(|process| process.name())
        .collect();
    let found = count(found.len());
    loop {
        let all = kill(Pid::from_raw(-1), Signal::SIGKILL);
        let children = reaper.reap();
        let killed = found.max(reaper.reaped().saturating_sub(reaped_before));
        if all == Err(Errno::ESRCH) || children == Children::None {
            return Swept {
                killed,
                names,
                remaining: 0,
            };
        }
        if !patience.pause() {
            return Swept {
                killed,
                names,
                remaining: find_descendants().map_or(u32::MAX, |found| count(found.len())),
            };
        }
    }
}

/// As subreaper: our descendants, look by look, until there is no child.
fn sweep_descendants(reaper: &mut Reaper) -> Swept {
    let mut patience = Patience::new(LAST_LIMIT);
    let mut killed = Killed::default();
    loop {
        if reaper.reap() == Children::None {
            return killed.into_swept(0);
        }
        let alive = killed.look_and_kill(&[]);
        if !patience.pause() {
            if let Err(error) = &alive {
                notice(format_args!("cannot sweep: {error}"));
            }
            return killed.into_swept(alive.unwrap_or(u32::MAX));
        }
    }
}

/// The processes killed so far; a process that takes its time to die is counted once.
#[derive(Debug, Default)]
struct Killed {
    /// Who they were, sorted.
    identities: Vec<(i32, u64)>,
    /// What the first of them called themselves.
    names: Vec<OsString>,
}

impl Killed {
    /// Kills all living descendants but those in `spared`, and says how many there were.
    fn look_and_kill(&mut self, spared: &[i32]) -> io::Result<u32> {
        let mut alive: u32 = 0;
        for process in find_descendants()? {
            if spared.contains(&process.pid) {
                continue;
            }
            alive = alive.saturating_add(1);
            kill_found(process);
            self.remember(process);
        }
        Ok(alive)
    }

    /// Adds a process, sorted, unless it is there.
    fn remember(&mut self, process: Process) {
        let identity = process.identity();
        if let Err(place) = self.identities.binary_search(&identity) {
            self.identities.insert(place, identity);
            if self.names.len() < MAX_NAMES {
                self.names.push(process.name());
            }
        }
    }

    /// Ends the count.
    fn into_swept(self, remaining: u32) -> Swept {
        Swept {
            killed: count(self.identities.len()),
            names: self.names,
            remaining,
        }
    }
}

/// A length as it is reported.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
