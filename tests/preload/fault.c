/* LD_PRELOAD: makes the N-th change to the file system go wrong, so that a test can try every N.
 *
 *   FAULT_AT=N       the N-th call counts from 1; 0 or unset: none
 *   FAULT_DO=kill    the process is killed in front of that call (SIGKILL), as by a power cut or the kernel
 *   FAULT_DO=ENOSPC  that call and all writing calls behind it fail: a full disk stays full
 *   FAULT_DO=EIO     only that call fails
 *   FAULT_COUNT=FILE writes the number of calls there at the end
 *   FAULT_OPENS=FILE adds the name of every file that is opened by openat, a line each
 *
 * Counted: write, pwrite, fsync, fallocate, ftruncate, renames, mkdir, unlink, and open with O_CREAT; not the standard
 * streams. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

static long number(const char *name)
{
    const char *s = getenv(name);
    return s ? strtol(s, NULL, 10) : 0;
}

/* True when this call is to fail; errno is set. `takes_space`: a full disk refuses it. */
static bool fault(bool takes_space)
{
    const char *what = getenv("FAULT_DO");
    long at = number("FAULT_AT"), n = atomic_fetch_add(&calls, 1) + 1;
    if (!at || !what || n < at) return false;
    if (strcmp(what, "kill") == 0) kill(getpid(), SIGKILL);
    if (strcmp(what, "EIO") == 0) errno = EIO;
    if (strcmp(what, "ENOSPC") == 0) errno = ENOSPC;
    return strcmp(what, "EIO") == 0 ? n == at : takes_space;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("FAULT_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld\n", (long)calls);
    fclose(f);
}

/* ISO C has no cast from dlsym's object pointer to a function; POSIX has. */
#define REAL(name) __extension__((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *p, size_t n)
{
    return fd > 2 && fault(true) ? -1 : REAL(write)(fd, p, n);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return fault(true) ? -1 : REAL(pwrite)(fd, p, n, at);
}
int fsync(int fd)
{
    return fault(true) ? -1 : REAL(fsync)(fd);
}
int fallocate(int fd, int mode, off_t at, off_t n)
{
    return fault(true) ? -1 : REAL(fallocate)(fd, mode, at, n);
}
int ftruncate(int fd, off_t n)
{
    return fault(true) ? -1 : REAL(ftruncate)(fd, n);
}
int renameat(int a, const char *x, int b, const char *y)
{
    return fault(true) ? -1 : REAL(renameat)(a, x, b, y);
}
int renameat2(int a, const char *x, int b, const char *y, unsigned flags)
{
    return fault(true) ? -1 : REAL(renameat2)(a, x, b, y, flags);
}
int mkdirat(int dir, const char *name, mode_t mode)
{
    return fault(true) ? -1 : REAL(mkdirat)(dir, name, mode);
}
int unlinkat(int dir, const char *name, int flags)
{
    return fault(false) ? -1 : REAL(unlinkat)(dir, name, flags);
}
static void note(const char *name)
{
    const char *path = getenv("FAULT_OPENS");
    int fd = path ? REAL(openat)(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd < 0) return;
    char line[512];
    int n = snprintf(line, sizeof line, "%s\n", name);
    if (n > 0 && (size_t)n < sizeof line && REAL(write)(fd, line, (size_t)n) != n) perror(path);
    close(fd);
}
int openat(int dir, const char *name, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (flags & O_CREAT && fault(true)) return -1;
    note(name);
    return REAL(openat)(dir, name, flags, mode);
}
/* What a call without a mode becomes where the compiler checks it (_FORTIFY_SOURCE). */
int __openat_2(int dir, const char *name, int flags);
int __openat_2(int dir, const char *name, int flags)
{
    note(name);
    return REAL(openat)(dir, name, flags);
}
