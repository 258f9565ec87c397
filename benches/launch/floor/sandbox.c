// The floor of a sandbox: the same steps as ours, in bare C, without plan, report, error text or choice.
//
// It reads one letter a line from standard input, does that job from birth to reaped, and answers with its time in
// microseconds; with a letter as second argument it does that job once. Jobs: v vfork and exec, c Landlock, seccomp and rlimits alone, b the layers of bubblewrap's command line,
// f all layers of the tier full, g the same in a control group of version 1.
//
// A failure ends it with the line that failed: a floor that leaves something out is none.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OK(call) ok((long)(call), __LINE__, #call)
// From sys/mount.h, which cannot be included beside linux/mount.h in older C libraries.
extern int umount2(const char *, int);
#define DETACH 2
#define AT_TREE 0x8000

static const char *program;
static uid_t host_id;

static long ok(long value, int line, const char *call) {
    if (value < 0) {
        dprintf(2, "floor: line %d: %s: %s\n", line, call, strerror(errno));
        _exit(1);
    }
    return value;
}

static void write_file(const char *path, const char *text) {
    int file = (int)OK(open(path, O_WRONLY | O_CLOEXEC));
    OK(write(file, text, strlen(text)));
    close(file);
}

static int new_filesystem(const char *kind, const char *key, const char *value, uint64_t attributes) {
    int made = (int)OK(syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC));
    if (key) OK(syscall(SYS_fsconfig, made, FSCONFIG_SET_STRING, key, value, 0));
    OK(syscall(SYS_fsconfig, made, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int mounted = (int)OK(syscall(SYS_fsmount, made, FSMOUNT_CLOEXEC, attributes));
    close(made);
    return mounted;
}

static int copy(int at, const char *path, uint64_t attributes, int flags) {
    int tree = (int)OK(syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags));
    struct mount_attr wanted = {.attr_set = attributes};
    if (attributes)
        OK(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | flags, &wanted, sizeof wanted));
    return tree;
}

static void place(int mounted, int root, const char *path) {
    OK(syscall(SYS_move_mount, mounted, "", root, path, MOVE_MOUNT_F_EMPTY_PATH));
    close(mounted);
}

