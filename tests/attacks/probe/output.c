/* Verbs about what a run takes out of the sandbox: output and artifacts. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_OUTPUT_MIB = 32, DEPTH = 300 };

static void put_all(int output, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n_written = write(output, bytes, length);
        if (n_written < 0)
            refused_by_errno();
        bytes += n_written;
        length -= (size_t)n_written;
    }
}

/* Every byte there is, four times, as no text has them. */
static void print_bytes(char **a) {
    char bytes[1024];
    (void)a;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    put_all(play_output(), bytes, sizeof bytes);
    got("printed");
}

/* So many MiB without the end of a line. */
static void print_line(char **a) {
    static char block[1 << 20];
    long wanted = number(a[0]);
    int output = play_output();
    if (wanted > MAX_OUTPUT_MIB)
        broken("too much");
    memset(block, 'l', sizeof block);
    for (long i = 0; i < wanted; i++)
        put_all(output, block, sizeof block);
    got("printed");
}

/* So many thousand short lines. */
static void print_lines(char **a) {
    static char block[8000];
    int output = play_output();
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % 8 == 7 ? '\n' : 'f';
    for (long i = number(a[0]); i > 0; i--)
        put_all(output, block, sizeof block);
    got("printed");
}

static void print_text(char **a) {
    put_all(play_output(), a[0], strlen(a[0]));
    got("printed");
}

/* A text in two writes, with a pause that lets the reader see the first alone. */
static void print_halves(char **a) {
    size_t half = strlen(a[0]) / 2;
    int output = play_output();
    put_all(output, a[0], half);
    usleep(50000);
    put_all(output, a[0] + half, strlen(a[0]) - half);
    got("printed");
}

/* The same to the standard error of the run. */
static void print_error(char **a) {
    put_all(2, a[0], strlen(a[0]));
    got("printed");
}

static const char *in_output(const char *name) {
    static char path[4096];
    const char *directory = getenv("STOCKADE_OUTPUT_DIR");
    if (!directory)
        refused("there is no output directory");
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void artifact_file(char **a) {
    int file = open(in_output(a[0]), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        refused_by_errno();
    put_all(file, a[1], strlen(a[1]));
    got("written");
}

static void artifact_pipe(char **a) { answer(mkfifo(in_output(a[0]), 0600)); }
static void artifact_link(char **a) { answer(symlink(a[1], in_output(a[0]))); }

static void artifact_hard_link(char **a) { answer(link(a[1], in_output(a[0]))); }

static void artifact_socket(char **a) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in_output(a[0]));
    answer(bind(listener, (struct sockaddr *)&address, sizeof address));
}

/* A directory in a directory, deeper than any path. */
static void artifact_depth(char **a) {
    if (chdir(in_output(".")) < 0)
        refused_by_errno();
    for (int i = 0; i < DEPTH; i++)
        if (mkdir(a[0], 0755) < 0 || chdir(a[0]) < 0)
            refused_by_errno();
    int file = open("bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        refused_by_errno();
    got("%d deep", DEPTH);
}

/* A file that looks larger than all that is kept, and takes nothing. */
static void artifact_hole(char **a) {
    int file = open(in_output(a[0]), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        refused_by_errno();
    answer(ftruncate(file, 1L << 30));
}

static void artifact_many(char **a) {
    char name[64];
    for (long i = 0; i < number(a[0]); i++) {
        snprintf(name, sizeof name, "many-%ld", i);
        int file = open(in_output(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0)
            refused_by_errno();
        close(file);
    }
    got("all");
}

static void artifact_mode(char **a) {
    int file = open(in_output(a[0]), O_WRONLY | O_CREAT | O_CLOEXEC, 0777);
    if (file < 0)
        refused_by_errno();
    put_all(file, "#!/bin/sh\n", 10);
    fchmod(file, 07777);
    got("written");
}

/* A JSON text of so many arrays in each other, as the last line of the output may be the result of a run. */
static void print_depth(char **a) {
    static char block[1 << 16];
    int output = play_output();
    memset(block, '[', sizeof block);
    put_all(output, "\n", 1);
    for (long left = number(a[0]); left > 0; left -= (long)sizeof block)
        put_all(output, block, left < (long)sizeof block ? (size_t)left : sizeof block);
    put_all(output, "\n", 1);
    got("printed");
}

/* What a tool reports, on the descriptor that is there for it. */
static int actions(void) {
    const char *text = getenv("STOCKADE_ACTIONS_FD");
    if (!text)
        refused("there is no descriptor for actions");
    return atoi(text);
}

static void report_text(char **a) {
    int output = actions();
    put_all(output, a[0], strlen(a[0]));
    put_all(output, "\n", 1);
    got("reported");
}

static void report_bytes(char **a) {
    char bytes[4096];
    (void)a;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 11);
    put_all(actions(), bytes, sizeof bytes);
    put_all(actions(), "\n", 1);
    got("reported");
}

/* So many MiB as one line that begins as JSON does. */
static void report_line(char **a) {
    static char block[1 << 20];
    int output = actions();
    memset(block, 'l', sizeof block);
    put_all(output, "{\"tool\":\"", 9);
    for (long i = number(a[0]); i > 0; i--)
        put_all(output, block, sizeof block);
    put_all(output, "\"}\n", 3);
    got("reported");
}

static void report_depth(char **a) {
    int output = actions();
    put_all(output, "{\"data\":", 8);
    for (long i = number(a[0]); i > 0; i--)
        put_all(output, "[", 1);
    put_all(output, "\n", 1);
    got("reported");
}

/* A name that moves the cursor and sets the title of whoever prints it. */
static void artifact_name(char **a) {
    static const char name[] = "\033[2J\033]0;title\007\nname";
    int file = open(in_output(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    (void)a;
    if (file < 0)
        refused_by_errno();
    got("made");
}

/* So many MiB, where the files that are kept lie. */
static void artifact_fill(char **a) {
    static char block[1 << 20];
    const char *path = in_output(a[0]);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    memset(block, 'x', sizeof block);
    for (long i = number(a[1]); i > 0; i--)
        if (file < 0 || write(file, block, sizeof block) != (ssize_t)sizeof block) {
            int why = errno;
            unlink(path);
            errno = why;
            refused_by_errno();
        }
    unlink(path);
    got("all");
}

const struct verb output_verbs[] = {
    {"print-bytes", 0, print_bytes},
    {"print-line", 1, print_line},
    {"print-lines", 1, print_lines},
    {"print-text", 1, print_text},
    {"print-halves", 1, print_halves},
    {"print-error", 1, print_error},
    {"print-depth", 1, print_depth},
    {"report-text", 1, report_text},
    {"report-bytes", 0, report_bytes},
    {"report-line", 1, report_line},
    {"report-depth", 1, report_depth},
    {"artifact-name", 0, artifact_name},
    {"artifact-fill", 2, artifact_fill},
    {"artifact-file", 2, artifact_file},
    {"artifact-pipe", 1, artifact_pipe},
    {"artifact-link", 2, artifact_link},
    {"artifact-hard-link", 2, artifact_hard_link},
    {"artifact-socket", 1, artifact_socket},
    {"artifact-depth", 1, artifact_depth},
    {"artifact-hole", 1, artifact_hole},
    {"artifact-many", 1, artifact_many},
    {"artifact-mode", 1, artifact_mode},
    {NULL, 0, NULL},
};
