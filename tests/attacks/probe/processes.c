/* Verbs aimed at other processes: somebody else's, and those of the supervisor. */
#define _GNU_SOURCE
#include "probe.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* At the same address in every process of this program, which is linked at a fixed one. */
static char landmark[] = "a text that is the same in each of us";

static int open_of(long pid, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    return open(path, flags | O_CLOEXEC);
}

/* Looks for a text in one file of every process but the caller's parent, whose words it also is. */
static _Noreturn void search(const char *name, const char *text) {
    static char content[1 << 17];
    DIR *directory = opendir("/proc");
    int n_seen = 0;
    if (!directory)
        refused_by_errno();
    for (struct dirent *entry; (entry = readdir(directory));) {
        long pid = strtol(entry->d_name, NULL, 10);
        if (pid <= 0)
            continue;
        int file = open_of(pid, name, O_RDONLY);
        if (file < 0)
            continue;
        ssize_t length = read(file, content, sizeof content);
        close(file);
        n_seen++;
        if (length > 0 && memmem(content, (size_t)length, text, strlen(text)))
            got("process %ld", pid);
    }
    refused("not in the %d processes that can be read", n_seen);
}

static void find_process(char **a) { search("cmdline", a[0]); }
static void find_environment(char **a) { search("environ", a[0]); }

static void see_own_process(char **a) {
    (void)a;
    search("cmdline", "play");
}

static void read_own_environment(char **a) {
    char text[64];
    (void)a;
    answer(read(open_of(getpid(), "environ", O_RDONLY), text, sizeof text));
}

static void read_environment(char **a) {
    char text[64];
    int file = open_of(target(a[0]), "environ", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
    if (length < 0)
        refused_by_errno();
    if (length == 0)
        refused("it is empty");
    got("%zd bytes", length);
}

static void send_signal(char **a) { answer(kill((pid_t)target(a[0]), (int)number(a[1]))); }
static void send_group(char **a) { answer(kill((pid_t)-target(a[0]), (int)number(a[1]))); }
static void send_thread(char **a) { answer(syscall(SYS_tgkill, target(a[0]), target(a[0]), number(a[1]))); }

static void send_by_descriptor(char **a) {
    int process = (int)syscall(SYS_pidfd_open, target(a[0]), 0);
    if (process < 0)
        refused_by_errno();
    answer(syscall(SYS_pidfd_send_signal, process, number(a[1]), NULL, 0));
}

static pid_t stay(void) {
    pid_t child = fork();
    if (child < 0)
        broken("fork: %s", strerrorname_np(errno));
    if (child == 0)
        for (;;)
            pause();
    return child;
}

/* The allowed use of each of the four: a process of one's own. */
static void end_own(char **a) {
    pid_t child = stay();
    int status, result = -1;
    setpgid(child, child);
    if (strcmp(a[0], "signal") == 0)
        result = kill(child, SIGKILL);
    else if (strcmp(a[0], "group") == 0)
        result = kill(-child, SIGKILL);
    else if (strcmp(a[0], "thread") == 0)
        result = (int)syscall(SYS_tgkill, child, child, SIGKILL);
    else
        result = (int)syscall(SYS_pidfd_send_signal, syscall(SYS_pidfd_open, child, 0), SIGKILL, NULL, 0);
    if (result < 0)
        refused_by_errno();
    waitpid(child, &status, 0);
    got("it is gone");
}

static void trace(char **a) {
    long pid = target(a[0]);
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
        refused_by_errno();
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    waitpid((pid_t)pid, NULL, __WALL);
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    got("it was stopped");
}

/* A debugger and its program. */
static void trace_own(char **a) {
    pid_t child = fork();
    int status;
    (void)a;
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        _exit(0);
    }
    if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status))
        refused("the child was not traced");
    if (ptrace(PTRACE_CONT, child, NULL, NULL) < 0)
        refused_by_errno();
    waitpid(child, &status, 0);
    got("traced to its end");
}

static void read_memory_of(char **a) {
    char text[sizeof landmark];
    struct iovec here = {text, sizeof text}, there = {landmark, sizeof landmark};
    ssize_t length = process_vm_readv((pid_t)target(a[0]), &here, 1, &there, 1, 0);
    if (length < 0 && errno != EFAULT)
        refused_by_errno();
    got("past the check");
}

static void write_memory_of(char **a) {
    struct iovec here = {landmark, sizeof landmark}, there = {landmark, sizeof landmark};
    ssize_t length = process_vm_writev((pid_t)target(a[0]), &here, 1, &there, 1, 0);
    if (length < 0 && errno != EFAULT)
        refused_by_errno();
    got("past the check");
}

