/* Verbs about ids, capabilities and namespaces. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_user(char **a) { answer(setresuid((uid_t)number(a[0]), (uid_t)number(a[0]), (uid_t)number(a[0]))); }
static void become_group(char **a) { answer(setresgid((gid_t)number(a[0]), (gid_t)number(a[0]), (gid_t)number(a[0]))); }

static void stay_user(char **a) {
    (void)a;
    answer(setresuid(getuid(), getuid(), getuid()));
}

static void stay_group(char **a) {
    (void)a;
    answer(setresgid(getgid(), getgid(), getgid()));
}

static void join_group(char **a) {
    gid_t group = (gid_t)number(a[0]);
    answer(setgroups(1, &group));
}

static void see_groups(char **a) {
    (void)a;
    answer(getgroups(0, NULL));
}

static int read_capabilities(struct __user_cap_data_struct sets[2]) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capget, &header, sets);
}

/* Whether there is any capability, of any set, that a later exec could use. */
static void have_capability(char **a) {
    struct __user_cap_data_struct sets[2];
    (void)a;
    if (read_capabilities(sets) < 0)
        refused_by_errno();
    for (int i = 0; i < 2; i++)
        if (sets[i].permitted | sets[i].effective | sets[i].inheritable)
            got("permitted %x, effective %x, inheritable %x", sets[i].permitted, sets[i].effective, sets[i].inheritable);
    refused("none");
}

static void ask_capabilities(char **a) {
    struct __user_cap_data_struct sets[2];
    (void)a;
    answer(read_capabilities(sets));
}

static void take_capabilities(char **a) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    (void)a;
    memset(sets, 0, sizeof sets);
    sets[0].permitted = sets[0].effective = 1u << CAP_SYS_ADMIN;
    answer(syscall(SYS_capset, &header, sets));
}

static void drop_capabilities(char **a) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    (void)a;
    memset(sets, 0, sizeof sets);
    answer(syscall(SYS_capset, &header, sets));
}

/* Whether an exec could still give a capability. */
static void bounding_set(char **a) {
    (void)a;
    for (unsigned long capability = 0; capability < 64; capability++) {
        int held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (held == 1)
            got("capability %lu", capability);
        if (held < 0)
            break;
    }
    refused("it is empty");
}

static void raise_ambient(char **a) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    (void)a;
    if (read_capabilities(sets) < 0)
        refused_by_errno();
    sets[0].inheritable |= 1u << CAP_NET_RAW;
    if (syscall(SYS_capset, &header, sets) < 0)
        refused_by_errno();
    answer(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
}

static void clear_ambient(char **a) {
    (void)a;
    answer(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
}

static void secure_bits(char **a) {
    (void)a;
    answer(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0));
}

static void ask_secure_bits(char **a) {
    (void)a;
    answer(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
}

static void new_privileges(char **a) {
    (void)a;
    int forbidden = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    if (forbidden == 1 && prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) < 0)
        refused("they are forbidden for good");
    got("setuid files work");
}

static void forbid_privileges(char **a) {
    (void)a;
    answer(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    int result = write(file, text, strlen(text)) < 0 ? -1 : 0;
    close(file);
    return result;
}

/* Becomes root of a user namespace, where all capabilities are there again. */
static void own_user_namespace(char **a) {
    char map[64];
    (void)a;
    snprintf(map, sizeof map, "0 %d 1", geteuid());
    if (unshare(CLONE_NEWUSER) < 0 || put("/proc/self/uid_map", map) < 0)
        refused_by_errno();
    have_capability(a);
}

static const struct {
    const char *name;
    int flag;
} namespaces[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},   {"net", CLONE_NEWNET},       {"pid", CLONE_NEWPID},
                  {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80}};

static int namespace_flag(const char *name) {
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
        if (strcmp(namespaces[i].name, name) == 0)
            return namespaces[i].flag;
    broken("no namespace %s", name);
}

static void unshare_one(char **a) { answer(unshare(namespace_flag(a[0]))); }

static _Noreturn void await(long child) {
    if (child < 0)
        refused_by_errno();
    if (child == 0)
        _exit(0);
    waitpid((pid_t)child, NULL, 0);
    got("a child in it");
}

static void clone_into(char **a) { await(syscall(SYS_clone, namespace_flag(a[0]) | SIGCHLD, 0, 0, 0, 0)); }

static void clone_plain(char **a) {
    (void)a;
    await(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

/* The flags lie in memory, where a filter cannot read them. */
static void clone3_into(char **a) {
    struct clone_args how;
    memset(&how, 0, sizeof how);
    how.flags = (uint64_t)namespace_flag(a[0]);
    how.exit_signal = SIGCHLD;
    await(syscall(SYS_clone3, &how, sizeof how));
}

static void plain_fork(char **a) {
    (void)a;
    await(fork());
}

static void enter_namespace(char **a) {
    int file = open(a[0], O_RDONLY | O_CLOEXEC);
    if (file < 0)
        refused_by_errno();
    answer(setns(file, 0));
}

static void name_namespace(char **a) {
    char text[64];
    answer(readlink(a[0], text, sizeof text));
}

/* Said by a program with a set-user-id bit. */
static void identity(char **a) {
    (void)a;
    if (geteuid() == getuid() && getegid() == getgid())
        refused("no other id than the caller's");
    got("uid %d became %d, gid %d became %d", getuid(), geteuid(), getgid(), getegid());
}

static void hello(char **a) {
    (void)a;
    got("hello");
}

static void execute(char **a) {
    char *words[] = {a[0], a[1], NULL};
    execv(a[0], words);
    refused_by_errno();
}

const struct verb privilege_verbs[] = {
    {"become-user", 1, become_user},
    {"become-group", 1, become_group},
    {"stay-user", 0, stay_user},
    {"stay-group", 0, stay_group},
    {"join-group", 1, join_group},
    {"see-groups", 0, see_groups},
    {"have-capability", 0, have_capability},
    {"ask-capabilities", 0, ask_capabilities},
    {"take-capabilities", 0, take_capabilities},
    {"drop-capabilities", 0, drop_capabilities},
    {"bounding-set", 0, bounding_set},
    {"raise-ambient", 0, raise_ambient},
    {"clear-ambient", 0, clear_ambient},
    {"secure-bits", 0, secure_bits},
    {"ask-secure-bits", 0, ask_secure_bits},
    {"new-privileges", 0, new_privileges},
    {"forbid-privileges", 0, forbid_privileges},
    {"own-user-namespace", 0, own_user_namespace},
    {"unshare", 1, unshare_one},
    {"clone-into", 1, clone_into},
    {"clone-plain", 0, clone_plain},
    {"clone3-into", 1, clone3_into},
    {"fork", 0, plain_fork},
    {"enter-namespace", 1, enter_namespace},
    {"name-namespace", 1, name_namespace},
    {"identity", 0, identity},
    {"hello", 0, hello},
    {"execute", 2, execute},
    {NULL, 0, NULL},
};
