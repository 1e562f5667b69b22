/* Large working memory: aligned, sized with checked arithmetic, an error instead of NULL.
 * Released with free(). */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include "core/error.h"

#include <stdint.h>

#define MEMORY_ALIGN 64u /* a cache line, and one AVX-512 register */

/* n * size bytes aligned to MEMORY_ALIGN, uninitialised; *out is NULL-safe to free. n or size 0 gives one valid byte.
 */
MUST_CHECK bool memory_alloc(void *out_ptr, uint64_t n, uint64_t size, struct error *err);
/* The same for what is read as a stream, weights above all: large areas ask the system for large pages. */
MUST_CHECK bool memory_alloc_stream(void *out_ptr, uint64_t n, uint64_t size, struct error *err);
/* memory_alloc, zeroed. */
MUST_CHECK bool memory_zalloc(void *out_ptr, uint64_t n, uint64_t size, struct error *err);

/* From here on large areas go back to the system when they are freed, so that what is resident is what is in use.
 * Called by the program once, before it allocates. */
void memory_return_freed(void);

/* Bytes of physical memory this process may use: the smallest of machine, cgroup and RLIMIT_AS. */
uint64_t memory_available(void);
/* Peak resident bytes of this process so far (VmHWM). */
uint64_t memory_peak(void);
/* Resident bytes now (VmRSS). */
uint64_t memory_resident(void);

#endif
