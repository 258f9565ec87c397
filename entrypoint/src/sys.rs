//! System calls that neither std nor nix offers: signal sets with real-time signals, fork, exec, raw waiting.
//!
//! Owns every unsafe block of this crate.
//! Never does: decide anything; each function is one system call, or those that belong together, and returns `io::Result`.
//! Invariant: nothing that runs between a fork and an exec allocates.
#![allow(
    unsafe_code,
    reason = "signal sets with real-time signals, fork, exec and wait4 have no safe wrapper in std or nix"
)]

mod children;

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;

pub(crate) use children::{next_change, reap_any};

/// Bytes in the kernel's own signal set: 64 signals. The C library's `sigset_t` is larger and its functions hide two of them.
const KERNEL_SIGNAL_SET_BYTES: usize = size_of::<u64>();

/// The two sides of a fork.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The caller goes on as the parent of this process.
    Parent(i32),
    /// The caller is the new process.
    Child,
}

/// The argument vector of an `execve`, laid out before the fork.
#[derive(Debug)]
pub(crate) struct ArgumentVector {
    /// Pointers into `strings`, ended by a null pointer.
    pointers: Vec<*const c_char>,
    /// Keeps alive what `pointers` points to; never changed after construction.
    #[expect(dead_code, reason = "owns the memory that the pointers refer to")]
    strings: Vec<CString>,
}

impl ArgumentVector {
    /// Lays out `strings` as the kernel expects them.
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self { pointers, strings }
    }
}

/// Room for the digits of any pid (proc_pid(5): at most 2^22).
const PID_DIGITS: usize = 10;

/// The number in `LISTEN_PID`, by which a service manager says for which process its descriptors are (sd_listen_fds(3)).
#[derive(Debug)]
pub(crate) struct ListenPid {
    /// The value in the environment: [`PID_DIGITS`] bytes and a null byte.
    digits: *mut c_char,
}

impl ListenPid {
    /// The variable where it names this process, with room for any other number. The caller has one thread.
    pub(crate) fn of_this_process() -> Option<Self> {
        const NAME: &CStr = c"LISTEN_PID";
        let own = std::process::id().to_string();
        if std::env::var_os(NAME.to_str().ok()?)?.to_str() != Some(&own) {
            return None;
        }
        let room = CString::new(format!("{own:0>PID_DIGITS$}")).ok()?;
        // SAFETY: both are null-terminated and are copied, and there is one thread, so that nobody reads the environment while
        // it changes.
        if unsafe { libc::setenv(NAME.as_ptr(), room.as_ptr(), 1) } != 0 {
            return None;
        }
        // SAFETY: the name is null-terminated, and nobody changes the environment meanwhile.
        let digits = unsafe { libc::getenv(NAME.as_ptr()) };
        (!digits.is_null()).then_some(Self { digits })
    }

    /// Names the calling process. It allocates nothing, so that a child may call it before it executes a program.
    pub(crate) fn name_this_process(&self) {
        let mut digits = [0_u8; PID_DIGITS];
        let mut rest = std::process::id();
        let mut n_digits = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            n_digits += 1;
            if rest == 0 {
                break;
            }
        }
        let first = digits.iter().skip(PID_DIGITS - n_digits);
        for (idx, digit) in first.chain([&0]).enumerate() {
            let place = self.digits.wrapping_add(idx).cast::<u8>();
            // SAFETY: `digits` has room for PID_DIGITS bytes and a null byte, of which no more are written, and lives in the
            // environment, which nobody changes or reads meanwhile: this process has one thread, and so has the one whose
            // memory it may share.
            unsafe { place.write(*digit) };
        }
    }
}

/// Whether SIGPIPE was ignored when the program began. The runtime ignores it before `main`, and cannot be asked afterwards.
static BROKEN_PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Called by the C library before the runtime of Rust begins.
// SAFETY: the section holds pointers to functions that the C library calls once, with arguments that this one does not take;
// the function is one system call and one store to an atomic, and so needs nothing that is not set up yet.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = remember_broken_pipe;

