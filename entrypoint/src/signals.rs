//! Which signals are held back, what each one means to the guardian, and who sent it.
//!
//! Owns the signal mask and the signalfd. Never does: act on a signal.
//! Invariant: from `block_signals` on, no signal but a fault of our own is lost, also as PID 1, for which the kernel drops
//! signals of default disposition unless they are blocked (signal(7), pid_namespaces(7)). Before that, a stop ends the process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::read;

use crate::message::SignalNotice;
use crate::sys;

/// Signals that the processor raises for a fault of this process. Blocked, a fault would kill without a trace or loop.
const FAULTS: [i32; 7] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// Signals that count for nothing when they were ignored at the start: nohup and background jobs of a shell mean that.
/// SIGTERM is not among them: an orchestrator that sends it must be heard.
const MAY_BE_IGNORED: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP];

/// Signals that end a process before it is a run.
const STOPS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Signals that suspend it as a job of a shell: by a key, and because it reads the terminal from the background.
const SUSPENSIONS: [i32; 2] = [libc::SIGTSTP, libc::SIGTTIN];

/// Bytes of one `signalfd_siginfo` (signalfd(2)).
const SIGINFO_BYTES: usize = 128;

/// What a signal means to the guardian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A child has ended.
    ChildEnded,
    /// Somebody wants the run to end; also passed on.
    Stop,
    /// A background process touched the terminal: means nothing for a run.
    TerminalAccess,
    /// Somebody at the terminal wants the run to stand still; also passed on.
    Suspend,
    /// Only passed on.
    Other,
}

/// Blocks every signal except the seven faults ILL, TRAP, ABRT, BUS, FPE, SEGV and SYS, real-time signals included.
///
/// A process that is going to be the guardian calls it before it makes the first file of the run: what arrives afterwards
/// stays pending, also over `execve`, and is read by the guardian with its sender.
///
/// # Errors
/// When the kernel refuses, which it does not for a valid call.
pub fn block_signals() -> io::Result<()> {
    sys::set_signal_mask(all_but_faults())
}

/// Blocks what `block_signals` blocks, but for the signals by which people end or suspend a program: as long as nothing of a
/// run exists, it waits for files, pipes and terminals like any other program, and a stop must end it there.
///
/// Must be the first statement. SIGTERM counts even if it was ignored at the start, as it does for the guardian. As PID 1 a
/// stop ends the process with 128 + its number, because the kernel drops signals of default disposition there.
///
/// # Errors
/// When the kernel refuses, which it does not for a valid call.
pub fn block_signals_before_a_run() -> io::Result<()> {
    for signal in STOPS {
        if signal != libc::SIGTERM && sys::is_ignored(signal)? {
            continue;
        }
        if std::process::id() == 1 {
            sys::exit_on(signal)?;
        } else {
            sys::reset_disposition(signal)?;
        }
    }
    let open = STOPS
        .into_iter()
        .chain(SUSPENSIONS)
        .fold(0, |set, signal| set | bit(signal));
    sys::set_signal_mask(all_but_faults() & !open)
}

/// The set that `block_signals` blocks; the kernel leaves out SIGKILL and SIGSTOP by itself.
fn all_but_faults() -> u64 {
    !FAULTS.into_iter().fold(0, |set, signal| set | bit(signal))
}

/// The set without SIGTSTP, with which a suspension takes place.
pub(crate) fn all_but_suspension() -> u64 {
    all_but_faults() & !bit(libc::SIGTSTP)
}

/// The bit of a signal in the kernel's set.
fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1)
        .ok()
        .and_then(|position| 1_u64.checked_shl(position))
        .unwrap_or(0)
}

/// Says what a signal means.
pub(crate) fn meaning(signal: u32) -> Meaning {
    match i32::try_from(signal) {
        Ok(libc::SIGCHLD) => Meaning::ChildEnded,
        Ok(libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP) => Meaning::Stop,
        Ok(libc::SIGTSTP) => Meaning::Suspend,
        Ok(libc::SIGTTIN | libc::SIGTTOU) => Meaning::TerminalAccess,
        Ok(_) | Err(_) => Meaning::Other,
    }
}

/// The blocked signals, one at a time.
#[derive(Debug)]
pub(crate) struct SignalQueue {
    /// The signalfd.
    descriptor: OwnedFd,
    /// Signals of `MAY_BE_IGNORED` that were ignored at the start.
    ignored: u64,
}

impl SignalQueue {
    /// Opens the queue. Signals must be blocked already.
    ///
    /// Gives SIGCHLD its default disposition: were it ignored, as some parents leave it, the kernel would reap our children
    /// itself and their status would be lost.
    pub(crate) fn open() -> io::Result<Self> {
        sys::reset_disposition(libc::SIGCHLD)?;
        let mut ignored = 0;
        for signal in MAY_BE_IGNORED {
            if sys::is_ignored(signal)? {
                ignored |= bit(signal);
            }
        }
        Ok(Self {
            descriptor: sys::open_signal_descriptor(all_but_faults())?,
            ignored,
        })
    }

    /// Takes the next signal, if there is one.
    pub(crate) fn next(&self) -> Option<SignalNotice> {
        let mut record = [0; SIGINFO_BYTES];
        loop {
            match read(&self.descriptor, &mut record) {
                Ok(SIGINFO_BYTES) => {}
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return None,
            }
            let notice = decode(&record)?;
            if i32::try_from(notice.signal).is_ok_and(|signal| self.ignored & bit(signal) != 0) {
                continue;
            }
            return Some(notice);
        }
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Reads the start of a `signalfd_siginfo`: signo, errno, code, pid, uid, four bytes each.
fn decode(record: &[u8; SIGINFO_BYTES]) -> Option<SignalNotice> {
    let mut words = record
        .chunks_exact(4)
        .map(|word| word.try_into().unwrap_or_default());
    let signal = u32::from_ne_bytes(words.next()?);
    let _errno: [u8; 4] = words.next()?;
    Some(SignalNotice {
        signal,
        code: i32::from_ne_bytes(words.next()?),
        sender_pid: u32::from_ne_bytes(words.next()?),
        sender_uid: u32::from_ne_bytes(words.next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signals_are_held_back_but_seven() {
        assert_eq!(all_but_faults().count_zeros(), 7);
        assert_eq!(all_but_faults() & bit(64), 1 << 63);
        assert_eq!(bit(0), 0);
        assert_eq!(bit(65), 0);
    }

    #[test]
    fn a_record_is_decoded_by_position() {
        let mut record = [0; SIGINFO_BYTES];
        for (offset, value) in [(0, 15_i32), (4, 99), (8, -6), (12, 4321), (16, 1000)] {
            record[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        assert_eq!(
            decode(&record),
            Some(SignalNotice {
                signal: 15,
                sender_pid: 4321,
                sender_uid: 1000,
                code: -6
            })
        );
    }
}
