/* Plays attempts: reads them from a file, runs each in a process of its own, and prints what it answered.
 *
 * probe play FILE     waits for FILE; each line is an id, a verb and its arguments, with tabs between them
 * probe stay MARKER   stays until it is killed, as somebody else's process that attempts are aimed at
 * probe VERB …        runs one verb
 *
 * An attempt is a line "@@ ID<tab>TRY" on standard output, and its answer a line "@@ ID<tab>GOT …" or "… REFUSED …". */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Longest time for one attempt, and for the file of attempts to appear. */
enum { ATTEMPT_MS = 15000, FILE_MS = 30000, STAY_SECONDS = 600, MAX_WORDS = 16, MAX_LINE = 8192 };

/* A copy of the standard output of the play, which each attempt has beside its own. */
enum { PLAY_OUTPUT = 100 };

static _Noreturn void say(const char *word, const char *format, va_list arguments) {
    char line[512];
    int length = snprintf(line, sizeof line, "%s ", word);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    if (write(1, line, (size_t)length) < 0)
        _exit(3);
    _exit(0);
}

_Noreturn void got(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("GOT", format, arguments);
}

_Noreturn void refused(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("REFUSED", format, arguments);
}

_Noreturn void broken(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("BROKEN", format, arguments);
}

_Noreturn void refused_by_errno(void) {
    const char *name = strerrorname_np(errno);
    refused("%s", name ? name : "an error without a name");
}

_Noreturn void answer(long result) {
    if (result < 0)
        refused_by_errno();
    got("%ld", result);
}

_Noreturn void reached(long result) {
    static const int refusals[] = {EPERM,  EACCES, ENOSYS, EROFS, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT,
                                   ENOENT, ESRCH,  ENXIO,  ENODEV};
    if (result >= 0)
        got("%ld", result);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (errno == refusals[i])
            refused_by_errno();
    got("past the check: %s", strerrorname_np(errno));
}

static long parent_of(long pid) {
    char path[64], text[256] = "";
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) < 0)
        broken("%s: %s", path, strerrorname_np(errno));
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest, ") %*c %d", &parent) != 1)
        broken("%s is unreadable", path);
    close(file);
    return parent;
}

long number(const char *text) {
    char *end;
    if (strcmp(text, "self") == 0)
        return getpid();
    if (strcmp(text, "above") == 0)
        return parent_of(getppid());
    long value = strtol(text, &end, 0);
    if (*end || end == text)
        broken("%s is no number", text);
    return value;
}

long target(const char *text) {
    long pid = number(text);
    /* In a pid namespace the number of somebody else's process may be our own. */
    if (text[0] >= '0' && text[0] <= '9' && pid > 0 && (pid == getpid() || pid == getppid()))
        refused("nobody else has that number here");
    return pid;
}

int play_output(void) {
    if (fcntl(PLAY_OUTPUT, F_GETFD) < 0)
        broken("it is not played");
    return PLAY_OUTPUT;
}

/* A word that begins with $ begins with the value of a variable, or with the directory that is there without one. */
static char *expanded(char *word) {
    static char places[16][4096];
    static int n_taken;
    size_t length = strcspn(word, "/");
    char name[64], *place = places[n_taken++ % 16];
    if (word[0] != '$')
        return word;
    snprintf(name, sizeof name, "%.*s", (int)length - 1, word + 1);
    const char *value = getenv(name);
    snprintf(place, sizeof *places, "%s%s", value ? value : "/tmp", word + length);
    return place;
}

_Noreturn void perform(int n_words, char **words) {
    static const struct verb *const tables[] = {file_verbs,     privilege_verbs, process_verbs,   kernel_verbs, network_verbs,
                                                resource_verbs, life_verbs,      terminal_verbs, inherited_verbs, output_verbs};
    for (int i = 1; i < n_words; i++)
        words[i] = expanded(words[i]);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct verb *verb = tables[i]; verb->name; verb++)
            if (strcmp(verb->name, words[0]) == 0) {
                if (n_words - 1 < verb->n_arguments)
                    broken("%s needs %d arguments", verb->name, verb->n_arguments);
                verb->act(words + 1);
                broken("%s gave no answer", verb->name);
            }
    broken("no verb %s", words[0]);
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Runs one attempt and prints its answer. The process may leave others behind: only its own end is waited for. */
static void attempt(char *line) {
    char *words[MAX_WORDS + 1] = {NULL}, *rest = NULL, text[600];
    int n_words = 0, answers[2], status = 0;
    size_t length = 0;
    char *id = strtok_r(line, "\t", &rest);
    for (char *word; n_words < MAX_WORDS && (word = strtok_r(NULL, "\t", &rest));)
        words[n_words++] = word;
    if (!id || n_words == 0)
        return;
    /* Said before: an attempt may be the end of everything. */
    dprintf(1, "\n@@ %s\tTRY\n", id);
    if (pipe2(answers, O_CLOEXEC) < 0) {
        dprintf(1, "\n@@ %s\tBROKEN pipe: %s\n", id, strerrorname_np(errno));
        return;
    }
    pid_t child = -1;
    /* After a bomb the kernel may still be taking its processes away. */
    for (long end = now_ms() + 5000; child < 0 && now_ms() < end;) {
        child = fork();
        if (child < 0)
            poll(NULL, 0, 5);
    }
    if (child < 0) {
        dprintf(1, "\n@@ %s\tBROKEN fork: %s\n", id, strerrorname_np(errno));
        close(answers[0]);
        close(answers[1]);
        return;
    }
    if (child == 0) {
        setpgid(0, 0);
        dup2(answers[1], 1);
        close(answers[0]);
        close(answers[1]);
        perform(n_words, words);
    }
    close(answers[1]);
    fcntl(answers[0], F_SETFL, O_NONBLOCK);
    int ended = 0;
    for (long end = now_ms() + ATTEMPT_MS; !ended && now_ms() < end;) {
        ended = waitpid(child, &status, WNOHANG) == child;
        if (!ended)
            poll(NULL, 0, 1);
    }
    if (!ended) {
        kill(-child, SIGKILL);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    for (ssize_t n; length < sizeof text - 1 && (n = read(answers[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)n;
    close(answers[0]);
    text[length] = 0;
    char *end = strchr(text, '\n');
    if (end)
        *end = 0;
    else if (!ended)
        snprintf(text, sizeof text, "REFUSED no end after %d ms", ATTEMPT_MS);
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "REFUSED signal %d", WTERMSIG(status));
    else
        snprintf(text, sizeof text, "BROKEN exit status %d and no answer", WEXITSTATUS(status));
    dprintf(1, "\n@@ %s\t%s\n", id, text);
}

static int play(const char *path) {
    FILE *file = NULL;
    char line[MAX_LINE];
    for (long end = now_ms() + FILE_MS; !file && now_ms() < end;) {
        file = fopen(path, "re");
        if (!file)
            poll(NULL, 0, 2);
    }
    if (!file) {
        dprintf(1, "no file %s\n", path);
        return 3;
    }
    signal(SIGTTOU, SIG_IGN);
    dup3(1, PLAY_OUTPUT, O_CLOEXEC);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        attempt(line);
    }
    dprintf(1, "\n@@ end\tGOT all\n");
    return 0;
}

int main(int n_arguments, char **arguments) {
    if (n_arguments == 3 && strcmp(arguments[1], "play") == 0)
        return play(arguments[2]);
    if (n_arguments == 3 && strcmp(arguments[1], "stay") == 0) {
        alarm(STAY_SECONDS);
        for (;;)
            pause();
    }
    if (n_arguments < 2)
        return 2;
    perform(n_arguments - 1, arguments + 1);
}
