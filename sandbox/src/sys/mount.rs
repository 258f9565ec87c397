//! Mounts by descriptor: no call here resolves a host name twice.
//!
//! Owns the wrappers of fsopen, fsmount, open_tree, move_mount and mount_setattr. Never mounts by path.
//! Invariant: a mount is detached until it is moved to its target, so that it is complete when it can be seen.

use super::check;
use nix::libc;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Attribute: read-only.
pub(crate) const READ_ONLY: u64 = 0x1;
/// Attribute: set-user-id and set-group-id bits have no effect.
pub(crate) const NO_SETUID: u64 = 0x2;
/// Attribute: device files cannot be opened.
pub(crate) const NO_DEVICES: u64 = 0x4;
/// Attribute: nothing can be executed.
pub(crate) const NO_EXEC: u64 = 0x8;
const ID_MAPPED: u64 = 0x0010_0000;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const CLOSE_ON_EXEC: u32 = 1;
const MOVE_FROM_EMPTY_PATH: u32 = 0x4;
const MOVE_TO_EMPTY_PATH: u32 = 0x40;
const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = 0x1000;

/// How far a mount call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The mount alone.
    One,
    /// The mount and all that is mounted below it.
    Tree,
}

impl Reach {
    fn flag(self) -> u32 {
        match self {
            Self::One => 0,
            Self::Tree => AT_RECURSIVE,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Begins the making of a new filesystem of the kind `name`.
pub(crate) fn open_filesystem(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the pointer is to a NUL-terminated string that the kernel only reads.
    own(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), CLOSE_ON_EXEC) })
}

/// Sets one option of a filesystem that is being made.
pub(crate) fn configure(filesystem: BorrowedFd<'_>, key: &CStr, value: &CStr) -> io::Result<()> {
    // SAFETY: both pointers are to NUL-terminated strings that the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            filesystem.as_raw_fd(),
            FSCONFIG_SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
            0_i32,
        )
    })
    .map(drop)
}

/// Switches one option of a filesystem on that has no value.
pub(crate) fn switch_on(filesystem: BorrowedFd<'_>, key: &CStr) -> io::Result<()> {
    // SAFETY: FSCONFIG_SET_FLAG wants null for the value; the key is a NUL-terminated string that the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            filesystem.as_raw_fd(),
            FSCONFIG_SET_FLAG,
            key.as_ptr(),
            std::ptr::null::<libc::c_char>(),
            0_i32,
        )
    })
    .map(drop)
}

/// Creates the filesystem from the options set so far.
pub(crate) fn create(filesystem: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: FSCONFIG_CMD_CREATE wants null for key and value, so no pointer is followed.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            filesystem.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<libc::c_char>(),
            std::ptr::null::<libc::c_char>(),
            0_i32,
        )
    })
    .map(drop)
}

/// Makes a detached mount of a created filesystem.
pub(crate) fn detached(filesystem: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: fsmount takes integers only.
    own(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            filesystem.as_raw_fd(),
            CLOSE_ON_EXEC,
            attributes,
        )
    })
}

/// Makes a detached copy of the mount at `source`, seen from the object that the descriptor names.
pub(crate) fn copy_tree(source: BorrowedFd<'_>, reach: Reach) -> io::Result<OwnedFd> {
    let close_on_exec = libc::O_CLOEXEC.unsigned_abs();
    // SAFETY: the path is the empty C string, which the kernel only reads.
    own(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            source.as_raw_fd(),
            c"".as_ptr(),
            OPEN_TREE_CLONE | AT_EMPTY_PATH | close_on_exec | reach.flag(),
        )
    })
}

/// Makes a detached copy of the mount at `directory`, seen from the entry `name` of it, which is not followed.
pub(crate) fn copy_named(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let close_on_exec = libc::O_CLOEXEC.unsigned_abs();
    let no_follow = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    // SAFETY: the path is a NUL-terminated string that the kernel only reads; the descriptor is borrowed, so it is open.
    own(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            directory.as_raw_fd(),
            name.as_ptr(),
            OPEN_TREE_CLONE | close_on_exec | no_follow,
        )
    })
}

/// Attaches a detached mount at the object that `target` names.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both paths are the empty C string, which the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_FROM_EMPTY_PATH | MOVE_TO_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Adds attributes to a mount and makes it private, so that nothing propagates to or from the host.
pub(crate) fn restrict(mount: BorrowedFd<'_>, attributes: u64, reach: Reach) -> io::Result<()> {
    set(
        mount,
        &MountAttributes {
            set: attributes,
            propagation: libc::MS_PRIVATE,
            ..MountAttributes::default()
        },
        reach,
    )
}

/// Translates the file owners of a detached mount through the id maps of a user namespace.
pub(crate) fn map_ids(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    reach: Reach,
) -> io::Result<()> {
    set(
        mount,
        &MountAttributes {
            set: ID_MAPPED,
            user_namespace: u64::from(namespace.as_raw_fd().unsigned_abs()),
            ..MountAttributes::default()
        },
        reach,
    )
}

fn set(mount: BorrowedFd<'_>, attributes: &MountAttributes, reach: Reach) -> io::Result<()> {
    // SAFETY: the path is the empty C string; the structure has the layout and the size that are passed, and is only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | reach.flag(),
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

fn own(value: libc::c_long) -> io::Result<OwnedFd> {
    let number = check(value)?;
    let number =
        i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: every caller passes the result of a call that makes a descriptor, whose number nothing else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
