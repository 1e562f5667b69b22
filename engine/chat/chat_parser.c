#include "engine/chat/chat_parser.h"

#include <stdarg.h>
#include <stdio.h>

bool chat_parse_fail(struct chat_parser *p, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(p->err, ERR_FORMAT, "%s: line %u: %s", p->what, p->at->line, text);
}

struct chat_node *chat_node_new(struct chat_parser *p, enum chat_node_kind kind)
{
    struct chat_node *n = arena_alloc(p->arena, 1, sizeof *n);
    if (!n) error_memory(p->err, sizeof *n);
    else n->kind = (uint8_t)kind, n->line = p->at->line;
    return n;
}

bool chat_parse_down(struct chat_parser *p)
{
    if (p->depth == CHAT_NESTING_MAX) return chat_parse_fail(p, "nested more than %u levels deep", CHAT_NESTING_MAX);
    p->depth++;
    return true;
}

bool chat_at_op(const struct chat_parser *p, unsigned op)
{
    return p->at->kind == TOKEN_OPERATOR && p->at->op == op;
}

bool chat_at_name(const struct chat_parser *p, const char *name)
{
    return p->at->kind == TOKEN_NAME && chat_text_is(p->at->value, name);
}

bool chat_skip_op(struct chat_parser *p, unsigned op)
{
    if (!chat_at_op(p, op)) return false;
    p->at++;
    return true;
}

bool chat_skip_name(struct chat_parser *p, const char *name)
{
    if (!chat_at_name(p, name)) return false;
    p->at++;
    return true;
}

static const char *found(const struct chat_parser *p, char out[48])
{
    static const char *const kinds[] = {[TOKEN_END] = "the end of the template",
                                        [TOKEN_DATA] = "text",
                                        [TOKEN_PRINT] = "'{{'",
                                        [TOKEN_PRINT_END] = "'}}'",
                                        [TOKEN_BLOCK] = "'{%'",
                                        [TOKEN_BLOCK_END] = "'%}'",
                                        [TOKEN_CONSTANT] = "a constant"};
    if (p->at->kind == TOKEN_NAME) {
        snprintf(out, 48, "'%.*s'", p->at->value.size > 40 ? 40 : (int)p->at->value.size, p->at->value.text);
        return out;
    }
    if (p->at->kind != TOKEN_OPERATOR) return kinds[p->at->kind];
    snprintf(out, 48, "'%s%c'", p->at->op > 0xff ? (char[]){(char)(p->at->op >> 8), 0} : "", (char)(p->at->op & 0xff));
    return out;
}

bool chat_expect_op(struct chat_parser *p, unsigned op)
{
    char shown[48];
    return chat_skip_op(p, op) || chat_parse_fail(p, "expected '%c', found %s", (char)op, found(p, shown));
}

bool chat_expect_name(struct chat_parser *p, const char **name)
{
    char shown[48];
    if (p->at->kind != TOKEN_NAME) return chat_parse_fail(p, "expected a name, found %s", found(p, shown));
    *name = chat_intern(p->names, p->arena, p->at->value.text, p->at->value.size);
    p->at++;
    return *name || error_memory(p->err, 0);
}

const char *chat_intern(struct chat_names *names, struct arena *arena, const char *name, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
    if (arena && 2 * (names->n + 1) > names->n_slots) {
        struct chat_names more = {.n_slots = names->n_slots ? 2 * names->n_slots : 256};
        if (!(more.slots = arena_alloc(arena, more.n_slots, sizeof *more.slots))) return NULL;
        for (uint32_t i = 0; i < names->n_slots; i++) {
            if (!names->slots[i]) continue;
            uint64_t old = 0xcbf29ce484222325u;
            for (const char *s = names->slots[i]; *s; s++) old = (old ^ (uint8_t)*s) * 0x100000001b3u;
            uint32_t at = (uint32_t)(old ^ old >> 32) & (more.n_slots - 1);
            while (more.slots[at]) at = (at + 1) & (more.n_slots - 1);
            more.slots[at] = names->slots[i];
        }
        more.n = names->n;
        *names = more;
    }
    if (names->n_slots == 0) return NULL;
    uint32_t at = (uint32_t)(h ^ h >> 32) & (names->n_slots - 1);
    for (; names->slots[at]; at = (at + 1) & (names->n_slots - 1))
        if (strlen(names->slots[at]) == n && memcmp(names->slots[at], name, n) == 0) return names->slots[at];
    if (!arena || !(names->slots[at] = arena_copy(arena, name, n))) return NULL;
    names->n++;
    return names->slots[at];
}