static void touch(int root, const char *path) {
    close((int)OK(openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
}

static void raise_loopback(void) {
    int any = (int)OK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
    strcpy(request.ifr_name, "lo");
    OK(ioctl(any, SIOCSIFFLAGS, &request));
    close(any);
}

static const char *devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
static const char *proc_kept[] = {"bus", "fs", "irq", "sys"};
static const char *proc_masked[] = {"acpi", "kallsyms", "kcore", "keys", "kmsg", "latency_stats",
                                    "sched_debug", "scsi", "sysrq-trigger", "timer_list", "timer_stats"};
static const char *etc_masked[] = {"shadow", "shadow-", "gshadow", "gshadow-", "sudoers",
                                   "sudoers.d", "security/opasswd", "ssl/private"};
static const char *merged[] = {"bin", "sbin", "lib", "lib64"};
#define COUNT(list) (sizeof list / sizeof *list)

// Covers what is there by an empty file or directory.
static void mask(int root, int scratch, const char *path) {
    struct stat found;
    if (fstatat(root, path, &found, AT_SYMLINK_NOFOLLOW) < 0) return;
    const char *cover = S_ISDIR(found.st_mode) ? "none" : "nothing";
    place(copy(scratch, cover, MOUNT_ATTR_RDONLY, 0), root, path);
}

static void private_root(int is_full) {
    const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    struct mount_attr private = {.propagation = 1 << 18};
    OK(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_TREE, &private, sizeof private));
    int usr = copy(AT_FDCWD, "/usr", safe | MOUNT_ATTR_RDONLY, AT_TREE);
    int etc = is_full ? copy(AT_FDCWD, "/etc", safe | MOUNT_ATTR_RDONLY, AT_TREE) : -1;
    int own = copy(AT_FDCWD, program, safe | MOUNT_ATTR_RDONLY, 0);
    int copies[COUNT(devices)];
    for (size_t i = 0; i < COUNT(devices); i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", devices[i]);
        copies[i] = copy(AT_FDCWD, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
    }
    place(new_filesystem("tmpfs", "size", "1048576", safe), AT_FDCWD, "/tmp");
    int root = (int)OK(open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const char *made[] = {"usr", "etc", "dev", "dev/pts", "dev/shm", "proc", "tmp", "home", "home/agent", "run", "var", "sys", "scratch"};
    for (size_t i = 0; i < COUNT(made); i++) OK(mkdirat(root, made[i], 0755));
    int scratch = -1;
    if (is_full) {
        place(new_filesystem("tmpfs", "size", "536870912", safe), root, "scratch");
        scratch = (int)OK(openat(root, "scratch", O_PATH | O_DIRECTORY | O_CLOEXEC));
        const char *parts[] = {"tmp", "home", "shm", "none"}, *shown[] = {"tmp", "home/agent", "dev/shm"};
        for (size_t i = 0; i < COUNT(parts); i++) OK(mkdirat(scratch, parts[i], 01777));
        touch(scratch, "nothing");
        for (size_t i = 0; i < COUNT(shown); i++) place(copy(scratch, parts[i], 0, 0), root, shown[i]);
    } else {
        place(new_filesystem("tmpfs", NULL, NULL, safe), root, "tmp");
    }
    for (size_t i = 0; i < COUNT(devices); i++) {
        char path[32];
        snprintf(path, sizeof path, "dev/%s", devices[i]);
        touch(root, path);
        place(copies[i], root, path);
    }
    const char *links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
                              {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}, {"/tmp", "var/tmp"}};
    for (size_t i = 0; i < COUNT(links); i++) OK(symlinkat(links[i][0], root, links[i][1]));
    place(new_filesystem("devpts", "ptmxmode", "0666", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), root, "dev/pts");
    place(new_filesystem("proc", NULL, NULL, safe | MOUNT_ATTR_NOEXEC), root, "proc");
    if (is_full) {
        char path[64];
        for (size_t i = 0; i < COUNT(proc_kept); i++) {
            snprintf(path, sizeof path, "proc/%s", proc_kept[i]);
            if (faccessat(root, path, F_OK, 0) == 0)
                place(copy(root, path, safe | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, 0), root, path);
        }
        for (size_t i = 0; i < COUNT(proc_masked); i++) {
            snprintf(path, sizeof path, "proc/%s", proc_masked[i]);
            mask(root, scratch, path);
        }
    }
    place(usr, root, "usr");
    if (is_full) place(etc, root, "etc");
    touch(root, "true");
    place(own, root, "true");
    for (size_t i = 0; i < COUNT(merged); i++) {
        char to[32];
        snprintf(to, sizeof to, "usr/%s", merged[i]);
        OK(symlinkat(to, root, merged[i]));
    }
    if (is_full) {
        for (size_t i = 0; i < COUNT(etc_masked); i++) {
            char path[64];
            snprintf(path, sizeof path, "etc/%s", etc_masked[i]);
            mask(root, scratch, path);
        }
        OK(umount2("/tmp/scratch", DETACH));
    }
    OK(fchdir(root));
    OK(syscall(SYS_pivot_root, ".", "."));
    OK(umount2(".", DETACH));
    struct mount_attr closed = {.attr_set = MOUNT_ATTR_RDONLY};
    OK(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &closed, sizeof closed));
    OK(chdir("/"));
    close(root);
    if (scratch >= 0) close(scratch);
}

static void landlock(const char *const *paths, size_t n_paths, uint64_t network) {
    // As of ABI 6: the scopes are the third field, which older headers do not name.
    struct { uint64_t files, network, scopes; } asked = {(1ULL << 16) - 1, network, 3};
    int rules = (int)OK(syscall(SYS_landlock_create_ruleset, &asked, sizeof asked, 0));
    for (size_t i = 0; i < n_paths; i++) {
        int beneath = open(paths[i], O_PATH | O_CLOEXEC);
        if (beneath < 0) continue;
        struct stat found;
        OK(fstat(beneath, &found));
        // The first path is the root, which may be read; what is not a directory has no rights of one.
        uint64_t rights = i == 0 ? 13 : S_ISDIR(found.st_mode) ? (1ULL << 15) - 1 : 7;
        struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = beneath};
        OK(syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
        close(beneath);
    }
    OK(syscall(SYS_landlock_restrict_self, rules, 0));
    close(rules);
}

// Sixty numbers that are denied, one after the other, none of which the program calls.
static void seccomp(void) {
    enum { N_DENIED = 60 };
    struct sock_filter code[N_DENIED * 2 + 3];
    size_t n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    for (unsigned i = 0; i < N_DENIED; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 400 + i, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {.len = (unsigned short)n, .filter = code};
    OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
}

static void drop_privileges(void) {
    struct rlimit none = {0, 0};
    OK(setrlimit(RLIMIT_CORE, &none));
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    for (int number = 0; number < 64 && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0; number++) {}
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } none_of[2] = {{0}};
    OK(syscall(SYS_capset, &header, none_of));
    OK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

// Starts the program and waits for its end.
static void launch(const char *path) {
    char *const arguments[] = {(char *)"true", NULL}, *const environment[] = {(char *)"PATH=/usr/bin:/bin", NULL};
    pid_t child = vfork();
    if (child == 0) {
        execve(path, arguments, environment);
        _exit(127);
    }
    OK(child);
    int status;
    OK(waitpid(child, &status, 0));
    if (status != 0) {
        dprintf(2, "floor: %s ended with %d\n", path, status);
        _exit(1);
    }
}

static void wait_for(pid_t child) {
    int status;
    OK(waitpid(child, &status, 0));
    if (status != 0) exit(1);
}

static void enter_groups(pid_t child, int is_entering) {
    const char *kinds[] = {"memory", "pids"}, *files[] = {"memory.limit_in_bytes", "pids.max"}, *limits[] = {"2147483648", "1024"};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char path[160], number[16];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/stockade-floor-%d", kinds[i], getpid());
        if (!is_entering) {
            OK(rmdir(path));
            continue;
        }
        OK(mkdir(path, 0755));
        size_t length = strlen(path);
        snprintf(path + length, sizeof path - length, "/%s", files[i]);
        write_file(path, limits[i]);
        snprintf(path + length, sizeof path - length, "/tasks");
        snprintf(number, sizeof number, "%d", child);
        write_file(path, number);
    }
}

static void sandbox(int is_full, int is_grouped) {
    int go[2];
    OK(pipe2(go, O_CLOEXEC));
    unsigned long namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    pid_t child = (pid_t)OK(syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0));
    if (child == 0) {
        char word;
        OK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        OK(read(go[0], &word, 1));
        if (is_full) OK(unshare(CLONE_NEWCGROUP));
        setsid();
        if (getuid() != 1000) {
            if (host_id == 0) OK(syscall(SYS_setgroups, 0, NULL));
            OK(syscall(SYS_setresgid, 1000, 1000, 1000));
            OK(syscall(SYS_setresuid, 1000, 1000, 1000));
            OK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        }
        OK(sethostname("floor", 5));
        raise_loopback();
        private_root(is_full);
        const char *const paths[] = {"/", "/dev", "/proc", "/tmp", "/home/agent", "/dev/shm"};
        if (is_full) OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)), landlock(paths, COUNT(paths), 0);
        drop_privileges();
        OK(syscall(SYS_close_range, 3, ~0U, 0));
        if (is_full) seccomp();
        launch("/true");
        _exit(0);
    }
    char path[48], text[48];
    snprintf(path, sizeof path, "/proc/%d/setgroups", child);
    if (host_id != 0) write_file(path, "deny");
    unsigned outside = host_id == 0 ? 1879048192U : host_id;
    snprintf(text, sizeof text, "1000 %u 1", outside);
    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    write_file(path, text);
    snprintf(text, sizeof text, "1000 %u 1", host_id == 0 ? outside : getegid());
    snprintf(path, sizeof path, "/proc/%d/gid_map", child);
    write_file(path, text);
    if (is_grouped) enter_groups(child, 1);
    OK(write(go[1], "g", 1));
    close(go[0]);
    close(go[1]);
    wait_for(child);
    if (is_grouped) enter_groups(child, 0);
}

