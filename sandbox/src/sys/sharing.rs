//! A child that shares its parent's memory until it executes a program.
//!
//! Owns the stack of such a child, its clone, and the wait until it has left the memory. Never copies a page: a fork copies
//! page tables, and both sides pay for each page that they touch behind it, which is most of the cost of a small launch.
//! Invariant: as long as the child may run in the shared memory, the caller waits in here and touches nothing.
//!
//! It is not vfork(2), which stops the parent until the exec: a program on a dead network filesystem must not hold it for ever.

use super::{check_int, process, signal};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Size of a stack in bytes: what is between clone and exec needs less than a tenth, also without optimisation.
const STACK_BYTES: usize = 128 << 10;

/// Size of the guard below it in bytes; a page on every machine that this crate supports.
const GUARD_BYTES: usize = 64 << 10;

/// The stack of one child at a time.
#[derive(Debug)]
pub(crate) struct Stack {
    lowest: NonNull<c_void>,
}

impl Stack {
    /// Makes a stack, with a guard below it that no access survives.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping replaces none, and the kernel chooses its place.
        let lowest = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                GUARD_BYTES + STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if lowest == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let lowest = NonNull::new(lowest).ok_or(io::ErrorKind::OutOfMemory)?;
        let stack = Self { lowest };
        // SAFETY: the range is the lower end of the mapping that was just made, which nothing uses yet.
        check_int(unsafe { libc::mprotect(lowest.as_ptr(), GUARD_BYTES, libc::PROT_NONE) })?;
        Ok(stack)
    }

    /// The end from which it grows down, page-aligned as every mapping is.
    pub(super) fn top(&self) -> *mut c_void {
        self.lowest
            .as_ptr()
            .wrapping_byte_add(GUARD_BYTES + STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping that `new` made; `run` forgets a stack that a child may still use.
        let _ = unsafe { libc::munmap(self.lowest.as_ptr(), GUARD_BYTES + STACK_BYTES) };
    }
}

/// How a child left the shared memory.
#[derive(Debug)]
pub(crate) enum Left {
    /// It executed a program, or was killed before it could.
    Silently,
    /// It has said something on the pipe and has ended; it is not reaped.
    WithWord([u8; 8]),
    /// It was killed, because it did not leave in time, or could not be waited for.
    Killed(io::Error),
}

/// What a child does with its end of the pipe. What it returns would be its exit code, clone(2).
pub(crate) type Work<'a> = dyn Fn(BorrowedFd<'_>) -> libc::c_int + 'a;

/// What a child begins with.
struct Begun<'a> {
    work: &'a Work<'a>,
    tell: RawFd,
}

/// Makes a child that runs `work` on `stack` in the memory of the calling process, and waits until it has left that memory;
/// after `limit` it is killed. Gives its pid, which is not reaped.
///
/// The child has a table of descriptors of its own. `listen` and `tell` are the ends of a pipe; `tell`, close-on-exec, is the
/// child's and is closed here. The child allocates nothing, takes no lock, and ends by an exec or by
/// [`exit_now`](super::process::exit_now); the caller has one thread and every signal blocked, so that nothing of its own runs meanwhile.
///
/// # Errors
/// If there is no memory for the stack, or the child cannot be made; then there is none.
pub(crate) fn run(
    stack: &mut Option<Stack>,
    listen: BorrowedFd<'_>,
    tell: OwnedFd,
    limit: Duration,
    work: &Work<'_>,
) -> io::Result<(i32, Left)> {
    let own = match stack.take() {
        Some(own) => own,
        None => Stack::new()?,
    };
    let begun = Begun {
        work,
        tell: tell.as_raw_fd(),
    };
    // SAFETY: `enter` gets a pointer to `begun`, which lives until this function returns, and that is not before the child has
    // left the memory or has a SIGKILL pending, with which it runs no instruction of its own any more. The stack is mapped,
    // used by nobody else, and forgotten where the child may still be in the kernel. Both processes have one errno: until the
    // child has left, the caller is in poll(2), and looks at errno behind a child that it has killed only.
    let cloned = check_int(unsafe {
        libc::clone(
            enter,
            own.top(),
            libc::CLONE_VM | libc::SIGCHLD,
            (&raw const begun).cast_mut().cast(),
        )
    });
    let deadline = Instant::now() + limit;
    drop(tell);
    let (pid, left) = match cloned {
        Ok(pid) => (pid, until_left(pid, listen, deadline)),
        Err(error) => {
            *stack = Some(own);
            return Err(error);
        }
    };
    match left {
        Ok(left) => {
            *stack = Some(own);
            Ok((pid, left))
        }
        Err(error) => {
            let _ = signal::send(pid, libc::SIGKILL);
            // It may be in the kernel for as long as a dead filesystem keeps it there. That costs a stack for each such child,
            // which is a process of its sandbox until then.
            std::mem::forget(own);
            Ok((pid, Left::Killed(error)))
        }
    }
}