extern "C" fn remember_broken_pipe() {
    if matches!(is_ignored(libc::SIGPIPE), Ok(true)) {
        BROKEN_PIPE_IGNORED.store(true, Ordering::Relaxed);
    }
}

/// Whether SIGPIPE was ignored when the program began.
pub(crate) fn broken_pipe_was_ignored() -> bool {
    BROKEN_PIPE_IGNORED.load(Ordering::Relaxed)
}

/// Replaces the calling thread's signal mask; bit n-1 stands for signal n.
pub(crate) fn set_signal_mask(mask: u64) -> io::Result<()> {
    replace_signal_mask(mask).map(drop)
}

/// Replaces the calling thread's signal mask and gives the one that it had.
pub(crate) fn replace_signal_mask(mask: u64) -> io::Result<u64> {
    let mut old = 0_u64;
    // SAFETY: the kernel reads exactly KERNEL_SIGNAL_SET_BYTES from `mask` and writes as many to `old`; both are live and of
    // that size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            KERNEL_SIGNAL_SET_BYTES,
        )
    };
    check(result).map(|_| old)
}

/// Waits for one of the blocked signals in `mask` and takes it, the lowest number first; `None` when the time is up.
///
/// Without a limit it waits for ever, and no timer runs.
pub(crate) fn take_signal(mask: u64, limit: Option<Duration>) -> io::Result<Option<c_int>> {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: c_long::from(limit.subsec_nanos().cast_signed()),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads exactly KERNEL_SIGNAL_SET_BYTES from `mask`, which is a live u64 of that size; a null pointer
    // for the signal's details is allowed; `limit` is null or points to a live timespec of the kernel's own layout.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const mask,
            ptr::null_mut::<u8>(),
            limit,
            KERNEL_SIGNAL_SET_BYTES,
        )
    };
    match check(result) {
        Ok(signal) => Ok(c_int::try_from(signal).ok()),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a signal of any number, real-time ones included, to a process, or to a group as kill(2) counts them.
pub(crate) fn send_signal(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory.
    let result = unsafe { libc::kill(pid, signal) };
    check(c_long::from(result)).map(drop)
}

/// Opens a non-blocking, close-on-exec signalfd for the signals in `mask`.
pub(crate) fn open_signal_descriptor(mask: u64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads exactly KERNEL_SIGNAL_SET_BYTES from `mask`, which is a live u64 of that size; -1 asks for a
    // new descriptor, so none that is owned elsewhere is changed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            KERNEL_SIGNAL_SET_BYTES,
            libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
        )
    };
    let number = check_descriptor(result)?;
    // SAFETY: the kernel has just created `number` for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the signal's disposition is to be ignored.
pub(crate) fn is_ignored(signal: c_int) -> io::Result<bool> {
    // SAFETY: `sigaction` is a C structure of integers and of an optional function pointer; all zeros is valid for each.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer for the new action changes nothing, and `action` is a live `sigaction` for the old one.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    check(c_long::from(result))?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Gives the signal its default disposition.
///
/// The raw call, because the C library refuses its own two signals (32 and 33), and glibc's `posix_spawn` leaves exactly
/// these ignored in its children.
pub(crate) fn reset_disposition(signal: c_int) -> io::Result<()> {
    set_disposition(signal, libc::SIG_DFL)
}

/// Lets the signal be ignored.
pub(crate) fn ignore(signal: c_int) -> io::Result<()> {
    set_disposition(signal, libc::SIG_IGN)
}

/// Gives the signal one of the two dispositions that are no function.
fn set_disposition(signal: c_int, disposition: libc::sighandler_t) -> io::Result<()> {
    // The kernel's structure is a handler, flags, on some machines a restorer, and a mask: never more than four words.
    // On all machines of Linux the handler comes first but on MIPS; zeros are no flags and an empty mask.
    let action = [disposition, 0, 0, 0];
    // SAFETY: the kernel reads its structure from `action`, which is at least as large and fully initialised; both callers
    // ask for no function, so no handler address is ever called; a null pointer for the old action is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            ptr::null_mut::<u64>(),
            KERNEL_SIGNAL_SET_BYTES,
        )
    };
    check(result).map(drop)
}

