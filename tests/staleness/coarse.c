/* A layer over the C library: files have the dates of a coarse file system, or of a server with a wrong clock.
   COARSE_STEP: seconds between two dates; COARSE_SKEW: seconds that the server's clock is ahead. */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static void coarse(long long *seconds, long *nanoseconds) {
    static long step, skew;
    if (!step) {
        skew = setting("COARSE_SKEW", 0);
        step = setting("COARSE_STEP", 1);
    }
    *seconds = *seconds / step * step + skew;
    *nanoseconds = 0;
}

static void change(struct timespec *date) {
    long long seconds = date->tv_sec;
    long nanoseconds;
    coarse(&seconds, &nanoseconds);
    date->tv_sec = seconds;
    date->tv_nsec = nanoseconds;
}

#define WRAP(name, type, parameters, arguments)                                                                        \
    int name parameters {                                                                                              \
        static int(*real) parameters;                                                                                  \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                                                     \
        int code = real arguments;                                                                                     \
        if (!code) {                                                                                                   \
            change(&((struct type *)status)->st_mtim);                                                                 \
            change(&((struct type *)status)->st_ctim);                                                                 \
        }                                                                                                              \
        return code;                                                                                                   \
    }

WRAP(stat, stat, (const char *path, struct stat *status), (path, status))
WRAP(lstat, stat, (const char *path, struct stat *status), (path, status))
WRAP(fstat, stat, (int file, struct stat *status), (file, status))
WRAP(fstatat, stat, (int at, const char *path, struct stat *status, int flags), (at, path, status, flags))
WRAP(stat64, stat64, (const char *path, struct stat64 *status), (path, status))
WRAP(lstat64, stat64, (const char *path, struct stat64 *status), (path, status))
WRAP(fstat64, stat64, (int file, struct stat64 *status), (file, status))
WRAP(fstatat64, stat64, (int at, const char *path, struct stat64 *status, int flags), (at, path, status, flags))

int statx(int at, const char *path, int flags, unsigned mask, struct statx *status) {
    static int (*real)(int, const char *, int, unsigned, struct statx *);
    if (!real) real = dlsym(RTLD_NEXT, "statx");
    int code = real(at, path, flags, mask, status);
    if (!code) {
        long long seconds = status->stx_mtime.tv_sec;
        long nanoseconds;
        coarse(&seconds, &nanoseconds);
        status->stx_mtime.tv_sec = seconds;
        status->stx_mtime.tv_nsec = nanoseconds;
    }
    return code;
}
