//! The network namespace, made by a second process while the first one makes the private root.
//!
//! Owns that process and its calls. It is most of the time of all namespaces together, and nothing else waits for it.
//! Never lets the first process out of sight: it enters the namespace by itself or says why not. Invariant: the second process
//! shares memory and descriptors with the first one, so it touches nothing but its stack and what it is told to write:
//! no allocation, no lock, and not errno, which both have.

use super::sharing::Stack;
use super::{check_int, process, signal};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use std::arch::asm;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Gives a descriptor of a socket's network namespace, linux/sockios.h; Linux 4.9.
const NAMESPACE_OF_SOCKET: libc::Ioctl = 0x894c;

/// SIOCSIFFLAGS as a register takes it, linux/sockios.h.
const SET_INTERFACE_FLAGS: usize = 0x8914;

/// No call failed.
const NONE: i32 = 0;

/// Which part could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The namespace, or the way into it.
    Namespace,
    /// Its loopback interface.
    Loopback,
}

/// What the second process leaves, each written once and read when it has ended.
struct Outcome {
    request: libc::ifreq,
    /// A socket of the namespace, negative while there is none.
    socket: AtomicI32,
    namespace_error: AtomicI32,
    loopback_error: AtomicI32,
}

/// A namespace that is being made.
pub(crate) struct Making {
    pid: i32,
    outcome: Box<Outcome>,
    /// Both are used until the process has ended.
    _stack: Stack,
}

impl Making {
    /// Begins. The caller has one thread, every signal blocked, and may make namespaces.
    ///
    /// # Errors
    /// If there can be no second process.
    pub(crate) fn begin() -> io::Result<Self> {
        let stack = Stack::new()?;
        let outcome = Box::new(Outcome {
            request: super::network::loopback_up(),
            socket: AtomicI32::new(-1),
            namespace_error: AtomicI32::new(NONE),
            loopback_error: AtomicI32::new(NONE),
        });
        // SAFETY: `work` gets a pointer to `outcome` and runs on `stack`; both live until the process has ended, which `end`
        // waits for. It calls nothing of the C library, so what that keeps for the calling thread stays the caller's alone.
        // Descriptors that the caller makes and closes meanwhile are numbers that it never uses.
        let pid = check_int(unsafe {
            libc::clone(
                work,
                stack.top(),
                libc::CLONE_VM | libc::CLONE_FILES,
                (&raw const *outcome).cast_mut().cast(),
            )
        })?;
        Ok(Self {
            pid,
            outcome,
            _stack: stack,
        })
    }

    /// Waits until the namespace is there, and takes the calling process into it.
    ///
    /// # Errors
    /// Which part cannot be made, and why; then the caller is where it was, or in a namespace without loopback.
    pub(crate) fn enter(mut self) -> Result<(), (Part, io::Error)> {
        let namespace = |error| (Part::Namespace, error);
        self.end().map_err(namespace)?;
        let failed = |error: &AtomicI32| match error.load(Ordering::Acquire) {
            NONE => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        };
        failed(&self.outcome.namespace_error).map_err(namespace)?;
        let socket = match self.outcome.socket.load(Ordering::Acquire) {
            number @ 0.. => {
                // SAFETY: the second process made this descriptor in the table that both had, and it has ended: it is ours.
                Some(unsafe { OwnedFd::from_raw_fd(number) })
            }
            _ => None,
        };
        failed(&self.outcome.loopback_error).map_err(|error| (Part::Loopback, error))?;
        // It was killed before it could say anything.
        let socket = socket.ok_or_else(|| namespace(io::ErrorKind::BrokenPipe.into()))?;
        // SAFETY: SIOCGSKNS takes no argument and makes a descriptor, close-on-exec.
        let made = check_int(unsafe { libc::ioctl(socket.as_raw_fd(), NAMESPACE_OF_SOCKET) });
        let made: RawFd = made.map_err(namespace)?;
        // SAFETY: the kernel has just made this descriptor for us, and nothing else knows its number.
        let made = unsafe { OwnedFd::from_raw_fd(made) };
        setns(made, CloneFlags::CLONE_NEWNET).map_err(|errno| namespace(errno.into()))
    }