static void open_memory(char **a) { answer(open_of(target(a[0]), "mem", O_RDWR)); }

static void read_own_memory(char **a) {
    char text[sizeof landmark];
    int file = open_of(getpid(), "mem", O_RDONLY);
    (void)a;
    if (file < 0 || pread(file, text, sizeof text, (off_t)landmark) < 0)
        refused_by_errno();
    if (strcmp(text, landmark) != 0)
        refused("something else");
    got("the text");
}

static void take_descriptor(char **a) {
    int process = (int)syscall(SYS_pidfd_open, target(a[0]), 0);
    if (process < 0)
        refused_by_errno();
    answer(syscall(SYS_pidfd_getfd, process, number(a[1]), 0));
}

static void open_descriptor(char **a) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd/%ld", target(a[0]), number(a[1]));
    answer(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

/* What is behind the descriptors of a process, not how many there are. */
static void list_descriptors(char **a) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%ld/fd", target(a[0]));
    DIR *directory = opendir(path);
    if (!directory)
        refused_by_errno();
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && readlinkat(dirfd(directory), entry->d_name, text, sizeof text) > 0)
            got("descriptor %s", entry->d_name);
    refused("no name of any");
}

static void list_root_of(char **a) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/root", target(a[0]));
    DIR *directory = opendir(path);
    if (!directory)
        refused_by_errno();
    got("it is open");
}

static void slow_down(char **a) { answer(setpriority(PRIO_PROCESS, (id_t)target(a[0]), 10)); }

static void bind_to_processor(char **a) {
    cpu_set_t processors;
    long pid = target(a[0]);
    if (sched_getaffinity((pid_t)pid, sizeof processors, &processors) < 0)
        refused_by_errno();
    answer(sched_setaffinity((pid_t)pid, sizeof processors, &processors));
}

static void limit_process(char **a) {
    struct rlimit before;
    pid_t pid = (pid_t)target(a[0]);
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &before) < 0)
        refused_by_errno();
    answer(prlimit(pid, RLIMIT_NOFILE, &before, NULL));
}

/* Class 2 (best effort), level 7: the lowest. */
static void slow_its_disk(char **a) { answer(syscall(SYS_ioprio_set, 1, target(a[0]), 2 << 13 | 7)); }

/* Whether the program file of a process could be overwritten; a file that runs passes the check and says ETXTBSY. */
static void overwrite_program(char **a) {
    int file = open_of(target(a[0]), "exe", O_WRONLY);
    if (file < 0 && errno != ETXTBSY)
        refused_by_errno();
    got("past the check");
}

static void read_own_program(char **a) {
    (void)a;
    answer(open_of(getpid(), "exe", O_RDONLY));
}

/* Whether addresses of the kernel are told. */
static void kernel_addresses(char **a) {
    char line[256];
    FILE *file = fopen("/proc/kallsyms", "re");
    (void)a;
    if (!file)
        refused_by_errno();
    for (int i = 0; i < 1000 && fgets(line, sizeof line, file); i++)
        if (strtoull(line, NULL, 16) != 0)
            got("an address");
    refused("no address");
}

static void raise_victim_score(char **a) {
    int file = open_of(target(a[0]), "oom_score_adj", O_WRONLY);
    if (file < 0)
        refused_by_errno();
    answer(write(file, "1000", 4));
}

const struct verb process_verbs[] = {
    {"find-process", 1, find_process},
    {"find-environment", 1, find_environment},
    {"see-own-process", 0, see_own_process},
    {"read-environment", 1, read_environment},
    {"read-own-environment", 0, read_own_environment},
    {"send-signal", 2, send_signal},
    {"send-group", 2, send_group},
    {"send-thread", 2, send_thread},
    {"send-by-descriptor", 2, send_by_descriptor},
    {"end-own", 1, end_own},
    {"trace", 1, trace},
    {"trace-own", 0, trace_own},
    {"read-memory-of", 1, read_memory_of},
    {"write-memory-of", 1, write_memory_of},
    {"open-memory", 1, open_memory},
    {"read-own-memory", 0, read_own_memory},
    {"take-descriptor", 2, take_descriptor},
    {"open-descriptor", 2, open_descriptor},
    {"list-descriptors", 1, list_descriptors},
    {"list-root-of", 1, list_root_of},
    {"slow-down", 1, slow_down},
    {"bind-to-processor", 1, bind_to_processor},
    {"limit-process", 1, limit_process},
    {"slow-its-disk", 1, slow_its_disk},
    {"overwrite-program", 1, overwrite_program},
    {"read-own-program", 0, read_own_program},
    {"kernel-addresses", 0, kernel_addresses},
    {"raise-victim-score", 1, raise_victim_score},
    {NULL, 0, NULL},
};
