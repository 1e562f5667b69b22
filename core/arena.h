/* Memory that is freed together: names, items and small arrays of one long-lived object.
 * Addresses stay valid until arena_free. Not thread-safe. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/error.h"

#include <stddef.h>

struct arena;

struct arena *arena_new(void);    /* NULL when memory is gone */
void arena_free(struct arena *a); /* NULL is fine */
void *arena_alloc(struct arena *a, size_t n,
                  size_t size); /* n * size zeroed bytes, aligned to 16; NULL on overflow or no memory */
char *arena_copy(struct arena *a, const char *text, size_t n); /* n bytes and a terminator */
char *arena_text(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
