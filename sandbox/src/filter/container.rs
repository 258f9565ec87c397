//! What the filter denies beyond the table where no namespace does it.
//!
//! Owns the rows of the tier container. No preset lifts them: they hold what namespaces hold in the tier full.
//! Invariant: with [`NO_NETWORK`] or [`PROXY_ONLY`], no socket is made that passes Landlock's rules for TCP.

use super::denial::{Call, CallGroup, Check, Denial};
use super::table::{ALL_BITS, INET, INET6, KIND, STREAM, UNIX, calls, inet, name_of, number_of};
use nix::errno::Errno;
use nix::libc;

/// MSG_FASTOPEN: the first bytes go out with the request to connect, past the hook for connecting.
const FAST_OPEN: u32 = 0x2000_0000;

/// IPPROTO_TCP, the level of its options.
const TCP: u32 = 6;

const SOCKET: &[Call] = calls![SYS_socket];

const fn not(argument: u8, values: &'static [u32]) -> Check {
    Check::NotIn {
        argument,
        mask: ALL_BITS,
        values,
    }
}

const fn is(argument: u8, values: &'static [u32]) -> Check {
    Check::In {
        argument,
        mask: ALL_BITS,
        values,
    }
}

const fn socket(
    checks: &'static [Check],
    when: &'static str,
    answer: Errno,
    reason: &'static str,
) -> Denial {
    Denial {
        group: CallGroup::Sockets,
        calls: SOCKET,
        checks,
        when,
        answer,
        reason,
    }
}

const fn fast_open(calls: &'static [Call], checks: &'static [Check]) -> Denial {
    Denial {
        group: CallGroup::Sockets,
        calls,
        checks,
        when: "with MSG_FASTOPEN",
        answer: Errno::EPERM,
        reason: "it connects past Landlock's rules",
    }
}

const fn of_others(calls: &'static [Call], checks: &'static [Check], when: &'static str) -> Denial {
    Denial {
        group: CallGroup::OtherProcesses,
        calls,
        checks,
        when,
        answer: Errno::EPERM,
        reason: "the supervisor has the same id, and the kernel asks for no more",
    }
}

/// In every sandbox of the tier.
pub(crate) const EVERYWHERE: &[Denial] = &[Denial {
    group: CallGroup::OtherProcesses,
    calls: calls![
        SYS_shmget,
        SYS_shmat,
        SYS_shmctl,
        SYS_semget,
        SYS_semop,
        SYS_semtimedop,
        SYS_semctl,
        SYS_msgget,
        SYS_msgsnd,
        SYS_msgrcv,
        SYS_msgctl,
        SYS_mq_open,
        SYS_mq_unlink,
    ],
    checks: &[],
    when: "",
    answer: Errno::ENOSYS,
    reason: "memory, semaphores and queues of the container are not the workload's, and its own would stay behind",
}];

/// With `--net none`.
pub(crate) const NO_NETWORK: &[Denial] = &[socket(
    &[not(0, &[UNIX])],
    "of a family other than unix",
    Errno::EAFNOSUPPORT,
    "the network is the container's; a socket that listens without an address gets one past Landlock",
)];

/// With `--net allow=…`.
pub(crate) const PROXY_ONLY: &[Denial] = &[
    socket(
        &[not(0, &[UNIX, INET, INET6])],
        "of a family other than unix, inet and inet6",
        Errno::EAFNOSUPPORT,
        "the network is the container's",
    ),
    socket(
        &[
            inet(),
            Check::NotIn {
                argument: 1,
                mask: KIND,
                values: &[STREAM],
            },
        ],
        "of family inet or inet6 and no stream",
        Errno::EPERM,
        "Landlock has no rules for datagrams before ABI 10",
    ),
    socket(
        &[inet(), not(2, &[0, TCP])],
        "of family inet or inet6 with a protocol other than TCP",
        Errno::EPROTONOSUPPORT,
        "MPTCP connects past Landlock's rules",
    ),
    fast_open(
        calls![SYS_sendto, SYS_sendmmsg],
        &[Check::AnyBit {
            argument: 3,
            bits: FAST_OPEN,
        }],
    ),
    fast_open(
        calls![SYS_sendmsg],
        &[Check::AnyBit {
            argument: 2,
            bits: FAST_OPEN,
        }],
    ),
    Denial {
        group: CallGroup::Sockets,
        calls: calls![SYS_setsockopt],
        // TCP_FASTOPEN_CONNECT and TCP_ULP.
        checks: &[is(1, &[TCP]), is(2, &[30, 31])],
        when: "with TCP_FASTOPEN_CONNECT or TCP_ULP",
        answer: Errno::EPERM,
        reason: "the first connects past Landlock's rules, the second makes another protocol of a TCP socket",
    },
];

/// Where the workload has the id of processes outside of it.
pub(crate) const SHARED_ID: &[Denial] = &[
    of_others(
        calls![
            SYS_prlimit64,
            SYS_sched_setaffinity,
            SYS_sched_setscheduler,
            SYS_sched_setparam,
            SYS_sched_setattr,
        ],
        &[not(0, &[0])],
        "for another pid than 0, which is the caller",
    ),
    of_others(
        calls![SYS_setpriority, SYS_ioprio_set],
        &[not(1, &[0])],
        "for another pid than 0, which is the caller",
    ),
    of_others(calls![SYS_setpriority], &[is(0, &[2])], "for a whole user"),
    of_others(calls![SYS_ioprio_set], &[is(0, &[3])], "for a whole user"),
];
