/* What the files of the probe share: the answers, and who offers verbs.
 *
 * A verb is one small program. It is run in a process of its own, tries one thing, and answers with one line: GOT when it
 * succeeded, REFUSED when not. It never repairs and never tries again. */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>

struct verb {
    const char *name;
    int n_arguments;
    void (*act)(char **arguments);
};

/* One table for each class, ended by a verb without a name. */
extern const struct verb file_verbs[], privilege_verbs[], process_verbs[], kernel_verbs[], network_verbs[], resource_verbs[],
    life_verbs[], terminal_verbs[], inherited_verbs[], output_verbs[];

/* The answers. Each ends the process. */
_Noreturn void got(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void refused(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* REFUSED with the name of errno. */
_Noreturn void refused_by_errno(void);
/* What a system call returned: below zero is REFUSED. */
_Noreturn void answer(long result);
/* The same for a call that lacks something on purpose, so that it harms nobody: an error that comes after the check of
 * privileges is GOT. */
_Noreturn void reached(long result);
/* The probe was asked for something that makes no sense. */
_Noreturn void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number in any base; "self" is the caller's pid, "above" that of the process that started the play. */
long number(const char *text);
/* The same for the pid of somebody else. */
long target(const char *text);
/* Runs the verb of that name; never returns. */
_Noreturn void perform(int n_words, char **words);
/* What the process that plays the attempts writes to, past the pipe of the answers. */
int play_output(void);

#endif
