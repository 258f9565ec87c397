/* Verbs that leave a process behind. Each gives it the name that the host looks for, and an end of its own after a minute. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 60, MAX_GENERATIONS = 20000, MAX_ZOMBIES = 100 };

static void begin(const char *name) {
    prctl(PR_SET_NAME, name);
    alarm(SECONDS);
}

static _Noreturn void linger(void) {
    time_t end = time(NULL) + SECONDS;
    while (time(NULL) < end)
        pause();
    _exit(0);
}

/* Ends the verb in the first process and goes on in the one that stays. */
static void leave(const char *name) {
    pid_t child = fork();
    if (child < 0)
        broken("fork: %s", strerrorname_np(errno));
    if (child > 0)
        got("left %d", child);
    begin(name);
}

/* A daemon as in every book: a session of its own, a parent that is gone, no descriptors. */
static void daemonise(char **a) {
    leave(a[0]);
    setsid();
    if (fork() != 0)
        _exit(0);
    begin(a[0]);
    for (int file = 0; file < 64; file++)
        close(file);
    linger();
}

/* Keeps the output of the run open. */
static void hold_output(char **a) {
    int output = play_output();
    leave(a[0]);
    setsid();
    dup2(output, 1);
    linger();
}

static void ignore_signals(char **a) {
    leave(a[0]);
    for (int signal_ = 1; signal_ < 65; signal_++)
        if (signal_ != SIGALRM)
            signal(signal_, SIG_IGN);
    linger();
}

static void stop_itself(char **a) {
    leave(a[0]);
    setsid();
    for (;;)
        raise(SIGSTOP);
}

static void spin(char **a) {
    leave(a[0]);
    setsid();
    for (;;)
        ;
}

/* Is never the same process for long: each generation starts the next and ends. Each leaves a mark in a file, and the last
 * is the one that finds it gone. */
static void run_away(char **a) {
    struct timespec pause_ = {0, 1000000};
    leave(a[0]);
    setsid();
    for (int generation = 0; generation < MAX_GENERATIONS; generation++) {
        pid_t next = fork();
        if (next > 0)
            _exit(0);
        begin(a[0]);
        int file = open(a[1], O_WRONLY | O_APPEND | O_CLOEXEC);
        if (file < 0 || write(file, ".", 1) < 0)
            _exit(0);
        close(file);
        nanosleep(&pause_, NULL);
    }
    _exit(0);
}

static void *stay_behind(void *name) {
    prctl(PR_SET_NAME, name);
    linger();
}

/* Its first thread is a zombie, another lives. */
static void end_first_thread(char **a) {
    pthread_t thread;
    leave(a[0]);
    setsid();
    pthread_create(&thread, NULL, stay_behind, a[0]);
    pthread_exit(NULL);
}

/* Children that nobody waits for, below a parent that stays. */
static void keep_zombies(char **a) {
    leave(a[0]);
    setsid();
    for (int i = 0; i < MAX_ZOMBIES; i++)
        if (fork() == 0)
            _exit(0);
    linger();
}

/* Holds another process by tracing it. */
static void trace_and_stay(char **a) {
    leave(a[0]);
    setsid();
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        linger();
    }
    waitpid(child, NULL, 0);
    linger();
}

/* What every script does: a program in the background that ends by itself. */
static void background(char **a) {
    int status;
    pid_t child = fork();
    (void)a;
    if (child == 0) {
        setsid();
        _exit(7);
    }
    if (waitpid(child, &status, 0) < 0)
        refused_by_errno();
    answer(WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 7 : -1);
}

static void stop_and_continue(char **a) {
    int status;
    pid_t child = fork();
    (void)a;
    if (child == 0) {
        raise(SIGSTOP);
        _exit(0);
    }
    if (waitpid(child, &status, WUNTRACED) < 0 || !WIFSTOPPED(status) || kill(child, SIGCONT) < 0)
        refused_by_errno();
    waitpid(child, &status, 0);
    got("it went on");
}

static void catch_signal(char **a) {
    (void)a;
    signal(SIGTERM, SIG_IGN);
    answer(raise(SIGTERM));
}

static void join_thread(char **a) {
    pthread_t thread;
    (void)a;
    if (pthread_create(&thread, NULL, (void *(*)(void *))(void *)getpid, NULL) != 0)
        refused("no thread");
    pthread_join(thread, NULL);
    got("joined");
}

/* Every signal there is, many times, to one process. */
static void storm(char **a) {
    pid_t pid = (pid_t)target(a[0]);
    for (int round = 0; round < 50; round++)
        for (int signal_ = 1; signal_ < 65; signal_++)
            if (kill(pid, signal_) < 0 && errno != EINVAL && errno != EAGAIN)
                refused_by_errno();
    got("sent");
}

const struct verb life_verbs[] = {
    {"daemonise", 1, daemonise},
    {"hold-output", 1, hold_output},
    {"ignore-signals", 1, ignore_signals},
    {"stop-itself", 1, stop_itself},
    {"spin", 1, spin},
    {"run-away", 2, run_away},
    {"end-first-thread", 1, end_first_thread},
    {"keep-zombies", 1, keep_zombies},
    {"trace-and-stay", 1, trace_and_stay},
    {"background", 0, background},
    {"stop-and-continue", 0, stop_and_continue},
    {"catch-signal", 0, catch_signal},
    {"join-thread", 0, join_thread},
    {"storm", 1, storm},
    {NULL, 0, NULL},
};
