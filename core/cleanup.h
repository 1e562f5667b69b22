/* Attributes that release a local when it goes out of scope, so that early return is safe.
 *   CLEANUP(free) char *text = ...;     return take_ptr(&text);   hands it over instead. */
#ifndef CORE_CLEANUP_H
#define CORE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(how) __attribute__((cleanup(cleanup_##how)))

/* Defines cleanup_<name> for a pointer type that is released by `close_fn` (which must accept NULL). */
#define CLEANUP_DEFINE(name, type, close_fn)                                                                           \
    static inline void cleanup_##name(type **p)                                                                        \
    {                                                                                                                  \
        close_fn(*p);                                                                                                  \
    }

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
}

static inline void cleanup_stdio(FILE **f)
{
    if (*f) fclose(*f);
}

/* The value of *p; *p becomes NULL. */
#define take_ptr(p)                                                                                                    \
    __extension__({                                                                                                    \
        __typeof__(*(p)) taken_ = *(p);                                                                                \
        *(p) = NULL;                                                                                                   \
        taken_;                                                                                                        \
    })

#endif
