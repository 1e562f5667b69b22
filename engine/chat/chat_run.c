#include "engine/chat/chat_run.h"

#include "engine/chat/chat_text.h"

#include <stdarg.h>
#include <stdio.h>

static bool fail_at(struct chat_run *r, enum error_code code, const char *fmt, va_list ap)
{
    char text[ERROR_TEXT_MAX / 2];
    vsnprintf(text, sizeof text, fmt, ap);
    return error_set(r->err, code, "%s: line %u: %s", r->what, r->line, text);
}

bool chat_fail(struct chat_run *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_at(r, ERR_FORMAT, fmt, ap);
    va_end(ap);
    return false;
}

bool chat_beyond(struct chat_run *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_at(r, ERR_UNSUPPORTED, fmt, ap);
    va_end(ap);
    return r->bounded = true, false;
}

bool chat_fail_undefined(struct chat_run *r, struct chat_value v)
{
    const char *name = v.text ? v.text : "that";
    if (v.safe) return chat_fail(r, "'%.64s' would change a value, which templates may not", name);
    if (v.size == 0) return chat_fail(r, "'%.64s' is undefined", name);
    return chat_fail(r, "%s has no '%.64s'", chat_kind_name(chat_of((enum chat_kind)v.size)), name);
}

void *chat_alloc(struct chat_run *r, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > CHAT_MEMORY_MAX - r->used_bytes) {
        chat_beyond(r, "the template makes values of more than %zu MiB", CHAT_MEMORY_MAX >> 20);
        return NULL;
    }
    void *p = arena_alloc(r->arena, n, size);
    r->used_bytes += bytes;
    if (!p) error_memory(r->err, bytes), r->bounded = true;
    return p;
}

bool chat_charge(struct chat_run *r, size_t items)
{
    r->steps += 1 + items / 16;
    return r->steps <= CHAT_STEPS_MAX ||
           chat_beyond(r, "the template takes more than %llu steps", (unsigned long long)CHAT_STEPS_MAX);
}

bool chat_enter(struct chat_run *r)
{
    if (r->depth == CHAT_DEPTH_MAX)
        return chat_beyond(r, "the template evaluates more than %u levels deep", CHAT_DEPTH_MAX);
    r->depth++;
    return true;
}

bool chat_room(struct chat_run *r, const struct chat_text *t, uint64_t n)
{
    return n <= CHAT_TEXT_MAX - t->size ||
           chat_beyond(r, "the template makes a text of more than %zu MiB", CHAT_TEXT_MAX >> 20);
}

bool chat_put(struct chat_run *r, struct chat_text *t, const void *data, size_t n)
{
    if (n == 0) return true;
    if (!chat_charge(r, n / 4)) return false;
    if (!chat_room(r, t, n)) return false;
    if (n > t->capacity - t->size) {
        size_t capacity = t->size + n > 2 * t->capacity ? t->size + n : 2 * t->capacity;
        if (capacity < 32) capacity = 32;
        char *grown = chat_alloc(r, capacity, 1);
        if (!grown) return false;
        if (t->size) memcpy(grown, t->data, t->size);
        t->data = grown;
        t->capacity = capacity;
    }
    memcpy(t->data + t->size, data, n);
    t->size += n;
    return true;
}

bool chat_put_words(struct chat_run *r, struct chat_text *t, const char *words)
{
    return chat_put(r, t, words, strlen(words));
}

bool chat_put_char(struct chat_run *r, struct chat_text *t, uint32_t c)
{
    char bytes[4];
    return chat_put(r, t, bytes, chat_utf8(c, bytes));
}

bool chat_put_format(struct chat_run *r, struct chat_text *t, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text) return chat_beyond(r, "a number of more than 511 characters");
    return chat_put(r, t, text, (size_t)n);
}

bool chat_seq_make(struct chat_run *r, enum chat_kind kind, size_t n, struct chat_value *out)
{
    struct chat_seq *s = chat_alloc(r, 1, sizeof *s);
    if (!s || !chat_charge(r, n)) return false;
    s->items = chat_alloc(r, n, sizeof *s->items);
    s->n = n;
    *out = (struct chat_value){.kind = (uint8_t)kind, .seq = s};
    return s->items != NULL;
}

bool chat_iterator_make(struct chat_run *r, struct chat_value *items, size_t n, struct chat_value *out)
{
    struct chat_iterator *it = chat_alloc(r, 1, sizeof *it);
    if (!it) return false;
    *it = (struct chat_iterator){.items = items, .n = n};
    *out = (struct chat_value){.kind = CHAT_ITERATOR, .iterator = it};
    return true;
}

bool chat_list_add(struct chat_run *r, struct chat_list *l, struct chat_value v)
{
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 8;
        struct chat_value *grown = chat_alloc(r, capacity, sizeof *grown);
        if (!grown) return false;
        if (l->n) memcpy(grown, l->items, l->n * sizeof *grown);
        l->items = grown;
        l->capacity = capacity;
    }
    l->items[l->n++] = v;
    return true;
}

bool chat_list_take(struct chat_run *r, const struct chat_list *l, enum chat_kind kind, struct chat_value *out)
{
    struct chat_seq *s = chat_alloc(r, 1, sizeof *s);
    if (!s || !chat_charge(r, l->n)) return false;
    *s = (struct chat_seq){.items = l->items, .n = l->n};
    *out = (struct chat_value){.kind = (uint8_t)kind, .seq = s};
    return true;
}