/// Lets the signal end the process at once, with 128 + its number as exit code; an exec gives it its default disposition again.
pub(crate) fn exit_on(signal: c_int) -> io::Result<()> {
    extern "C" fn exit(signal: c_int) {
        exit_at_once(128 + signal);
    }
    // SAFETY: `sigaction` is a C structure of integers and of an optional function pointer; all zeros is valid for each, and
    // means no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = exit as extern "C" fn(c_int) as usize;
    // SAFETY: `action` is a live `sigaction` whose handler has the type that the kernel calls without SA_SIGINFO, lives as
    // long as the program, and only calls _exit, which is async-signal-safe; a null pointer for the old action is allowed.
    let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    check(c_long::from(result)).map(drop)
}

/// Splits the process in two.
///
/// The caller has made sure that there is one thread, and the child calls nothing but functions of this module and other
/// plain system calls until it execs or exits.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: fork has no memory preconditions of its own; with one thread (checked at start by the guardian) no lock can be
    // held by a thread that the child lacks.
    let result = unsafe { libc::fork() };
    match check(c_long::from(result))? {
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent(result)),
    }
}

/// Bytes of a stack on which a child runs until its exec: ten times what that needs, execvp(3) with its paths included.
const CHILD_STACK_BYTES: usize = 128 << 10;

/// Makes a child that runs `work` in the memory of this process while this process waits, and then executes a program or ends
/// with the code that `work` gives (vfork(2)). A fork would copy page tables, and both sides would pay for each page that
/// they touch behind it.
///
/// `arguments` are those of the program: a file without a known format is given to a shell with a copy of them on the stack.
/// The caller has one thread and every signal blocked; `work` allocates nothing and takes no lock.
pub(crate) fn spawn(arguments: &ArgumentVector, work: &dyn Fn() -> c_int) -> io::Result<i32> {
    extern "C" fn enter(work: *mut c_void) -> c_int {
        // SAFETY: `spawn` passes a pointer to its own parameter, and does not go on before this process has left the memory.
        let work: &&dyn Fn() -> c_int = unsafe { &*work.cast() };
        work()
    }
    let n_words = CHILD_STACK_BYTES / size_of::<u128>() + arguments.pointers.len();
    let mut stack = Vec::<u128>::with_capacity(n_words);
    let top = stack.as_mut_ptr().wrapping_add(n_words);
    // SAFETY: `enter` gets a pointer to `work`, and `top` is the aligned end of an allocation that nothing else uses; both live
    // until this function returns, and with CLONE_VFORK the kernel lets it go on only when the child has executed a program or
    // ended. Until then no other thread and no handler runs in this memory; the one errno is overwritten by the result.
    let result = unsafe {
        libc::clone(
            enter,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw const work).cast_mut().cast(),
        )
    };
    check(c_long::from(result)).map(|_| result)
}

/// Lets go of the pages of the program file that this process has looked at and not changed: the next look brings back those
/// that are needed. A start touches code all over the file, and a wait very little of it.
pub(crate) fn let_go_of_program_pages() {
    extern "C" fn let_go(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
        // SAFETY: the C library passes a pointer to a live description of an object for the time of the call.
        let object = unsafe { &*object };
        // SAFETY: `dlpi_phdr` points to as many headers as `dlpi_phnum` says, which live as long as the object is loaded.
        let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        for header in headers {
            let is_read_only = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
            let (Ok(address), Ok(length)) = (
                usize::try_from(object.dlpi_addr + header.p_vaddr),
                usize::try_from(header.p_memsz),
            ) else {
                continue;
            };
            // Whole pages within the segment: what shares a page with another segment stays.
            let start = address.next_multiple_of(LARGEST_PAGE);
            let end = (address + length) / LARGEST_PAGE * LARGEST_PAGE;
            if is_read_only && start < end {
                let start = ptr::with_exposed_provenance_mut(start);
                // SAFETY: the pages belong to a segment of the program file that is mapped privately and cannot be written, so
                // they hold what is in the file, and the kernel reads them from there again when they are touched.
                unsafe { libc::madvise(start, end - start.addr(), libc::MADV_DONTNEED) };
            }
        }
        // The first object is the program; more are not looked at.
        1
    }
    // SAFETY: `let_go` has the type that the C library calls, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go), ptr::null_mut()) };
}

