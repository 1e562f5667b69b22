#include "core/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(struct text *t, size_t more)
{
    if (t->failed || more > SIZE_MAX / 2 - t->size - 1) return !(t->failed = true);
    size_t need = t->size + more + 1;
    if (need <= t->capacity) return true;
    size_t capacity = t->capacity ? t->capacity : 256;
    while (capacity < need) capacity *= 2;
    char *p = realloc(t->data, capacity);
    if (!p) return !(t->failed = true);
    t->data = p;
    t->capacity = capacity;
    return true;
}

void text_put(struct text *t, const void *data, size_t n)
{
    if (!text_reserve(t, n)) return;
    if (n) memcpy(t->data + t->size, data, n);
    t->size += n;
    t->data[t->size] = '\0';
}

void text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !text_reserve(t, (size_t)n)) {
        t->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(t->data + t->size, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->size += (size_t)n;
}

bool text_take(struct text *t, char **out, size_t *out_size, struct error *err)
{
    text_put(t, "", 0);
    if (t->failed) {
        error_memory(err, t->capacity);
        text_free(t);
        return false;
    }
    *out = t->data;
    if (out_size) *out_size = t->size;
    *t = (struct text){0};
    return true;
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

void text_bytes(char out[32], unsigned long long bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
}
