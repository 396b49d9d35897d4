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

static long skew(void) {
    static long found, known;
    if (!known) found = setting("COARSE_SKEW", 0);
    known = 1;
    return found;
}

static void coarse(long long *seconds, long *nanoseconds) {
    static long step;
    if (!step) step = setting("COARSE_STEP", 1);
    *seconds = *seconds / step * step + skew();
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

/* A date that a program sets is kept as it is; only "now" is the server's. */
int utimensat(int at, const char *path, const struct timespec dates[2], int flags) {
    static int (*real)(int, const char *, const struct timespec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "utimensat");
    if (!dates) return real(at, path, dates, flags);
    struct timespec moved[2] = {dates[0], dates[1]};
    for (int i = 0; i < 2; i++)
        if (moved[i].tv_nsec != UTIME_NOW && moved[i].tv_nsec != UTIME_OMIT) moved[i].tv_sec -= skew();
    return real(at, path, moved, flags);
}

int futimens(int file, const struct timespec dates[2]) {
    static int (*real)(int, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "futimens");
    if (!dates) return real(file, dates);
    struct timespec moved[2] = {dates[0], dates[1]};
    for (int i = 0; i < 2; i++)
        if (moved[i].tv_nsec != UTIME_NOW && moved[i].tv_nsec != UTIME_OMIT) moved[i].tv_sec -= skew();
    return real(file, moved);
}
