//! Attempts at the kernel: mounts, keys, modules, seldom-used sockets, other entries.

use super::attempt::{Attempt, Class};

const fn kernel(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Kernel, name, attack, twin)
}

const DEPENDS: &str = "not every kernel has it, or gives it to this caller";

pub const ATTEMPTS: &[Attempt] = &[
    kernel(
        "mount-tmpfs",
        "mount-tmpfs {workspace}/sub",
        "list {workspace}/sub",
    )
    .root(),
    kernel(
        "bind-over",
        "bind-over /usr {workspace}/sub",
        "read {workspace}/notes.txt",
    )
    .root(),
    kernel("make-writable", "make-writable /proc", "read /proc/version").root(),
    kernel("unmount", "reach umount2 @/proc 4", "call sysinfo !").root(),
    kernel(
        "open-filesystem",
        "call fsopen @tmpfs 0",
        "call memfd_create @twin 0",
    )
    .root(),
    kernel(
        "pick-filesystem",
        "call fspick -100 @/proc 0",
        "call memfd_create @twin 0",
    )
    .root(),
    kernel("make-mount", "reach fsmount -1 0 0", "call eventfd2 0 0").root(),
    kernel(
        "clone-mounts",
        "call open_tree -100 @/ 1",
        "call epoll_create1 0",
    )
    .root(),
    kernel(
        "change-mounts",
        "reach mount_setattr -100 @/proc 0 ! 32",
        "call eventfd2 0 0",
    )
    .root(),
    kernel(
        "move-mount",
        "reach move_mount -1 @ -1 @ 0x44",
        "call timerfd_create 1 0",
    )
    .root(),
    kernel("pivot-root", "reach pivot_root @/ @/", "change-directory /").root(),
    kernel(
        "add-key",
        "call add_key @user @attack @x 1 -2",
        "call eventfd2 0 0",
    ),
    kernel(
        "session-keyring",
        "call keyctl 0 -3 1",
        "call memfd_create @twin 0",
    )
    .unproven(DEPENDS),
    kernel(
        "request-key",
        "reach request_key @user @attack 0 0",
        "call times !",
    ),
    kernel("bpf", "reach bpf 5 ! 128", "call getrusage 0 !").root(),
    kernel("perf", "measure", "call getrusage 0 !").unproven(DEPENDS),
    kernel(
        "userfaultfd",
        "call userfaultfd 1",
        "call timerfd_create 1 0",
    )
    .unproven(DEPENDS),
    kernel(
        "io-uring",
        "call io_uring_setup 1 !",
        "call epoll_create1 0",
    )
    .unproven(DEPENDS),
    kernel(
        "fanotify",
        "call fanotify_init 0x200 0",
        "call inotify_init1 0",
    )
    .unproven(DEPENDS),
    kernel(
        "load-module",
        "reach init_module ! 0 @",
        "read /proc/version",
    )
    .unproven(DEPENDS),
    kernel(
        "load-module-file",
        "reach finit_module -1 @ 0",
        "plain-call",
    )
    .unproven(DEPENDS),
    kernel(
        "new-kernel",
        "reach kexec_load 0 0 0 0xffff",
        "call uname !",
    )
    .unproven(DEPENDS),
    kernel(
        "new-kernel-file",
        "reach kexec_file_load -1 -1 0 ! 0xffff",
        "call uname !",
    )
    .unproven(DEPENDS),
    kernel("reboot", "reach reboot 0 0 0 0", "call sysinfo !").root(),
    kernel("swap-on", "reach swapon @/ 0", "call sysinfo !").root(),
    kernel("swap-off", "reach swapoff @/", "call sysinfo !").root(),
    kernel("account", "reach acct @/", "call getrusage 0 !").unproven(DEPENDS),
    kernel("kernel-log", "call syslog 10 0 0", "call uname !").root(),
    kernel("host-name", "reach sethostname ! 65", "call uname !").root(),
    kernel("domain-name", "reach setdomainname ! 65", "call uname !").root(),
    kernel("port-level", "call iopl 3", "call sched_yield").unproven(DEPENDS),
    kernel("ports", "call ioperm 0x80 1 1", "call sched_yield").unproven(DEPENDS),
    kernel("set-clock", "set-clock", "read-clock").root(),
    kernel(
        "fixed-addresses",
        "change-personality 0x0040000",
        "change-personality 0xffffffff",
    ),
    kernel(
        "executable-reads",
        "change-personality 0x0400000",
        "change-personality 0",
    ),
    kernel(
        "memory-policy",
        "call set_mempolicy 0 0 0",
        "call madvise 0 0 0",
    )
    .unproven(DEPENDS),
    kernel(
        "bind-memory",
        "call mbind 0 0 0 0 0 0",
        "call madvise 0 0 0",
    )
    .unproven(DEPENDS),
    kernel(
        "see-memory-policy",
        "call get_mempolicy ! 0 0 0 0",
        "call getcpu ! ! 0",
    )
    .unproven(DEPENDS),
    kernel(
        "move-pages",
        "call move_pages 0 0 0 0 0 0",
        "call membarrier 0 0 0",
    )
    .unproven(DEPENDS),
    kernel(
        "migrate-pages",
        "reach migrate_pages 0 64 ! !",
        "call membarrier 0 0 0",
    )
    .unproven(DEPENDS),
    kernel(
        "compare-processes",
        "call kcmp self self 0 0 1",
        "call getcpu ! ! 0",
    )
    .unproven(DEPENDS),
    kernel(
        "advise-others",
        "reach process_madvise -1 0 0 0 0",
        "call madvise 0 0 0",
    ),
    kernel(
        "name-handle",
        "reach name_to_handle_at -100 @/ ! ! 0",
        "call statx -100 @/ 0 0x7ff !",
    ),
    kernel("vsock", "open-socket 40 1 0", "open-socket 1 1 0").unproven(DEPENDS),
    kernel("packet-socket", "open-socket 17 3 0", "open-socket 2 2 0").root(),
    kernel("raw-socket", "open-socket 2 3 1", "open-socket 2 1 0").root(),
    kernel("raw-socket-6", "open-socket 10 3 58", "open-socket 1 2 0").unproven(DEPENDS),
    kernel(
        "crypto-socket",
        "open-socket 38 5 0",
        "call getrandom ! 16 0",
    )
    .unproven(DEPENDS),
    kernel("audit-socket", "open-socket 16 3 9", "open-socket 16 3 0").unproven(DEPENDS),
    kernel("device-events", "group-socket 15", "open-socket 16 3 0").unproven(DEPENDS),
    kernel(
        "generic-netlink",
        "open-socket 16 3 16",
        "open-socket 16 3 0",
    ),
    kernel("firewall", "open-socket 16 3 12", "open-socket 16 3 0").unproven(DEPENDS),
    kernel("sockets-of-all", "open-socket 16 3 4", "open-socket 16 2 0").unproven(DEPENDS),
    kernel("xdp-socket", "open-socket 44 3 0", "open-socket 2 1 6").unproven(DEPENDS),
    kernel("sctp-socket", "open-socket 2 1 132", "open-socket 2 1 6").unproven(DEPENDS),
    kernel("dccp-socket", "open-socket 2 6 33", "open-socket 2 2 17").unproven(DEPENDS),
    kernel("smc-socket", "open-socket 43 1 0", "open-socket 1 5 0").unproven(DEPENDS),
    kernel(
        "bluetooth-socket",
        "open-socket 31 3 1",
        "open-socket 1 5 0",
    )
    .unproven(DEPENDS),
    kernel("can-socket", "open-socket 29 3 1", "open-socket 1 5 0").unproven(DEPENDS),
    kernel(
        "multiplexer-socket",
        "open-socket 41 5 0",
        "open-socket 1 5 0",
    )
    .unproven(DEPENDS),
    kernel("cluster-socket", "open-socket 30 5 0", "open-socket 1 5 0").unproven(DEPENDS),
    kernel("crypto-pair", "socket-pair 30 5", "socket-pair 1 1").unproven(DEPENDS),
    kernel("x32-entry", "x32-call", "plain-call").unproven(DEPENDS),
    kernel("i386-entry", "i386-call", "plain-call").unproven(DEPENDS),
    kernel(
        "see-security-modules",
        "reach-number 461",
        "read /proc/self/status",
    )
    .unproven(DEPENDS),
    kernel("see-mount", "reach-number 457", "read /proc/self/mountinfo").unproven(DEPENDS),
    kernel("list-mounts", "reach-number 458", "read /proc/self/mounts").unproven(DEPENDS),
    kernel("newest-call", "reach-number 468", "plain-call").unproven(DEPENDS),
    kernel("obsolete-call", "call sysfs 3", "read /proc/filesystems").unproven(DEPENDS),
    kernel(
        "obsolete-status",
        "reach ustat 0 !",
        "call statx -100 @/ 0 0x7ff !",
    )
    .unproven(DEPENDS),
];
