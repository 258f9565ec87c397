/* Verbs aimed at the kernel: system calls, by name or by another entry.
 *
 * Calls that would change the machine lack something on purpose: a magic number, a file, a valid argument. The check of
 * privileges comes first in each of them, so the error tells whether it was passed. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static const struct {
    const char *name;
    long number;
} calls[] = {
    {"acct", SYS_acct},
    {"add_key", SYS_add_key},
    {"bpf", SYS_bpf},
    {"clock_gettime", SYS_clock_gettime},
    {"delete_module", SYS_delete_module},
    {"epoll_create1", SYS_epoll_create1},
    {"eventfd2", SYS_eventfd2},
    {"fanotify_init", SYS_fanotify_init},
    {"finit_module", SYS_finit_module},
    {"fsconfig", SYS_fsconfig},
    {"fsmount", SYS_fsmount},
    {"fsopen", SYS_fsopen},
    {"fspick", SYS_fspick},
    {"get_mempolicy", SYS_get_mempolicy},
    {"getcpu", SYS_getcpu},
    {"getrandom", SYS_getrandom},
    {"getrusage", SYS_getrusage},
    {"init_module", SYS_init_module},
    {"inotify_init1", SYS_inotify_init1},
    {"io_uring_setup", SYS_io_uring_setup},
    {"kcmp", SYS_kcmp},
    {"kexec_file_load", SYS_kexec_file_load},
    {"kexec_load", SYS_kexec_load},
    {"keyctl", SYS_keyctl},
    {"landlock_create_ruleset", SYS_landlock_create_ruleset},
    {"madvise", SYS_madvise},
    {"mbind", SYS_mbind},
    {"membarrier", SYS_membarrier},
    {"memfd_create", SYS_memfd_create},
    {"migrate_pages", SYS_migrate_pages},
    {"mount", SYS_mount},
    {"mount_setattr", SYS_mount_setattr},
    {"move_mount", SYS_move_mount},
    {"move_pages", SYS_move_pages},
    {"name_to_handle_at", SYS_name_to_handle_at},
    {"open_tree", SYS_open_tree},
    {"perf_event_open", SYS_perf_event_open},
    {"pivot_root", SYS_pivot_root},
    {"process_madvise", SYS_process_madvise},
    {"quotactl", SYS_quotactl},
    {"reboot", SYS_reboot},
    {"request_key", SYS_request_key},
    {"sched_yield", SYS_sched_yield},
    {"set_mempolicy", SYS_set_mempolicy},
    {"sethostname", SYS_sethostname},
    {"setdomainname", SYS_setdomainname},
    {"statx", SYS_statx},
    {"swapoff", SYS_swapoff},
    {"swapon", SYS_swapon},
    {"sysinfo", SYS_sysinfo},
    {"syslog", SYS_syslog},
    {"timerfd_create", SYS_timerfd_create},
    {"times", SYS_times},
    {"umount2", SYS_umount2},
    {"uname", SYS_uname},
    {"userfaultfd", SYS_userfaultfd},
#ifdef SYS_iopl
    {"iopl", SYS_iopl},
    {"ioperm", SYS_ioperm},
    {"sysfs", SYS_sysfs},
    {"ustat", SYS_ustat},
#endif
};

/* An argument: a number, @TEXT as a pointer to it, ! as a pointer to zeroes. */
static long argument(char *text) {
    static char zeroes[8][4096];
    static int n_taken;
    if (text[0] == '@')
        return (long)(text + 1);
    if (strcmp(text, "!") == 0)
        return (long)zeroes[n_taken++ % 8];
    return number(text);
}

static long call_by_name(char **a) {
    long arguments[6] = {0};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, a[0]) != 0)
            continue;
        for (int j = 0; j < 6 && a[j + 1]; j++)
            arguments[j] = argument(a[j + 1]);
        return syscall(calls[i].number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    }
    broken("no system call %s", a[0]);
}

/* A call that must succeed to be GOT, and one that need only pass the check of privileges. */
static void call(char **a) { answer(call_by_name(a)); }
static void reach(char **a) { reached(call_by_name(a)); }

/* A call by its number, which the headers need not know. */
static void reach_number(char **a) { reached(syscall(number(a[0]), 0, 0, 0, 0, 0, 0)); }

static void open_socket(char **a) { answer(socket((int)number(a[0]), (int)number(a[1]) | SOCK_CLOEXEC, (int)number(a[2]))); }

static void socket_pair(char **a) {
    int ends[2];
    answer(socketpair((int)number(a[0]), (int)number(a[1]) | SOCK_CLOEXEC, 0, ends));
}

static void change_personality(char **a) { answer(personality((unsigned long)number(a[0]))); }

/* Sets the time zone of the kernel to what it is. */
static void set_clock(char **a) {
    struct timezone zone;
    (void)a;
    if (syscall(SYS_gettimeofday, NULL, &zone) < 0)
        refused_by_errno();
    answer(syscall(SYS_settimeofday, NULL, &zone));
}

static void read_clock(char **a) {
    struct timeval now;
    (void)a;
    answer(gettimeofday(&now, NULL));
}

static void mount_tmpfs(char **a) { answer(mount("attack", a[0], "tmpfs", 0, NULL)); }

/* Takes the read-only bit from what is mounted there. */
static void make_writable(char **a) { answer(mount(NULL, a[0], NULL, MS_REMOUNT | MS_BIND, NULL)); }

static void bind_over(char **a) { answer(mount(a[0], a[1], NULL, MS_BIND | MS_REC, NULL)); }

/* The kernel's other entries. What a wrong one does to the process is the answer. */
static void x32_call(char **a) {
    (void)a;
    answer(syscall(0x40000000 | 39));
}

static void i386_call(char **a) {
    (void)a;
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    errno = (int)-result;
    answer(result < 0 ? -1 : result);
#else
    refused("no such entry");
#endif
}

static void plain_call(char **a) {
    (void)a;
    answer(syscall(SYS_getpid));
}

/* Counts the time of its own process, in the software of the kernel. */
static void measure(char **a) {
    struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .config = PERF_COUNT_SW_CPU_CLOCK};
    (void)a;
    what.exclude_kernel = 1;
    answer(syscall(SYS_perf_event_open, &what, 0, -1, -1, 0));
}

static void group_socket(char **a) {
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, (int)number(a[0]));
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    if (netlink < 0)
        refused_by_errno();
    answer(bind(netlink, (struct sockaddr *)&address, sizeof address));
}

const struct verb kernel_verbs[] = {
    {"call", 1, call},
    {"reach", 1, reach},
    {"reach-number", 1, reach_number},
    {"open-socket", 3, open_socket},
    {"socket-pair", 2, socket_pair},
    {"change-personality", 1, change_personality},
    {"set-clock", 0, set_clock},
    {"read-clock", 0, read_clock},
    {"mount-tmpfs", 1, mount_tmpfs},
    {"make-writable", 1, make_writable},
    {"bind-over", 2, bind_over},
    {"x32-call", 0, x32_call},
    {"i386-call", 0, i386_call},
    {"plain-call", 0, plain_call},
    {"measure", 0, measure},
    {"group-socket", 1, group_socket},
    {NULL, 0, NULL},
};
