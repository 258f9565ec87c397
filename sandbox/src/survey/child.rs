//! One trial in one child.
//!
//! Owns the fork, the pipe and the wait. Never waits without a limit.

use super::trial::{Attempt, Finding, Refusal, Trial};
use crate::sys::process::{self, exit_now};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Time that a trial has, in milliseconds; each is a handful of system calls.
const LIMIT_MS: u16 = 2_000;

/// Makes every trial, each in a child of its own. The caller must have one thread.
///
/// # Errors
/// If no child can be made at all.
pub fn survey() -> io::Result<Vec<Finding>> {
    Trial::ALL.into_iter().map(make).collect()
}

fn make(trial: Trial) -> io::Result<Finding> {
    let (told, teller) = pipe2(OFlag::O_CLOEXEC)?;
    let Some(pid) = process::clone_into(0, None)? else {
        tell(trial.attempt(), teller);
        exit_now(0)
    };
    drop(teller);
    let answer = listen(told);
    let pid = Pid::from_raw(pid);
    if answer.is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let status = waitpid(pid, None)?;
    let refusal = match (answer, status) {
        (Err(_), _) => Some(Refusal::new("an answer in 2 s", Errno::ETIMEDOUT)),
        (Ok(answer), WaitStatus::Exited(_, 0)) => read(&answer),
        (Ok(_), WaitStatus::Signaled(_, signal, _)) => Some(Refusal {
            call: format!("ended by {}", signal.as_str()),
            errno: None,
        }),
        (Ok(_), _) => Some(Refusal::new("fork", Errno::EIO)),
    };
    Ok(Finding { trial, refusal })
}

/// In the child: the call and its errno, or nothing.
fn tell(attempt: Attempt, teller: OwnedFd) {
    if let Err(refused) = attempt {
        let line = format!("{} {}", refused.errno as i32, refused.call);
        let _ = File::from(teller).write_all(line.as_bytes());
    }
}

fn listen(told: OwnedFd) -> io::Result<String> {
    let mut fds = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::from(LIMIT_MS))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = String::new();
    File::from(told).read_to_string(&mut answer)?;
    Ok(answer)
}

fn read(answer: &str) -> Option<Refusal> {
    let (errno, call) = answer.split_once(' ')?;
    let errno = errno.parse().map_or(Errno::EIO, Errno::from_raw);
    Some(Refusal::new(call, errno))
}
