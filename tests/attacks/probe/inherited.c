/* Verbs about what a process inherits: descriptors, the working directory, the environment. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void read_descriptor(char **a) {
    char text[64];
    ssize_t length = pread((int)number(a[0]), text, sizeof text, 0);
    if (length < 0)
        refused_by_errno();
    if (length == 0)
        refused("it is empty");
    got("%zd bytes", length);
}

static void read_own_descriptor(char **a) {
    char number_[16];
    char *arguments[] = {number_, NULL};
    int file = open(a[0], O_RDONLY);
    if (file < 0)
        refused_by_errno();
    snprintf(number_, sizeof number_, "%d", file);
    read_descriptor(arguments);
}

/* A file below a directory that somebody left open. */
static void open_below(char **a) { answer(openat((int)number(a[0]), a[1], O_RDONLY | O_CLOEXEC)); }

static void open_below_own(char **a) {
    int directory = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        refused_by_errno();
    answer(openat(directory, a[1], O_RDONLY | O_CLOEXEC));
}

/* Opens once more, for writing, what was inherited for reading. */
static void reopen(char **a) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%ld", number(a[0]));
    answer(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

/* Any descriptor beyond those of the launch: the first three, 3 for actions, and the two that this program has itself. */
static void find_descriptor(char **a) {
    struct stat status;
    for (int file = 4; file < 4096; file++) {
        if (fcntl(file, F_GETFD) < 0 || fcntl(file, F_GETFD) & FD_CLOEXEC)
            continue;
        if (fstat(file, &status) == 0)
            got("descriptor %d, mode %o", file, status.st_mode);
    }
    (void)a;
    refused("none");
}

/* Opens a stream of the output in the other direction, to take back what was said. */
static void take_back(char **a) {
    char path[64];
    int file = strcmp(a[0], "error") == 0 ? 2 : play_output();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    answer(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

/* Opens a standard stream by the name that scripts know. */
static void open_input(char **a) {
    (void)a;
    answer(open("/dev/stdin", O_RDONLY | O_CLOEXEC));
}

static void open_error(char **a) {
    (void)a;
    answer(open("/dev/stderr", O_WRONLY | O_APPEND | O_CLOEXEC));
}

static void open_output(char **a) {
    char path[64];
    (void)a;
    snprintf(path, sizeof path, "/dev/fd/%d", play_output());
    answer(open(path, O_WRONLY | O_APPEND | O_CLOEXEC));
}

static void use_descriptor(char **a) {
    struct stat status;
    answer(fstat((int)number(a[0]), &status));
}

/* A file beside the working directory's parent. */
static void read_above(char **a) { answer(open(a[0], O_RDONLY | O_CLOEXEC)); }

static void variable(char **a) {
    const char *value = getenv(a[0]);
    if (!value || !*value)
        refused("not set");
    got("%zu bytes", strlen(value));
}

/* Whether any variable has that text. */
static void variable_with(char **a) {
    for (char **each = environ; *each; each++)
        if (strstr(*each, a[0]))
            got("%.*s", (int)strcspn(*each, "="), *each);
    refused("none");
}

const struct verb inherited_verbs[] = {
    {"read-descriptor", 1, read_descriptor},
    {"read-own-descriptor", 1, read_own_descriptor},
    {"open-below", 2, open_below},
    {"open-below-own", 2, open_below_own},
    {"reopen", 1, reopen},
    {"find-descriptor", 0, find_descriptor},
    {"take-back", 1, take_back},
    {"open-input", 0, open_input},
    {"open-output", 0, open_output},
    {"open-error", 0, open_error},
    {"use-descriptor", 1, use_descriptor},
    {"read-above", 1, read_above},
    {"variable", 1, variable},
    {"variable-with", 1, variable_with},
    {NULL, 0, NULL},
};
