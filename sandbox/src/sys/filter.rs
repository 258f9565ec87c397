//! The installation of a seccomp filter.
//!
//! Owns the raw call. Never looks at the program: that the filter module made it is all it knows.

use super::check;
use crate::filter::Program;
use nix::libc;
use std::io;

/// Installs a program for the calling process and all that it starts; nothing can take it off again.
///
/// EINVAL or ENOSYS tell that the kernel has no filters, EACCES that no_new_privs is not set.
pub(crate) fn install(program: &Program) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .instructions()
        .map(|one| libc::sock_filter {
            code: one.code,
            jt: one.if_true,
            jf: one.if_false,
            k: one.value,
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let whole = libc::sock_fprog {
        len: length,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: `whole` points to `length` live instructions of the layout that the kernel prescribes, which it only reads;
    // with no flags the calling thread alone is filtered, and no descriptor is returned.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const whole,
        )
    })
    .map(drop)
}