/// The largest page of a machine that Linux runs on, in bytes.
const LARGEST_PAGE: usize = 64 << 10;

/// Replaces the process image, keeping the environment; returns only on failure.
pub(crate) fn execute(program: &CStr, arguments: &ArgumentVector) -> io::Error {
    // SAFETY: `program` is null-terminated; `pointers` ends with a null pointer and every other element points to a
    // null-terminated string that `arguments` owns and never changes.
    unsafe { libc::execv(program.as_ptr(), arguments.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// The same, looking for a program without a slash in PATH, and giving a file without a known format to `/bin/sh` (exec(3)).
pub(crate) fn execute_by_name(program: &CStr, arguments: &ArgumentVector) -> io::Error {
    // SAFETY: as for `execute`.
    unsafe { libc::execvp(program.as_ptr(), arguments.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives up the controlling terminal, if standard input is it (ioctl_tty(2), TIOCNOTTY).
pub(crate) fn give_up_terminal() -> io::Result<()> {
    // SAFETY: TIOCNOTTY takes no argument and touches no memory.
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCNOTTY) };
    check(c_long::from(result)).map(drop)
}

/// Makes the terminal on standard input the controlling one of this session (ioctl_tty(2), TIOCSCTTY).
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer, here 0: steal from nobody; it touches no memory.
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
    check(c_long::from(result)).map(drop)
}

/// Standard input, without the buffer that the one of std comes with.
pub(crate) fn standard_input() -> BorrowedFd<'static> {
    // SAFETY: the runtime makes sure that 0, 1 and 2 are open before `main`, and nothing of this crate closes them.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// Standard output, likewise.
pub(crate) fn standard_output() -> BorrowedFd<'static> {
    // SAFETY: as for `standard_input`.
    unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) }
}

/// Ends the process at once, without destructors or exit handlers: the right end for a forked child that could not exec.
pub(crate) fn exit_at_once(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes `number` a second name of `descriptor`, without close-on-exec; whatever had that number before is closed.
///
/// Called only in a forked child, whose descriptors are about to be replaced by those of the next program.
pub(crate) fn install_descriptor(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: `descriptor` is open for the call. `number` may be owned in the parent's memory image, but the forked child
    // that calls this runs no destructor and touches no owned descriptor of that number before exec.
    let result = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    check(c_long::from(result)).map(drop)
}

/// Duplicates a descriptor to the lowest free number not below `minimum`, close-on-exec.
pub(crate) fn duplicate_above(descriptor: BorrowedFd<'_>, minimum: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer argument and touches no memory; `descriptor` is open for the call.
    let result = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, minimum) };
    let number = check_descriptor(c_long::from(result))?;
    // SAFETY: the kernel has just created `number` for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets close-on-exec on `number` and takes its ownership; fails when it is not open.
///
/// The caller makes sure that nothing else in the process owns it.
pub(crate) fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer argument and touches no memory; on a closed number it fails with EBADF.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    check(c_long::from(result))?;
    // SAFETY: the call above succeeded, so `number` is open; `inherited::take_descriptor`, the only caller, hands out each
    // number once, and only numbers that the previous program image left open for this one.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` to `last`, both included.
///
/// The caller makes sure that nothing in the process owns one of them.
pub(crate) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range touches no memory. The guardian, its only caller, passes the gaps between the descriptors that it
    // owns, before it creates any other.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(result).map(drop)
}

/// Opens a descriptor that refers to the process and not to its number.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let number = check_descriptor(result)?;
    // SAFETY: the kernel has just created `number` for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends a signal to the process behind a descriptor of `open_process`.
pub(crate) fn send_to_process(process: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: a null pointer for the signal information is allowed, and the other arguments are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            ptr::null::<u8>(),
            0,
        )
    };
    check(result).map(drop)
}

/// Turns -1 into the error that the call has left in `errno`.
fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As `check`, for calls that return a descriptor.
fn check_descriptor(result: c_long) -> io::Result<RawFd> {
    RawFd::try_from(check(result)?).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))
}
