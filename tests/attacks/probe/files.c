/* Verbs about files and devices. */
#define _GNU_SOURCE
#include "probe.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static _Noreturn void read_some(int file) {
    char text[256];
    if (file < 0)
        refused_by_errno();
    ssize_t n_read = read(file, text, sizeof text);
    if (n_read < 0)
        refused_by_errno();
    if (n_read == 0)
        refused("it is empty");
    got("%zd bytes", n_read);
}

static void read_file(char **a) { read_some(open(a[0], O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }

static void list(char **a) {
    DIR *directory = opendir(a[0]);
    int n_entries = -2;
    if (!directory)
        refused_by_errno();
    while (readdir(directory))
        n_entries++;
    if (n_entries <= 0)
        refused("it is empty");
    got("%d entries", n_entries);
}

/* Opens for writing and writes nothing. */
static void open_to_write(char **a) { answer(open(a[0], O_WRONLY | O_NONBLOCK | O_CLOEXEC)); }

/* Makes a file without a name, of which nothing is left. */
static void may_make(char **a) { answer(open(a[0], O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600)); }

static _Noreturn void write_to(int file) {
    static const char text[] = "written by the workload\n";
    if (file < 0 || write(file, text, sizeof text - 1) < 0)
        refused_by_errno();
    got("written");
}

static void write_file(char **a) { write_to(open(a[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)); }
static void append_file(char **a) { write_to(open(a[0], O_WRONLY | O_APPEND | O_CLOEXEC)); }
static void remove_file(char **a) { answer(unlink(a[0])); }
static void rename_file(char **a) { answer(rename(a[0], a[1])); }

/* A second name for a file of somebody else, and a look through it. */
static void link_and_read(char **a) {
    if (link(a[0], a[1]) < 0)
        refused_by_errno();
    read_file(a + 1);
}

static void symlink_and_read(char **a) {
    if (symlink(a[0], a[1]) < 0)
        refused_by_errno();
    read_file(a + 1);
}

static void symlink_and_write(char **a) {
    if (symlink(a[0], a[1]) < 0)
        refused_by_errno();
    write_file(a + 1);
}

/* Makes a device file that is the null device, and opens it. */
static void make_device(char **a) {
    if (mknod(a[0], S_IFCHR | 0666, makedev(1, 3)) < 0)
        refused_by_errno();
    answer(open(a[0], O_RDONLY | O_CLOEXEC));
}

static void make_pipe(char **a) { answer(mkfifo(a[0], 0600)); }

/* Whether /dev has a disk; opens none. */
static void see_disk(char **a) {
    DIR *directory = opendir("/dev");
    struct stat status;
    (void)a;
    if (!directory)
        refused_by_errno();
    for (struct dirent *entry; (entry = readdir(directory));)
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISBLK(status.st_mode))
            got("%s", entry->d_name);
    refused("no block device");
}

static void see_device(char **a) {
    struct stat status;
    if (stat(a[0], &status) < 0)
        refused_by_errno();
    if (!S_ISCHR(status.st_mode))
        refused("no device");
    got("a device");
}

static void change_mode(char **a) {
    struct stat status;
    mode_t mode = (mode_t)number(a[1]);
    if (chmod(a[0], mode) < 0)
        refused_by_errno();
    if (stat(a[0], &status) < 0)
        refused_by_errno();
    if ((status.st_mode & 07777) != mode)
        refused("the mode is %o", status.st_mode & 07777);
    got("mode %o", mode);
}

/* Makes a file with that mode in one call. */
static void make_with_mode(char **a) {
    struct stat status;
    umask(0);
    mode_t mode = (mode_t)number(a[1]);
    int file = open(a[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file < 0 || fstat(file, &status) < 0)
        refused_by_errno();
    if ((status.st_mode & 07777) != mode)
        refused("the mode is %o", status.st_mode & 07777);
    got("mode %o", mode);
}

static void change_owner(char **a) { answer(chown(a[0], (uid_t)number(a[1]), (gid_t)-1)); }

/* To whom a file belongs already. */
static void keep_owner(char **a) {
    struct stat status;
    if (stat(a[0], &status) < 0)
        refused_by_errno();
    answer(chown(a[0], status.st_uid, (gid_t)-1));
}

/* Puts a capability on a file, in the form of version 2. */
static void file_capability(char **a) {
    static const uint32_t setuid_capability[5] = {0x02000001, 1 << 7, 0, 0, 0};
    answer(setxattr(a[0], "security.capability", setuid_capability, sizeof setuid_capability, 0));
}

static void change_times(char **a) { answer(utimensat(AT_FDCWD, a[0], NULL, 0)); }

/* Opens a file by a handle, past every directory and every mask. */
static void open_by_handle(char **a) {
    struct {
        struct file_handle head;
        char bytes[MAX_HANDLE_SZ];
    } handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount_id, directory = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || name_to_handle_at(directory, "", &handle.head, &mount_id, AT_EMPTY_PATH) < 0)
        refused_by_errno();
    answer(open_by_handle_at(directory, &handle.head, O_RDONLY | O_CLOEXEC));
}

static void open_directory(char **a) { answer(open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

/* Leaves the root by a root below it, the oldest way out. */
static void leave_root(char **a) {
    char up[] = "../../../../../../../..";
    if (chroot(a[0]) < 0 || chdir(up) < 0 || chroot(".") < 0)
        refused_by_errno();
    got("at the first root");
}

static void change_directory(char **a) { answer(chdir(a[0])); }

/* As many files as the file system would take: whether there is a limit near. */
static void inodes(char **a) {
    struct statvfs status;
    if (statvfs(a[0], &status) < 0)
        refused_by_errno();
    if (status.f_files != 0 && status.f_files <= (unsigned long)number(a[1]))
        refused("%lu inodes", (unsigned long)status.f_files);
    got("%lu inodes", (unsigned long)status.f_files);
}

static void stretch(char **a) {
    int file = open(a[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        refused_by_errno();
    answer(ftruncate(file, number(a[1]) << 20));
}

/* Writes so many MiB into one file, and keeps them for so many seconds. */
static void fill(char **a) {
    static char block[1 << 20];
    long wanted = number(a[1]);
    int file = open(a[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        refused_by_errno();
    memset(block, 'x', sizeof block);
    for (long done = 0; done < wanted; done++)
        if (write(file, block, sizeof block) != (ssize_t)sizeof block) {
            int why = errno;
            unlink(a[0]);
            errno = why;
            refused("%s after %ld MiB", strerrorname_np(errno), done);
        }
    for (unsigned left = a[2] ? (unsigned)number(a[2]) : 0; left > 0;)
        left = sleep(left);
    unlink(a[0]);
    got("%ld MiB", wanted);
}

/* Makes so many files in a new directory. */
static void many_files(char **a) {
    char path[4096];
    long wanted = number(a[1]);
    if (mkdir(a[0], 0755) < 0)
        refused_by_errno();
    for (long i = 0; i < wanted; i++) {
        snprintf(path, sizeof path, "%s/%ld", a[0], i);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0)
            refused_by_errno();
        close(file);
    }
    got("%ld files", wanted);
}

/* So many files of one MiB in a new directory, kept for so many seconds. */
static void fill_in_pieces(char **a) {
    static char block[1 << 20];
    char path[4096];
    long wanted = number(a[1]);
    memset(block, 'x', sizeof block);
    if (mkdir(a[0], 0755) < 0)
        refused_by_errno();
    for (long i = 0; i < wanted; i++) {
        snprintf(path, sizeof path, "%s/%ld", a[0], i);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0 || write(file, block, sizeof block) != (ssize_t)sizeof block)
            refused_by_errno();
        close(file);
    }
    for (unsigned left = (unsigned)number(a[2]); left > 0;)
        left = sleep(left);
    got("%ld MiB", wanted);
}

static void make_directory(char **a) { answer(mkdir(a[0], 0755)); }
static void make_symlink(char **a) { answer(symlink(a[0], a[1])); }
static void make_link(char **a) { answer(link(a[0], a[1])); }

const struct verb file_verbs[] = {
    {"read", 1, read_file},
    {"list", 1, list},
    {"open-to-write", 1, open_to_write},
    {"may-make", 1, may_make},
    {"write", 1, write_file},
    {"append", 1, append_file},
    {"remove", 1, remove_file},
    {"rename", 2, rename_file},
    {"link-and-read", 2, link_and_read},
    {"symlink-and-read", 2, symlink_and_read},
    {"symlink-and-write", 2, symlink_and_write},
    {"make-device", 1, make_device},
    {"make-pipe", 1, make_pipe},
    {"see-disk", 0, see_disk},
    {"see-device", 1, see_device},
    {"change-mode", 2, change_mode},
    {"make-with-mode", 2, make_with_mode},
    {"change-owner", 2, change_owner},
    {"keep-owner", 1, keep_owner},
    {"file-capability", 1, file_capability},
    {"change-times", 1, change_times},
    {"open-by-handle", 1, open_by_handle},
    {"open-directory", 1, open_directory},
    {"leave-root", 1, leave_root},
    {"change-directory", 1, change_directory},
    {"inodes", 2, inodes},
    {"stretch", 2, stretch},
    {"fill", 2, fill},
    {"fill-and-hold", 3, fill},
    {"fill-in-pieces", 3, fill_in_pieces},
    {"many-files", 2, many_files},
    {"make-directory", 1, make_directory},
    {"make-symlink", 2, make_symlink},
    {"make-link", 2, make_link},
    {NULL, 0, NULL},
};