static void degraded(void) {
    pid_t child = fork();
    if (child == 0) {
        setsid();
        struct rlimit none = {0, 0};
        OK(setrlimit(RLIMIT_CORE, &none));
        OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        const char *const paths[] = {"/", "/usr", "/etc", "/bin", "/lib", "/lib64", "/dev/null", "/dev/zero", "/proc", "/tmp"};
        landlock(paths, COUNT(paths), 3);
        OK(syscall(SYS_close_range, 3, ~0U, 0));
        seccomp();
        char *const arguments[] = {(char *)"true", NULL}, *const environment[] = {NULL};
        execve(program, arguments, environment);
        _exit(127);
    }
    OK(child);
    wait_for(child);
}

// Microseconds of the last job, where that is not all that it did.
static long own_micros;

static long micros_between(const struct timespec *began, const struct timespec *ended) {
    return (ended->tv_sec - began->tv_sec) * 1000000L + (ended->tv_nsec - began->tv_nsec) / 1000;
}

// Makes processes that ignore signals in a pid namespace, then kills its first process and waits until all are gone.
static void kill_many(void) {
    enum { N_DEAF = 600 };
    int ready[2];
    OK(pipe2(ready, O_CLOEXEC));
    pid_t child = (pid_t)OK(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
    if (child == 0) {
        OK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM};
        for (size_t i = 0; i < COUNT(ignored); i++) signal(ignored[i], SIG_IGN);
        for (int i = 0; i < N_DEAF; i++)
            if (OK(fork()) == 0) {
                if (i % 2 == 0) setsid();
                for (;;) sleep(600);
            }
        OK(write(ready[1], "r", 1));
        for (;;) sleep(600);
    }
    char word;
    close(ready[1]);
    OK(read(ready[0], &word, 1));
    close(ready[0]);
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    OK(kill(child, SIGKILL));
    OK(waitpid(child, NULL, 0));
    clock_gettime(CLOCK_MONOTONIC, &ended);
    own_micros = micros_between(&began, &ended);
}

static int job(char letter) {
    own_micros = 0;
    switch (letter) {
    case 'k': kill_many(); break;
    case 'v': launch(program); break;
    case 'c': degraded(); break;
    case 'b': sandbox(0, 0); break;
    case 'f': sandbox(1, 0); break;
    case 'g': sandbox(1, 1); break;
    default: return 2;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    program = argv[1];
    host_id = geteuid();
    if (argc > 2) return job(argv[2][0]);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        struct timespec began, ended;
        clock_gettime(CLOCK_MONOTONIC, &began);
        if (job(line[0]) != 0) return 2;
        clock_gettime(CLOCK_MONOTONIC, &ended);
        printf("%ld\n", own_micros ? own_micros : micros_between(&began, &ended));
        fflush(stdout);
    }
    return 0;
}
