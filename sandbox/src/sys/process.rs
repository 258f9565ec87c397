//! Birth, replacement and end of processes.
//!
//! Owns clone, execve, wait4, waitid and _exit. Never runs from a process with more than one thread: the launch helper and the
//! in-sandbox init, which are its only callers, have one. Invariant: a child never returns into its parent's code.

use super::{check, check_int};
use nix::libc;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// clone3(2): the child is born in the control group that a descriptor names.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child in new namespaces and, if one is given, in a control group of version 2 (Linux 5.7); `None` is returned in
/// the child, its pid in the parent.
///
/// Falls back from clone3 to clone where a seccomp filter answers ENOSYS to hide clone3's pointer argument; not with a
/// group, which only clone3 can take.
pub(crate) fn clone_into(
    namespaces: i32,
    group: Option<BorrowedFd<'_>>,
) -> io::Result<Option<i32>> {
    let exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    let flags = u64::from(namespaces.unsigned_abs());
    let into_group = group.map_or(0, |_| CLONE_INTO_CGROUP);
    let arguments = CloneArguments {
        flags: flags | into_group,
        exit_signal,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of the memory, and since the caller has one
    // thread, no lock can be held by a thread that the child lacks. The kernel only reads `arguments`.
    let modern = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    });
    let pid = match modern {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && group.is_none() => {
            // SAFETY: as above; a null stack means that the child goes on with its copy of ours.
            check(unsafe {
                libc::syscall(
                    libc::SYS_clone,
                    flags | exit_signal,
                    0_usize,
                    0_usize,
                    0_usize,
                    0_usize,
                )
            })?
        }
        other => other?,
    };
    if pid == 0 {
        return Ok(None);
    }
    i32::try_from(pid)
        .map(Some)
        .map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// NULL-terminated arrays for execve, made before the fork so that the child allocates nothing.
#[derive(Debug)]
pub(crate) struct Image {
    candidates: Vec<CString>,
    _arguments: Vec<CString>,
    _environment: Vec<CString>,
    argument_pointers: Vec<*const libc::c_char>,
    environment_pointers: Vec<*const libc::c_char>,
}

impl Image {
    /// Prepares the call; `candidates` are the absolute or relative file names to try in turn.
    pub(crate) fn new(
        candidates: Vec<CString>,
        arguments: Vec<CString>,
        environment: Vec<CString>,
    ) -> Self {
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        Self {
            argument_pointers: pointers(&arguments),
            environment_pointers: pointers(&environment),
            candidates,
            _arguments: arguments,
            _environment: environment,
        }
    }

    /// Tries the candidates as execvp(3) does, without its fallback to a shell, and returns why none could be run.
    pub(crate) fn execute(&self) -> io::Error {
        let mut refused = None;
        for candidate in &self.candidates {
            // SAFETY: both arrays end in NULL and point into CStrings that `self` keeps alive, as does the file name.
            let _ = unsafe {
                libc::execve(
                    candidate.as_ptr(),
                    self.argument_pointers.as_ptr(),
                    self.environment_pointers.as_ptr(),
                )
            };
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => refused = Some(error),
                _ => return error,
            }
        }
        refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// What wait4 tells of a child that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// Raw wait status.
    pub(crate) status: i32,
    pub(crate) user_cpu: Duration,
    pub(crate) system_cpu: Duration,
    pub(crate) max_rss_bytes: u64,
}

impl Ended {
    /// The end of a process that was killed, of which no more is known.
    pub(crate) fn killed(pid: i32) -> Self {
        Self {
            pid,
            status: libc::SIGKILL,
            user_cpu: Duration::ZERO,
            system_cpu: Duration::ZERO,
            max_rss_bytes: 0,
        }
    }

    fn new(pid: i32, status: i32, usage: &libc::rusage) -> Self {
        Self {
            pid,
            status,
            user_cpu: duration(
                usage.ru_utime.tv_sec,
                usage.ru_utime.tv_usec.saturating_mul(1_000),
            ),
            system_cpu: duration(
                usage.ru_stime.tv_sec,
                usage.ru_stime.tv_usec.saturating_mul(1_000),
            ),
            max_rss_bytes: u64::try_from(usage.ru_maxrss)
                .unwrap_or(0)
                .saturating_mul(1_024),
        }
    }
}

/// Whether [`reap`] waits for a child to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Return at once if no child has ended.
    Poll,
    /// Sleep until a child ends.
    Block,
}

