//! The denials.
//!
//! Owns the table. It holds everything that Docker's default profile (moby 28) does not allow an unprivileged container,
//! and what agents' sandboxes have been left by. Never allows by name: what is not here is allowed up to [`HIGHEST_CALL`].

use super::denial::{Call, CallGroup, Check, Denial};
use nix::errno::Errno;
use nix::libc;

/// The highest number that was looked at: `removexattrat`, of Linux 6.13. What the kernel adds later is answered with
/// ENOSYS, as an older kernel would do, until somebody has judged it.
pub const HIGHEST_CALL: u32 = 466;

/// The flags of clone that make namespaces: mnt, cgroup, uts, ipc, user, pid, net. The one for time is no flag of clone.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// S_ISUID and S_ISGID.
const SETID_BITS: u32 = 0o6000;

/// O_CREAT, and the bit that O_TMPFILE has beyond O_DIRECTORY. Without one of them the mode is not read.
const CREATING_FLAGS: u32 = 0o100 | 0o20_000_000;

pub(super) const ALL_BITS: u32 = u32::MAX;
pub(super) const UNIX: u32 = 1;
pub(super) const INET: u32 = 2;
pub(super) const INET6: u32 = 10;
const NETLINK: u32 = 16;

/// The lower bits of a socket's kind; the others are flags.
pub(super) const KIND: u32 = 0xf;
pub(super) const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;

/// Protocols of inet sockets: the default, ICMP, TCP, UDP, ICMPv6, MPTCP.
const PROTOCOLS: [u32; 6] = [0, 1, 6, 17, 58, 262];

macro_rules! calls {
    ($($name:ident $(= $number:literal)?),+ $(,)?) => {
        &[$(calls!(@one $name $($number)?)),+]
    };
    (@one $name:ident) => {
        Call { name: name_of(stringify!($name)), number: number_of(libc::$name) }
    };
    (@one $name:ident $number:literal) => {
        Call { name: stringify!($name), number: $number }
    };
}

pub(super) use calls;

