#include "core/memory.h"

#include "core/bytes.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define LARGE_PAGE (2u << 20) /* of x86; on other machines only an alignment */

static bool alloc_aligned(void *out_ptr, uint64_t n, uint64_t size, uint64_t large, struct error *err)
{
    void **out = out_ptr;
    *out = NULL;
    uint64_t bytes;
    if (!u64_mul(n, size, &bytes) || !u64_align(bytes ? bytes : 1, MEMORY_ALIGN, &bytes) || bytes > SIZE_MAX)
        return error_set(err, ERR_MEMORY, "out of memory (%llu items of %llu bytes asked for)", (unsigned long long)n,
                         (unsigned long long)size);
    if (posix_memalign(out, bytes >= large ? LARGE_PAGE : MEMORY_ALIGN, (size_t)bytes) != 0) {
        *out = NULL;
        return error_memory(err, (size_t)bytes);
    }
    /* Advice: small pages do as well. The last part of a large page would be as large in memory as a whole one. */
    if (bytes >= large) (void)madvise(*out, (size_t)(bytes / LARGE_PAGE * LARGE_PAGE), MADV_HUGEPAGE);
    return true;
}

bool memory_alloc(void *out_ptr, uint64_t n, uint64_t size, struct error *err)
{
    return alloc_aligned(out_ptr, n, size, UINT64_MAX, err);
}

bool memory_alloc_stream(void *out_ptr, uint64_t n, uint64_t size, struct error *err)
{
    return alloc_aligned(out_ptr, n, size, 2 * LARGE_PAGE, err);
}

bool memory_zalloc(void *out_ptr, uint64_t n, uint64_t size, struct error *err)
{
    if (!memory_alloc(out_ptr, n, size, err)) return false;
    memset(*(void **)out_ptr, 0, (size_t)(n * size));
    return true;
}

void memory_return_freed(void)
{
#ifdef __GLIBC__
    /* By default the C library keeps freed areas of up to 32 MiB in its heap once it has seen one of that size. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

static uint64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long v = 0;
    if (!f) return 0;
    if (fscanf(f, "%llu", &v) != 1) v = 0;
    fclose(f);
    return v;
}

uint64_t memory_available(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t best = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        uint64_t v = read_number(limits[i]);
        if (v) best = u64_min(best, v);
    }
    struct rlimit rl;
    if (getrlimit(RLIMIT_AS, &rl) == 0 && rl.rlim_cur != RLIM_INFINITY) best = u64_min(best, rl.rlim_cur);
    return best;
}

/* The line "key: N kB" of what the kernel says of this process. */
static uint64_t status_bytes(const char *key)
{
    FILE *f = fopen("/proc/self/status", "re");
    if (!f) return 0;
    char line[256];
    unsigned long long kib = 0;
    size_t n = strlen(key);
    while (kib == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0) kib = strtoull(line + n, NULL, 10);
    fclose(f);
    return kib * 1024;
}

uint64_t memory_peak(void)
{
    return status_bytes("VmHWM:");
}

uint64_t memory_resident(void)
{
    return status_bytes("VmRSS:");
}
