/* Verbs that take much of something. Each has a cap of its own, so that it harms nobody where nothing limits it. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_PROCESSES = 200, MAX_MIB = 256, MAX_DESCRIPTORS = 100000 };

static long capped(const char *text, long most) {
    long value = number(text);
    if (value > most)
        broken("%ld is more than %ld", value, most);
    return value;
}

/* So many processes at the same time. */
static void processes(char **a) {
    long wanted = capped(a[0], MAX_PROCESSES), n_children = 0;
    pid_t children[MAX_PROCESSES];
    int why = 0;
    while (n_children < wanted) {
        pid_t child = fork();
        if (child < 0) {
            why = errno;
            break;
        }
        if (child == 0) {
            alarm(30);
            for (;;)
                pause();
        }
        children[n_children++] = child;
    }
    for (long i = 0; i < n_children; i++)
        kill(children[i], SIGKILL);
    for (long i = 0; i < n_children; i++)
        waitpid(children[i], NULL, 0);
    if (why)
        refused("%s after %ld", strerrorname_np(why), n_children);
    got("%ld processes", n_children);
}

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void threads(char **a) {
    long wanted = capped(a[0], MAX_PROCESSES);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    for (long i = 0; i < wanted; i++) {
        pthread_t thread;
        int why = pthread_create(&thread, &attributes, wait_for_ever, NULL);
        if (why)
            refused("%s after %ld", strerrorname_np(why), i);
    }
    got("%ld threads", wanted);
}

/* So many MiB of memory, for so many seconds. */
static void memory(char **a) {
    size_t size = (size_t)capped(a[0], MAX_MIB) << 20;
    char *taken = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taken == MAP_FAILED)
        refused_by_errno();
    memset(taken, 1, size);
    for (unsigned left = (unsigned)number(a[1]); left > 0;)
        left = sleep(left);
    got("%zu MiB", size >> 20);
}

static void descriptors(char **a) {
    long wanted = capped(a[0], MAX_DESCRIPTORS);
    for (long i = 0; i < wanted; i++)
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
            refused("%s after %ld", strerrorname_np(errno), i);
    got("%ld descriptors", wanted);
}

static void priority(char **a) {
    errno = 0;
    int before = getpriority(PRIO_PROCESS, 0);
    answer(setpriority(PRIO_PROCESS, 0, before + (int)number(a[0])));
}

static void real_time(char **a) {
    struct sched_param how = {.sched_priority = 1};
    (void)a;
    answer(sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &how));
}

static void batch(char **a) {
    struct sched_param how = {.sched_priority = 0};
    (void)a;
    answer(sched_setscheduler(0, SCHED_BATCH, &how));
}

static void own_score(char **a) {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused_by_errno();
    answer(write(file, a[0], strlen(a[0])));
}

static const struct {
    const char *name;
    int limit;
} limits[] = {{"core", RLIMIT_CORE}, {"processes", RLIMIT_NPROC}, {"file-size", RLIMIT_FSIZE}, {"descriptors", RLIMIT_NOFILE}};

/* Raises a limit of the process itself, the hard one too. */
static void raise_limit(char **a) {
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;
        if (strcmp(limits[i].name, a[0]) != 0)
            continue;
        if (getrlimit((__rlimit_resource_t)limits[i].limit, &limit) < 0)
            refused_by_errno();
        if (limit.rlim_max == RLIM_INFINITY)
            got("there is none");
        limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
        answer(setrlimit((__rlimit_resource_t)limits[i].limit, &limit));
    }
    broken("no limit %s", a[0]);
}

static void lower_limit(char **a) {
    struct rlimit limit = {16, 16};
    (void)a;
    answer(setrlimit(RLIMIT_NOFILE, &limit));
}

/* Dies as a program with a fault does, where a dump of it would be written. */
static void dump_core(char **a) {
    if (chdir(a[0]) < 0)
        refused_by_errno();
    pid_t child = fork();
    int status;
    if (child == 0) {
        struct rlimit limit = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_CORE, &limit);
        raise(SIGSEGV);
    }
    if (waitpid(child, &status, 0) < 0)
        refused_by_errno();
    if (!WCOREDUMP(status))
        refused("no dump");
    got("a dump");
}

static void lock_memory(char **a) {
    size_t size = (size_t)capped(a[0], MAX_MIB << 10) << 10;
    char *taken = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taken == MAP_FAILED)
        refused_by_errno();
    answer(mlock(taken, size));
}

/* Memory with a name, which outlives every process. */
static void shared_memory(char **a) { answer(shmget((key_t)number(a[0]), 4096, IPC_CREAT | 0666)); }

static void own_shared_memory(char **a) {
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    (void)a;
    if (id < 0)
        refused_by_errno();
    answer(shmctl(id, IPC_RMID, NULL));
}

const struct verb resource_verbs[] = {
    {"processes", 1, processes},
    {"threads", 1, threads},
    {"memory", 2, memory},
    {"descriptors", 1, descriptors},
    {"priority", 1, priority},
    {"real-time", 0, real_time},
    {"batch", 0, batch},
    {"own-score", 1, own_score},
    {"raise-limit", 1, raise_limit},
    {"lower-limit", 0, lower_limit},
    {"dump-core", 1, dump_core},
    {"lock-memory", 1, lock_memory},
    {"shared-memory", 1, shared_memory},
    {"own-shared-memory", 0, own_shared_memory},
    {NULL, 0, NULL},
};