/// Takes `SYS_` off.
pub(super) const fn name_of(constant: &'static str) -> &'static str {
    constant.split_at(4).1
}

/// Numbers of calls are small; libc has them in the width of a register.
pub(super) const fn number_of(constant: libc::c_long) -> u32 {
    let [a, b, c, d, ..] = constant.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const fn always(
    group: CallGroup,
    calls: &'static [Call],
    answer: Errno,
    reason: &'static str,
) -> Denial {
    Denial {
        group,
        calls,
        checks: &[],
        when: "",
        answer,
        reason,
    }
}

const fn setid(calls: &'static [Call], checks: &'static [Check]) -> Denial {
    Denial {
        group: CallGroup::SetidBits,
        calls,
        checks,
        when: "with a set-user-id or set-group-id bit",
        answer: Errno::EPERM,
        reason: "on the host such a file of the workspace gives its owner's rights to whoever runs it",
    }
}

const fn mode_in(argument: u8) -> Check {
    Check::AnyBit {
        argument,
        bits: SETID_BITS,
    }
}

const fn creating(argument: u8) -> Check {
    Check::AnyBit {
        argument,
        bits: CREATING_FLAGS,
    }
}

pub(super) const fn inet() -> Check {
    Check::In {
        argument: 0,
        mask: ALL_BITS,
        values: &[INET, INET6],
    }
}

/// Every denial. Of the rows of one call the first that holds counts.
pub const DENIALS: &[Denial] = &[
    Denial {
        group: CallGroup::Namespaces,
        calls: calls![SYS_clone],
        checks: &[Check::AnyBit {
            argument: 0,
            bits: NAMESPACE_FLAGS,
        }],
        when: "with a flag for a namespace",
        answer: Errno::EPERM,
        reason: "a user namespace gives capabilities and with them far more of the kernel's code",
    },
    always(
        CallGroup::Namespaces,
        calls![SYS_clone3],
        Errno::ENOSYS,
        "its flags lie in memory, where a filter cannot read them; programs fall back to `clone`",
    ),
    always(
        CallGroup::Namespaces,
        calls![SYS_unshare, SYS_setns],
        Errno::EPERM,
        "as `clone`",
    ),
    always(
        CallGroup::Namespaces,
        calls![SYS_sethostname, SYS_setdomainname],
        Errno::EPERM,
        "only root of a namespace has a use for it",
    ),
    always(
        CallGroup::Mounts,
        calls![
            SYS_mount,
            SYS_umount2,
            SYS_pivot_root,
            SYS_chroot,
            SYS_open_tree,
            SYS_move_mount,
            SYS_fsopen,
            SYS_fsconfig,
            SYS_fsmount,
            SYS_fspick,
            SYS_mount_setattr,
        ],
        Errno::EPERM,
        "the private root is made of mounts",
    ),
    always(
        CallGroup::Mounts,
        calls![statmount = 457, listmount = 458, open_tree_attr = 467],
        Errno::ENOSYS,
        "new calls about mounts, which programs try first and do without",
    ),
    #[cfg(target_arch = "x86_64")]
    setid(calls![SYS_chmod], &[mode_in(1)]),
    setid(calls![SYS_fchmod], &[mode_in(1)]),
    setid(calls![SYS_fchmodat, SYS_fchmodat2], &[mode_in(2)]),
    #[cfg(target_arch = "x86_64")]
    setid(calls![SYS_creat, SYS_mknod], &[mode_in(1)]),
    setid(calls![SYS_mknodat], &[mode_in(2)]),
    #[cfg(target_arch = "x86_64")]
    setid(calls![SYS_open], &[creating(1), mode_in(2)]),
    setid(calls![SYS_openat], &[creating(2), mode_in(3)]),
    always(
        CallGroup::SetidBits,
        calls![SYS_openat2],
        Errno::ENOSYS,
        "its mode lies in memory, where a filter cannot read it; programs fall back to `openat`",
    ),
    Denial {
        group: CallGroup::Sockets,
        calls: calls![SYS_socket, SYS_socketpair],
        checks: &[Check::NotIn {
            argument: 0,
            mask: ALL_BITS,
            values: &[UNIX, INET, INET6, NETLINK],
        }],
        when: "of a family other than unix, inet, inet6 and netlink",
        answer: Errno::EAFNOSUPPORT,
        reason: "vsock reaches the host of a virtual machine past every network rule; alg, packet and the rest are seldom-used kernel code",
    },
    Denial {
        group: CallGroup::Sockets,
        calls: calls![SYS_socket],
        checks: &[
            inet(),
            Check::NotIn {
                argument: 1,
                mask: KIND,
                values: &[STREAM, DATAGRAM],
            },
        ],
        when: "of family inet or inet6 and neither stream nor datagram",
        answer: Errno::EPERM,
        reason: "raw sockets forge packets",
    },
    Denial {
        group: CallGroup::Sockets,
        calls: calls![SYS_socket],
        checks: &[
            inet(),
            Check::NotIn {
                argument: 2,
                mask: ALL_BITS,
                values: &PROTOCOLS,
            },
        ],
        when: "of family inet or inet6 with a protocol other than ICMP, TCP, MPTCP and UDP",
        answer: Errno::EPROTONOSUPPORT,
        reason: "each other protocol (SCTP, DCCP, SMC) loads a seldom-used module",
    },
    Denial {
        group: CallGroup::Sockets,
        calls: calls![SYS_socket],
        checks: &[
            Check::In {
                argument: 0,
                mask: ALL_BITS,
                values: &[NETLINK],
            },
            Check::NotIn {
                argument: 2,
                mask: ALL_BITS,
                values: &[0],
            },
        ],
        when: "of family netlink with a protocol other than route",
        answer: Errno::EPROTONOSUPPORT,
        reason: "everyday programs ask for addresses and routes only",
    },
    always(
        CallGroup::Keys,
        calls![SYS_add_key, SYS_request_key, SYS_keyctl],
        Errno::EPERM,
        "keyrings belong to ids of the host, not to the sandbox",
    ),
    always(
        CallGroup::IoUring,
        calls![
            SYS_io_uring_setup,
            SYS_io_uring_enter,
            SYS_io_uring_register,
        ],
        Errno::ENOSYS,
        "what is asked for through a ring passes no filter; programs fall back to other calls",
    ),
    always(
        CallGroup::OtherProcesses,
        calls![SYS_process_vm_readv, SYS_process_vm_writev],
        Errno::ENOSYS,
        "a debugger falls back to `ptrace`, which is confined to the sandbox's own processes",
    ),
    always(
        CallGroup::OtherProcesses,
        calls![SYS_process_madvise, SYS_pidfd_getfd, SYS_kcmp],
        Errno::EPERM,
        "memory and descriptors of others are not the workload's",
    ),
    always(
        CallGroup::Bpf,
        calls![SYS_bpf],
        Errno::EPERM,
        "it runs code in the kernel",
    ),
    always(
        CallGroup::Perf,
        calls![SYS_perf_event_open],
        Errno::EPERM,
        "it measures others and has been a way into the kernel",
    ),
    always(
        CallGroup::Userfaultfd,
        calls![SYS_userfaultfd],
        Errno::EPERM,
        "it holds the kernel in the middle of an access, which turns small races into exploits",
    ),
    always(
        CallGroup::FileHandles,
        calls![SYS_name_to_handle_at, SYS_open_by_handle_at],
        Errno::EPERM,
        "a handle passes every directory, and so every root and mask",
    ),
    always(
        CallGroup::Fanotify,
        calls![SYS_fanotify_init],
        Errno::EPERM,
        "it watches and holds up the file accesses of others",
    ),
    Denial {
        group: CallGroup::Terminals,
        calls: calls![SYS_ioctl],
        checks: &[Check::In {
            argument: 1,
            mask: ALL_BITS,
            // TIOCSTI, TIOCLINUX, TIOCSETD.
            values: &[0x5412, 0x541c, 0x5423],
        }],
        when: "with TIOCSTI, TIOCLINUX or TIOCSETD",
        answer: Errno::EPERM,
        reason: "the first two type into a terminal for whoever reads it next (CVE-2017-5226), the third loads line disciplines",
    },
    always(
        CallGroup::Numa,
        calls![
            SYS_get_mempolicy,
            SYS_set_mempolicy,
            SYS_mbind,
            SYS_migrate_pages,
            SYS_move_pages,
        ],
        Errno::EPERM,
        "it places the memory of a machine that others share",
    ),
    always(
        CallGroup::Numa,
        calls![SYS_set_mempolicy_home_node],
        Errno::ENOSYS,
        "as `mbind`; programs try it first and do without",
    ),
    Denial {
        group: CallGroup::Personality,
        calls: calls![SYS_personality],
        checks: &[Check::NotIn {
            argument: 0,
            mask: ALL_BITS,
            // Linux, with 32-bit or old version numbers in uname, and the question for the present one.
            values: &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff],
        }],
        when: "other than plain Linux, UNAME26 and the question",
        answer: Errno::EPERM,
        reason: "other domains turn protections off, such as random addresses",
    },
    always(
        CallGroup::Clock,
        calls![SYS_settimeofday, SYS_clock_settime],
        Errno::EPERM,
        "the clock is the host's",
    ),
    always(
        CallGroup::Administration,
        calls![
            SYS_init_module,
            SYS_finit_module,
            SYS_delete_module,
            SYS_kexec_load,
            SYS_kexec_file_load,
            SYS_reboot,
            SYS_swapon,
            SYS_swapoff,
            SYS_acct,
            SYS_quotactl,
            SYS_quotactl_fd,
            SYS_syslog,
            SYS_vhangup,
        ],
        Errno::EPERM,
        "it administers the host",
    ),
    #[cfg(target_arch = "x86_64")]
    always(
        CallGroup::Administration,
        calls![SYS_iopl, SYS_ioperm],
        Errno::EPERM,
        "it reaches the hardware",
    ),
    always(
        CallGroup::Obsolete,
        calls![SYS_lookup_dcookie, SYS_nfsservctl],
        Errno::ENOSYS,
        "nothing uses it any more",
    ),
    #[cfg(target_arch = "x86_64")]
    always(
        CallGroup::Obsolete,
        calls![
            SYS__sysctl,
            SYS_uselib,
            SYS_ustat,
            SYS_sysfs,
            SYS_getpmsg,
            SYS_putpmsg,
            SYS_afs_syscall,
            SYS_tuxcall,
            SYS_security,
            SYS_vserver,
            create_module = 174,
            get_kernel_syms = 177,
            query_module = 178,
        ],
        Errno::ENOSYS,
        "nothing uses it any more",
    ),
    always(
        CallGroup::Newest,
        calls![
            lsm_get_self_attr = 459,
            lsm_set_self_attr = 460,
            lsm_list_modules = 461,
        ],
        Errno::ENOSYS,
        "nothing needs it yet",
    ),
];
