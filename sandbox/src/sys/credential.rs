//! Ids, capabilities and process attributes of the calling process.
//!
//! Owns the raw calls behind them. Never uses the C library's set*id functions: they signal other threads through
//! state that a raw clone leaves stale. Invariant: each call changes the calling process only.

use super::{check, check_int};
use nix::libc;
use std::io;

/// Version 3 of the capability interface: two 32-bit words a set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets real, effective and saved user id.
pub(crate) fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: setresuid takes three integers and touches no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets real, effective and saved group id.
pub(crate) fn set_group(gid: u32) -> io::Result<()> {
    // SAFETY: setresgid takes three integers and touches no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Gives up every supplementary group.
pub(crate) fn clear_groups() -> io::Result<()> {
    // SAFETY: with a count of zero the kernel reads nothing through the null pointer.
    check(unsafe { libc::syscall(libc::SYS_setgroups, 0_usize, std::ptr::null::<u32>()) }).map(drop)
}

/// Empties the effective, permitted and inheritable capability sets.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let words = [CapabilityWord::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 prescribes, and the kernel only reads them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) }).map(drop)
}

/// Tells whether any capability is permitted to the calling process.
pub(crate) fn has_capabilities() -> io::Result<bool> {
    Ok(permitted()?.iter().any(|word| *word != 0))
}

/// Tells whether one capability is effective, by its number.
pub(crate) fn has_capability(number: u32) -> io::Result<bool> {
    let [low, high] = permitted()?;
    let all = u64::from(low) | (u64::from(high) << 32);
    Ok(all >> number & 1 == 1)
}

fn permitted() -> io::Result<[u32; 2]> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: both pointers are to live, writable values of the layout that version 3 prescribes.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    Ok(words.map(|word| word.permitted))
}

/// Removes one capability from the bounding set; EINVAL tells that the number does not exist.
pub(crate) fn drop_bounding(number: libc::c_ulong) -> io::Result<()> {
    set_attribute(libc::PR_CAPBSET_DROP, number)
}

/// Empties the ambient capability set.
pub(crate) fn clear_ambient() -> io::Result<()> {
    set_attribute(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
    )
}

/// Sets no_new_privs, for this process and all that it starts.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    set_attribute(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Makes the calling process unreadable through /proc and ptrace for its own user.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    set_attribute(libc::PR_SET_DUMPABLE, 0)
}

/// Makes orphaned descendants children of the calling process.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    set_attribute(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Asks for `signo` when the parent ends. A change of credentials clears it.
pub(crate) fn die_with_parent(signo: i32) -> io::Result<()> {
    set_attribute(
        libc::PR_SET_PDEATHSIG,
        libc::c_ulong::from(signo.unsigned_abs()),
    )
}

/// Joins a new, empty session keyring.
pub(crate) fn leave_session_keyring() -> io::Result<()> {
    // SAFETY: with a null name KEYCTL_JOIN_SESSION_KEYRING makes an anonymous keyring and follows no pointer.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    })
    .map(drop)
}

/// Sets the name that `ps` shows, at most 15 bytes.
pub(crate) fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: PR_SET_NAME reads at most 16 bytes and stops at the NUL that a CStr is sure to have.
    check_int(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

fn set_attribute(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option used in this file takes integers only, so no pointer is followed.
    check_int(unsafe { libc::prctl(option, value, zero, zero, zero) }).map(drop)
}