/// The first function on the child's stack.
extern "C" fn enter(begun: *mut c_void) -> libc::c_int {
    // SAFETY: `run` passes a pointer to its own value, and returns only when this process has left the memory.
    let begun: &Begun<'_> = unsafe { &*begun.cast() };
    // SAFETY: the parent closes the number in its own table, which this process has a copy of; here it is closed by the exec.
    let tell = unsafe { BorrowedFd::borrow_raw(begun.tell) };
    (begun.work)(tell)
}

fn until_left(pid: i32, listen: BorrowedFd<'_>, deadline: Instant) -> io::Result<Left> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait that is shorter than a millisecond must not become a busy loop.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999));
        let mut set = [PollFd::new(listen, PollFlags::POLLIN)];
        match poll(&mut set, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut word = [0; 8];
    // The exec closes the pipe when it has changed to the memory of the program.
    if nix::unistd::read(listen, &mut word)? == 0 {
        return Ok(Left::Silently);
    }
    process::await_end_of(pid)?;
    Ok(Left::WithWord(word))
}

#[cfg(test)]
mod tests {
    use super::{Left, run};
    use crate::sys::process::{exit_now, reap_exactly};
    use nix::fcntl::OFlag;
    use nix::poll::PollTimeout;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    use nix::unistd::Pid;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(60);

    fn pipe() -> (OwnedFd, OwnedFd) {
        nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap()
    }

    #[test]
    fn a_child_that_speaks_has_ended_when_its_word_is_there_and_the_stack_is_used_again() {
        let mut stack = None;
        for round in 0..8_u8 {
            let (listen, tell) = pipe();
            let word = [round; 8];
            let work = |tell: BorrowedFd<'_>| {
                let _ = nix::unistd::write(tell, &word);
                // Its way to the exit may be long.
                let _ = nix::poll::poll(&mut [], PollTimeout::from(20_u8));
                exit_now(3)
            };
            let (pid, left) = run(&mut stack, listen.as_fd(), tell, LIMIT, &work).unwrap();
            assert!(
                matches!(left, Left::WithWord(told) if told == word),
                "{left:?}"
            );
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let status = waitid(Id::Pid(Pid::from_raw(pid)), flags).unwrap();
            assert!(matches!(status, WaitStatus::Exited(_, 3)), "{status:?}");
            reap_exactly(pid).unwrap();
            assert!(stack.is_some());
        }
    }

    #[test]
    fn a_child_that_does_not_leave_in_time_is_killed_and_its_stack_is_never_used_again() {
        let mut stack = None;
        let (listen, tell) = pipe();
        let work = |_: BorrowedFd<'_>| loop {
            nix::unistd::pause();
        };
        let limit = Duration::from_millis(20);
        let (pid, left) = run(&mut stack, listen.as_fd(), tell, limit, &work).unwrap();
        assert!(
            matches!(&left, Left::Killed(error) if error.kind() == std::io::ErrorKind::TimedOut),
            "{left:?}"
        );
        reap_exactly(pid).unwrap();
        assert!(stack.is_none());
    }
}
