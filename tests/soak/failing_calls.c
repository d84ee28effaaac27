/* Makes the n-th write, fsync or rename below a folder fail, for tests: LD_PRELOAD=failing_calls.so.
 *
 * A process calls fail_arm(folder, n, error) when it begins; n = 0 counts only. fail_count() says how many such calls
 * there were. Calls on files elsewhere pass.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long target;
static int failure;
static long calls;

void fail_arm(const char *below, long n, int error) {
    strncpy(folder, below, sizeof folder - 1);
    target = n;
    failure = error;
    __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
}

long fail_count(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

/* Whether this call is the one that fails. */
static int fails(const char *path) {
    if (!folder[0] || !path || strncmp(path, folder, strlen(folder)))
        return 0;
    long n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (n != target)
        return 0;
    errno = failure;
    return 1;
}

static int fails_at(int descriptor) {
    if (!folder[0])
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(type, name, ...)                              \
    static type (*real)(__VA_ARGS__);                      \
    if (!real)                                             \
        real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return fails_at(descriptor) ? -1 : real(descriptor, data, size);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return fails_at(descriptor) ? -1 : real(descriptor, data, size, at);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return fails_at(descriptor) ? -1 : real(descriptor, data, size, at);
}

ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return fails_at(descriptor) ? -1 : real(descriptor, pieces, count);
}

int fsync(int descriptor) {
    REAL(int, "fsync", int);
    return fails_at(descriptor) ? -1 : real(descriptor);
}

int fdatasync(int descriptor) {
    REAL(int, "fdatasync", int);
    return fails_at(descriptor) ? -1 : real(descriptor);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails(from) ? -1 : real(from, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    return fails(from) ? -1 : real(from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    return fails(to) ? -1 : real(from, to);
}