/// Reaps one child; `None` means that children live on, ECHILD that there are none.
pub(crate) fn reap(wait: Wait) -> io::Result<Option<Ended>> {
    let flags = match wait {
        Wait::Poll => libc::WNOHANG,
        Wait::Block => 0,
    } | libc::__WALL;
    let mut status = 0;
    // SAFETY: rusage is plain old data, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live, writable values of the types that wait4 fills in.
        let pid = check_int(unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) })?;
        if pid == 0 {
            return Ok(None);
        }
        if !libc::WIFSTOPPED(status) {
            return Ok(Some(Ended::new(pid, status, &usage)));
        }
        let_go(pid, libc::WSTOPSIG(status));
    }
}

/// Ends the tracing of a child that made this process its tracer, and gives it the signal at which it stopped. Stops of such
/// a child are told by every wait, whatever was asked for (ptrace(2), PTRACE_TRACEME). SIGTRAP is what an exec then means.
fn let_go(pid: i32, signal: i32) {
    let signal = match signal {
        libc::SIGTRAP => 0,
        signal => signal,
    };
    // SAFETY: PTRACE_DETACH takes a pid and a number, and no pointer. A child that is gone by now is ESRCH, and reaped next.
    let _ = unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            pid,
            0_usize,
            libc::c_long::from(signal),
        )
    };
}

/// Waits for the end of any child and leaves the child unreaped, so that its pid names nobody else. ECHILD tells that there
/// are none.
pub(crate) fn await_end() -> io::Result<Ended> {
    // SAFETY: siginfo and rusage are plain old data, for which all zeros is a value.
    let (mut told, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    let (pid, status) = loop {
        // SAFETY: both pointers are to live, writable values of the types that waitid fills in.
        check(unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_ALL,
                0,
                &raw mut told,
                libc::WEXITED | libc::WNOWAIT | libc::__WALL,
                &raw mut usage,
            )
        })?;
        // SAFETY: waitid succeeded without WNOHANG, so it filled in the fields that a SIGCHLD has.
        let pid = unsafe { told.si_pid() };
        // SAFETY: as above.
        let status = unsafe { told.si_status() };
        match told.si_code {
            libc::CLD_TRAPPED | libc::CLD_STOPPED => let_go(pid, status),
            _ => break (pid, status),
        }
    };
    let status = match told.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Ended::new(pid, status, &usage))
}

/// Waits for the end of this child and leaves it unreaped.
pub(crate) fn await_end_of(pid: i32) -> io::Result<()> {
    let id = libc::id_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: siginfo is plain old data, for which all zeros is a value.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    loop {
        // SAFETY: the pointer is to a live, writable siginfo.
        check_int(unsafe { libc::waitid(libc::P_PID, id, &raw mut told, flags) })?;
        match told.si_code {
            // SAFETY: waitid succeeded without WNOHANG, so it filled in the fields that a SIGCHLD has.
            libc::CLD_TRAPPED | libc::CLD_STOPPED => let_go(pid, unsafe { told.si_status() }),
            _ => return Ok(()),
        }
    }
}

/// Reaps this child, which has ended.
pub(crate) fn reap_exactly(pid: i32) -> io::Result<()> {
    // SAFETY: wait4 allows null pointers for what the caller does not want to know.
    check_int(unsafe {
        libc::wait4(
            pid,
            std::ptr::null_mut(),
            libc::__WALL,
            std::ptr::null_mut(),
        )
    })
    .map(drop)
}

/// Tells whether this pid is a child of the calling process, alive or not reaped yet.
pub(crate) fn is_child(pid: i32) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else {
        return false;
    };
    // SAFETY: siginfo is plain old data, for which all zeros is a value.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG | libc::__WALL;
    // SAFETY: the pointer is to a live, writable siginfo.
    check_int(unsafe { libc::waitid(libc::P_PID, id, &raw mut told, flags) }).is_ok()
}

/// Reads the monotonic clock, which supervisor and sandbox share.
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live, writable timespec. CLOCK_MONOTONIC always exists, so the call cannot fail.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    duration(now.tv_sec, now.tv_nsec)
}

/// Ends the calling process without running anything that a copied address space inherited.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

fn duration(seconds: i64, nanoseconds: i64) -> Duration {
    Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanoseconds).unwrap_or(0),
    )
}
