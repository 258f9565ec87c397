/* Verbs about terminals. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int terminal(void) {
    int file = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        refused_by_errno();
    return file;
}

static void open_terminal(char **a) {
    (void)a;
    answer(terminal());
}

/* Types into the terminal for whoever reads it next. */
static void type_into(char **a) {
    char key = a[0][0];
    answer(ioctl(terminal(), TIOCSTI, &key));
}

/* The same request with bits that the kernel does not look at. */
static void type_past_filter(char **a) {
    char key = a[0][0];
    answer(syscall(SYS_ioctl, terminal(), 0x100000000 | TIOCSTI, &key));
}

/* Requests of the console: a terminal that is none says ENOTTY, past the filter. */
static void ask_console(char **a) {
    char request = 6;
    (void)a;
    reached(ioctl(terminal(), TIOCLINUX, &request));
}

static void line_discipline(char **a) {
    int discipline = 0;
    (void)a;
    answer(ioctl(terminal(), TIOCSETD, &discipline));
}

/* The same of whatever terminal standard input is. */
static void type_into_input(char **a) {
    char key = a[0][0];
    answer(ioctl(0, TIOCSTI, &key));
}

/* Without a terminal the answer is ENOTTY, too, so it is looked for before. */
static void ask_console_by_input(char **a) {
    char request = 6;
    (void)a;
    if (!isatty(0))
        refused("no terminal");
    reached(ioctl(0, TIOCLINUX, &request));
}

static void line_discipline_by_input(char **a) {
    int discipline = 0;
    (void)a;
    answer(ioctl(0, TIOCSETD, &discipline));
}

static void window_size(char **a) {
    struct winsize size;
    (void)a;
    answer(ioctl(terminal(), TIOCGWINSZ, &size));
}

static void attributes(char **a) {
    struct termios settings;
    (void)a;
    answer(tcgetattr(terminal(), &settings));
}

/* Puts its own group into the foreground of the terminal. */
static void take_foreground(char **a) {
    (void)a;
    signal(SIGTTOU, SIG_IGN);
    answer(tcsetpgrp(terminal(), getpgrp()));
}

/* A terminal by its name, as another program of the same user could open it. */
static void open_by_name(char **a) { answer(open(a[0], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)); }

/* A terminal of one's own, which becomes the controlling one. */
static void own_terminal(char **a) {
    int first = posix_openpt(O_RDWR | O_NOCTTY);
    (void)a;
    if (first < 0 || grantpt(first) < 0 || unlockpt(first) < 0)
        refused_by_errno();
    int second = open(ptsname(first), O_RDWR | O_NOCTTY);
    if (second < 0)
        refused_by_errno();
    /* A leader of a group has no session of its own; its child can. */
    pid_t child = fork();
    if (child != 0) {
        waitpid(child, NULL, 0);
        _exit(0);
    }
    setsid();
    answer(ioctl(second, TIOCSCTTY, 0));
}

static void open_own_pair(char **a) {
    (void)a;
    int first = posix_openpt(O_RDWR | O_NOCTTY);
    if (first < 0 || unlockpt(first) < 0)
        refused_by_errno();
    answer(open(ptsname(first), O_RDWR | O_NOCTTY));
}

const struct verb terminal_verbs[] = {
    {"open-terminal", 0, open_terminal},
    {"type-into", 1, type_into},
    {"type-past-filter", 1, type_past_filter},
    {"ask-console", 0, ask_console},
    {"line-discipline", 0, line_discipline},
    {"type-into-input", 1, type_into_input},
    {"ask-console-by-input", 0, ask_console_by_input},
    {"line-discipline-by-input", 0, line_discipline_by_input},
    {"window-size", 0, window_size},
    {"attributes", 0, attributes},
    {"take-foreground", 0, take_foreground},
    {"open-by-name", 1, open_by_name},
    {"own-terminal", 0, own_terminal},
    {"open-own-pair", 0, open_own_pair},
    {NULL, 0, NULL},
};
