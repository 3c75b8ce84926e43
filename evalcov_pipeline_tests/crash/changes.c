/* Preloaded into a process: counts what it changes in the files under one folder, and kills it, or
   fills its disk, at a chosen change. Every language's writes pass through here, DuckDB's, SQLite's
   and Arrow's included. Also sets the wall clock forward or back. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { KILL, TEAR, FILL };

struct report {
    long changes;
    char last[504];
};

static struct report *report;
static char counted[4096], ignored[4096];
static long at;
static int how;
static long clock_offset_s;

void arm(const char *folder, const char *but_not, long change, int what_happens, long offset_s,
         struct report *to) {
    strncpy(counted, folder, sizeof counted - 1);
    strncpy(ignored, but_not, sizeof ignored - 1);
    at = change;
    how = what_happens;
    clock_offset_s = offset_s;
    report = to;
}

static int is_under(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return n && !strncmp(path, folder, n) && (path[n] == '/' || path[n] == 0);
}

static int is_counted(const char *path) {
    return report && path && is_under(path, counted) && !is_under(path, ignored);
}

static int is_counted_fd(int fd) {
    char link[64], path[4096];
    if (!report) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_counted(path);
}

static int is_there(const char *path) {
    struct stat found;
    return !stat(path, &found);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Called before a change is made; returns whether it must fail since the disk is full. */
static int change(const char *what, const char *path, int grows) {
    long n = __sync_add_and_fetch(&report->changes, 1);
    if (n <= at || !at) snprintf(report->last, sizeof report->last, "%s %s", what, path);
    if (n == at && (how == KILL || (how == TEAR && strcmp(what, "write")))) die();
    if (at && n >= at && how == FILL && grows) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) { \
        REAL(int, #symbol, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if ((flags & (O_CREAT | O_TRUNC)) && is_counted(path) && \
            change("open", path, !is_there(path))) \
            return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(symbol) \
    int symbol(int at_fd, const char *path, int flags, ...) { \
        REAL(int, #symbol, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if ((flags & (O_CREAT | O_TRUNC)) && is_counted(path) && \
            change("open", path, !is_there(path))) \
            return -1; \
        return real(at_fd, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define WRITE(symbol, parameters, arguments, first_half) \
    ssize_t symbol parameters { \
        REAL(ssize_t, #symbol, int, const void *, size_t, off_t); \
        if (is_counted_fd(fd)) { \
            char link[64], path[400]; \
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd); \
            ssize_t known = readlink(link, path, sizeof path - 1); \
            path[known < 0 ? 0 : known] = 0; \
            if (change("write", path, 1)) return -1; \
            if (report->changes == at && how == TEAR) { \
                real first_half; \
                die(); \
            } \
        } \
        return real arguments; \
    }
WRITE(write, (int fd, const void *data, size_t n), (fd, data, n, 0), (fd, data, n / 2, 0))
WRITE(pwrite, (int fd, const void *data, size_t n, off_t where), (fd, data, n, where),
      (fd, data, n / 2, where))
WRITE(pwrite64, (int fd, const void *data, size_t n, off64_t where), (fd, data, n, where),
      (fd, data, n / 2, where))

#define ON_FD(symbol, parameters, arguments, ...) \
    int symbol parameters { \
        REAL(int, #symbol, __VA_ARGS__); \
        if (is_counted_fd(fd) && change(#symbol, "", 0)) return -1; \
        return real arguments; \
    }
ON_FD(fsync, (int fd), (fd), int)
ON_FD(fdatasync, (int fd), (fd), int)
ON_FD(ftruncate, (int fd, off_t size), (fd, size), int, off_t)
ON_FD(ftruncate64, (int fd, off64_t size), (fd, size), int, off64_t)

#define ON_PATH(symbol, grows, parameters, arguments, ...) \
    int symbol parameters { \
        REAL(int, #symbol, __VA_ARGS__); \
        if (is_counted(path) && change(#symbol, path, grows)) return -1; \
        return real arguments; \
    }
ON_PATH(rename, 0, (const char *from, const char *path), (from, path), const char *, const char *)
ON_PATH(unlink, 0, (const char *path), (path), const char *)
ON_PATH(rmdir, 0, (const char *path), (path), const char *)
ON_PATH(remove, 0, (const char *path), (path), const char *)
ON_PATH(mkdir, 1, (const char *path, mode_t mode), (path, mode), const char *, mode_t)

/* shutil.rmtree names files by their folder's descriptor. */
int unlinkat(int fd, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if ((is_counted(path) || (path[0] != '/' && is_counted_fd(fd))) && change("unlinkat", path, 0))
        return -1;
    return real(fd, path, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += clock_offset_s;
    return result;
}
