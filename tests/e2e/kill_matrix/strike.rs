//! How victims are struck: by which signals, in which order.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Means;
use super::scene::{LATEST, PATIENCE};
use crate::crash_follower::{Random, wait_until};
use crate::harness::wait::until_within;
use crate::process_table;

/// Sends it; true when there was somebody who got it.
pub fn signal(pid: i32, signal: Signal) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok()
}

/// Waits until SIGSEGV is no longer pending, so that another one is not the same; who holds it back is not waited for long.
fn until_taken(pid: i32) {
    let is_pending = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pending = status
            .lines()
            .find_map(|line| line.strip_prefix("ShdPnd:"))
            .map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
        pending & (1 << (Signal::SIGSEGV as u64 - 1)) != 0
    };
    let ends_at = Instant::now() + Duration::from_millis(200);
    while is_pending() && Instant::now() < ends_at {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Whether those that are struck can take a signal at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Free,
    Frozen,
}

/// Strikes all, in an order of chance; gives how many were there.
pub fn strike(mut pids: Vec<i32>, means: Means, stand: Stand, random: &mut Random) -> usize {
    for at in (1..pids.len()).rev() {
        pids.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
    let all = |which| pids.iter().filter(|pid| signal(**pid, which)).count();
    match means {
        Means::Kill => all(Signal::SIGKILL),
        Means::Term => all(Signal::SIGTERM),
        Means::Fault => {
            let n_struck = all(Signal::SIGSEGV);
            pids.iter().for_each(|pid| until_taken(*pid));
            // The runtime's own handler takes the first for a fault that will come again.
            all(Signal::SIGSEGV);
            n_struck
        }
        Means::StopContinue | Means::StopKill => {
            let n_struck = all(Signal::SIGSTOP);
            // What is frozen takes the signal when it goes on.
            if stand == Stand::Free {
                until_within(PATIENCE, "all are stopped", || {
                    let goes_on = |pid: &i32| {
                        process_table::read(*pid)
                            .is_some_and(|process| !matches!(process.state, 'T' | 'Z'))
                    };
                    let moving: Vec<i32> = pids.iter().copied().filter(goes_on).collect();
                    // The in-sandbox init, which is none of them, continues an agent in the middle of a stop.
                    for pid in &moving {
                        signal(*pid, Signal::SIGSTOP);
                    }
                    moving.is_empty().then_some(())
                });
            }
            wait_until(Instant::now() + random.duration(LATEST));
            all(if means == Means::StopKill {
                Signal::SIGKILL
            } else {
                Signal::SIGCONT
            });
            n_struck
        }
    }
}