    /// Waits for the end of the process and reaps it, once.
    fn end(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.pid) {
            0 => Ok(()),
            pid => process::reap_exactly(pid),
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.pid != 0 {
            let _ = signal::send(self.pid, libc::SIGKILL);
            let _ = self.end();
        }
    }
}

/// The second process.
extern "C" fn work(outcome: *mut c_void) -> libc::c_int {
    // SAFETY: `begin` passes a pointer to what lives longer than this process; all that is written here is atomic.
    let outcome: &Outcome = unsafe { &*outcome.cast() };
    let new_network = libc::CLONE_NEWNET.unsigned_abs() as usize;
    if let Err(errno) = call(libc::SYS_unshare, [new_network, 0, 0]) {
        outcome.namespace_error.store(errno, Ordering::Release);
        return 0;
    }
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).unsigned_abs() as usize;
    let family = libc::AF_INET.unsigned_abs() as usize;
    match call(libc::SYS_socket, [family, kind, 0]) {
        Err(errno) => outcome.loopback_error.store(errno, Ordering::Release),
        Ok(socket) => {
            let request = (&raw const outcome.request).addr();
            let up = [socket, SET_INTERFACE_FLAGS, request];
            if let Err(errno) = call(libc::SYS_ioctl, up) {
                outcome.loopback_error.store(errno, Ordering::Release);
            }
            let number = i32::try_from(socket).unwrap_or(-1);
            outcome.socket.store(number, Ordering::Release);
        }
    }
    // The C library's clone ends the process with this and touches nothing else.
    0
}

/// Makes a system call without the C library, which would write its errno; gives the errno instead.
fn call(number: libc::c_long, [first, second, third]: [usize; 3]) -> Result<usize, i32> {
    let number = isize::try_from(number).map_err(|_| libc::ENOSYS)?;
    let answer: isize;
    // SAFETY: the callers pass integers and one address of a live value that the kernel only reads. The instruction changes the
    // registers that are named here, syscall(2).
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first as isize => answer,
            in("x1") second,
            in("x2") third,
            options(nostack),
        );
    }
    match usize::try_from(answer) {
        Ok(value) => Ok(value),
        Err(_) => Err(i32::try_from(answer.unsigned_abs()).unwrap_or(libc::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Making, Part, call};
    use nix::libc;
    use std::fs;

    #[test]
    fn a_call_gives_its_errno_and_leaves_that_of_the_c_library_alone() {
        nix::errno::Errno::set_raw(libc::ENOTTY);
        assert_eq!(call(libc::SYS_close, [usize::MAX, 0, 0]), Err(libc::EBADF));
        assert_eq!(nix::errno::Errno::last_raw(), libc::ENOTTY);
        let own = usize::try_from(std::process::id()).unwrap();
        assert_eq!(call(libc::SYS_getpid, [0, 0, 0]), Ok(own));
    }

    #[test]
    fn the_caller_is_in_the_namespace_or_told_why_not() {
        let namespace = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = namespace();
        let entered = Making::begin().unwrap().enter();
        if nix::unistd::geteuid().is_root() {
            entered.unwrap();
            assert_ne!(namespace(), before);
            let up = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            assert!(up.contains(" lo"), "{up}");
        } else {
            let (part, error) = entered.unwrap_err();
            assert_eq!(
                (part, error.raw_os_error()),
                (Part::Namespace, Some(libc::EPERM))
            );
            assert_eq!(namespace(), before);
        }
    }

    #[test]
    fn one_that_is_let_go_of_leaves_no_process() {
        let making = Making::begin().unwrap();
        let pid = making.pid;
        drop(making);
        assert!(!crate::sys::process::is_child(pid));
    }
}
