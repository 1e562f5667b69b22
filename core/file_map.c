/* Maps of files that another process may truncate while we look. Reading a page past the new end raises SIGBUS; the
 * handler puts a zero page there, marks the map, and lets the program go on to the check that reports it. The rest of
 * the page in which the file now ends reads as zero without any signal: for that the check looks at the size again. */
#include "core/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAPS_MAX 64u

/* fd and end are read and written only by the map's owner. */
static struct {
    _Atomic uintptr_t start;
    _Atomic size_t size;
    atomic_bool torn;
    int fd;
    uint64_t end;
} maps[MAPS_MAX];
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t page_bytes;

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < MAPS_MAX; i++) {
        uintptr_t start = atomic_load(&maps[i].start);
        if (!start || at < start || at >= start + atomic_load(&maps[i].size)) continue;
        void *page = (void *)(at & ~(uintptr_t)(page_bytes - 1));
        if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
        atomic_store(&maps[i].torn, true);
        return;
    }
    signal(sig, SIG_DFL); /* not ours: let it kill us as it would have */
}

static void install_handler(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &sa, NULL);
}

bool file_map(int fd, const char *name, uint64_t offset, uint64_t size, struct file_map *out, struct error *err)
{
    *out = (struct file_map){.slot = MAPS_MAX};
    pthread_once(&handler_once, install_handler);
    if (size == 0) return true;
    if (offset % page_bytes != 0)
        return error_set(err, ERR_FORMAT, "'%.512s': data at byte %llu does not begin on a page and cannot be mapped",
                         name, (unsigned long long)offset);
    uint64_t end;
    if (!u64_add(offset, size, &end) || end > INT64_MAX || size > SIZE_MAX)
        return error_set(err, ERR_FORMAT, "'%.512s': %llu bytes cannot be mapped", name, (unsigned long long)size);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return error_set_errno(err, "cannot map '%.512s'", name);
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, (off_t)offset);
    if (p == MAP_FAILED) {
        error_set_errno(err, "cannot map '%.512s'", name);
        close(copy);
        return false;
    }
    pthread_mutex_lock(&maps_lock);
    size_t slot = 0;
    while (slot < MAPS_MAX && atomic_load(&maps[slot].start)) slot++;
    if (slot < MAPS_MAX) {
        atomic_store(&maps[slot].torn, false);
        maps[slot].fd = copy;
        maps[slot].end = end;
        atomic_store(&maps[slot].size, (size_t)size);
        atomic_store(&maps[slot].start, (uintptr_t)p);
    }
    pthread_mutex_unlock(&maps_lock);
    if (slot == MAPS_MAX) {
        munmap(p, (size_t)size);
        close(copy);
        return error_set(err, ERR_INTERNAL, "more than %u files are mapped at once", MAPS_MAX);
    }
    *out = (struct file_map){.bytes = bytes_of(p, (size_t)size), .slot = slot};
    return true;
}

bool file_map_intact(const struct file_map *m, const char *name, struct error *err)
{
    if (m->slot == MAPS_MAX) return true;
    struct stat st;
    if (fstat(maps[m->slot].fd, &st) != 0) return error_set_errno(err, "cannot examine '%.512s'", name);
    if (!atomic_load(&maps[m->slot].torn) && (uint64_t)st.st_size >= maps[m->slot].end) return true;
    return error_set(err, ERR_FORMAT, "'%.512s' was truncated while it was read", name);
}

void file_unmap(struct file_map *m)
{
    if (m->bytes.size == 0) return;
    int fd = maps[m->slot].fd;
    atomic_store(&maps[m->slot].start, 0);
    close(fd);
    munmap((void *)(uintptr_t)m->bytes.data, m->bytes.size);
    *m = (struct file_map){.slot = MAPS_MAX};
}
