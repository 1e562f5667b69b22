/* The machine: a stack, marks and a memo. Every opcode is checked against what is there. */
#include "formats/pickle_impl.h"

#include "core/cleanup.h"

#include <errno.h>
#include <stdio.h>

bool pickle_bad(struct pickle_machine *m, const char *why)
{
    return error_set(m->err, ERR_FORMAT, "'%.256s': pickle, byte %zu: %s", m->what, m->op_at, why);
}

static void *take(struct pickle_machine *m, uint64_t n, uint64_t size)
{
    uint64_t bytes;
    if (!u64_mul(n, size, &bytes) || !u64_add(m->memory, (bytes + 15) & ~(uint64_t)15, &m->memory) ||
        m->memory > PICKLE_MEMORY_MAX) {
        error_set(m->err, ERR_UNSUPPORTED, "'%.256s': the pickle's values take more than %llu MiB", m->what,
                  (unsigned long long)(PICKLE_MEMORY_MAX >> 20));
        return NULL;
    }
    void *p = arena_alloc(m->arena, (size_t)n, (size_t)size);
    if (!p) error_memory(m->err, (size_t)bytes);
    return p;
}

struct pickle_value *pickle_new(struct pickle_machine *m, enum pickle_kind kind)
{
    struct pickle_value *v = take(m, 1, sizeof *v);
    if (v) v->kind = kind;
    return v;
}

bool pickle_push(struct pickle_machine *m, struct pickle_value *v)
{
    if (m->n_stack == m->stack_capacity) {
        uint32_t capacity = m->stack_capacity ? 2 * m->stack_capacity : 1024;
        if (capacity > PICKLE_STACK_MAX)
            return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': pickle, byte %zu: more than %u values wait", m->what,
                             m->op_at, PICKLE_STACK_MAX);
        struct pickle_value **p = realloc(m->stack, capacity * sizeof *p);
        if (!p) return error_memory(m->err, capacity * sizeof *p);
        m->stack = p;
        m->stack_capacity = capacity;
    }
    m->stack[m->n_stack++] = v;
    return true;
}

/* Room is the next power of two, so that the length tells it. */
static bool reserve(struct pickle_machine *m, struct pickle_value *v, uint32_t n)
{
    uint64_t room = 1;
    while (room < n) room *= 2;
    v->u.items = n ? take(m, room, sizeof *v->u.items) : NULL;
    return n == 0 || v->u.items;
}

bool pickle_append(struct pickle_machine *m, struct pickle_value *to, struct pickle_value *v)
{
    if ((to->n & (to->n - 1)) == 0) {
        if (to->n > UINT32_MAX / 4) return pickle_bad(m, "a container is too long");
        struct pickle_value **p = take(m, to->n ? 2 * (uint64_t)to->n : 1, sizeof *p);
        if (!p) return false;
        if (to->n) memcpy(p, to->u.items, to->n * sizeof *p);
        to->u.items = p;
    }
    to->u.items[to->n++] = v;
    return true;
}

bool pickle_push_items(struct pickle_machine *m, enum pickle_kind kind, struct pickle_value **items, uint32_t n)
{
    struct pickle_value *v = pickle_new(m, kind);
    if (!v || !reserve(m, v, n)) return false;
    for (uint32_t i = 0; i < n; i++) v->u.items[v->n++] = items[i];
    return pickle_push(m, v);
}

/* ---- arguments ---- */

static bool need(struct pickle_machine *m, uint64_t n, const uint8_t **out)
{
    if (n > m->text.size - m->at) return pickle_bad(m, "it is truncated");
    *out = m->text.data + m->at;
    m->at += (size_t)n;
    return true;
}

static bool number(struct pickle_machine *m, uint32_t bytes, uint64_t *out)
{
    const uint8_t *p = NULL;
    if (!need(m, bytes, &p)) return false;
    *out = 0;
    for (uint32_t i = 0; i < bytes; i++) *out |= (uint64_t)p[i] << (8 * i);
    return true;
}

static bool line(struct pickle_machine *m, struct bytes *out)
{
    const uint8_t *from = m->text.data + m->at, *end = memchr(from, '\n', m->text.size - m->at);
    if (!end) return pickle_bad(m, "it is truncated");
    *out = bytes_of(from, (size_t)(end - from));
    m->at += out->size + 1;
    return true;
}

/* ---- values ---- */

static bool push_int(struct pickle_machine *m, int64_t i, enum pickle_kind kind)
{
    bool shared = kind == PICKLE_INT && i >= 0 && i < 256;
    struct pickle_value *v = shared && m->small[i] ? m->small[i] : pickle_new(m, kind);
    if (!v) return false;
    v->u.i = i;
    if (shared) m->small[i] = v;
    return pickle_push(m, v);
}

static bool push_text(struct pickle_machine *m, enum pickle_kind kind, struct bytes text)
{
    if (text.size > UINT32_MAX) return pickle_bad(m, "a text is too long");
    struct pickle_value *v = pickle_new(m, kind);
    if (!v) return false;
    v->u.text = (const char *)text.data;
    v->n = (uint32_t)text.size;
    return pickle_push(m, v);
}

static bool counted_text(struct pickle_machine *m, enum pickle_kind kind, uint32_t width)
{
    uint64_t n;
    const uint8_t *p = NULL;
    return number(m, width, &n) && need(m, n, &p) && push_text(m, kind, bytes_of(p, (size_t)n));
}

/* Two's complement, little-endian. */
static bool push_long(struct pickle_machine *m, uint32_t width)
{
    uint64_t n, i = 0;
    const uint8_t *p = NULL;
    if (!number(m, width, &n) || !need(m, n, &p)) return false;
    if (n > 8) return push_text(m, PICKLE_BIGINT, bytes_of(p, (size_t)n));
    for (uint64_t k = 0; k < n; k++) i |= (uint64_t)p[k] << (8 * k);
    if (n && n < 8 && p[n - 1] & 0x80) i |= ~(uint64_t)0 << (8 * n);
    return push_int(m, (int64_t)i, PICKLE_INT);
}

/* "12", "12L", and of INT also "00" and "01", which are truth values. */
static bool push_decimal(struct pickle_machine *m, bool is_int)
{
    struct bytes l;
    char text[32], *end;
    if (!line(m, &l)) return false;
    if (is_int && l.size == 2 && l.data[0] == '0' && (l.data[1] == '0' || l.data[1] == '1'))
        return push_int(m, l.data[1] - '0', PICKLE_BOOL);
    if (l.size && l.data[l.size - 1] == 'L' && !is_int) l.size--;
    if (!is_int && l.size > 19) return push_text(m, PICKLE_BIGINT, l);
    if (l.size == 0 || l.size >= sizeof text) return pickle_bad(m, "a number that is none or has over 64 bits");
    memcpy(text, l.data, l.size);
    text[l.size] = '\0';
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end || (text[0] != '-' && (text[0] < '0' || text[0] > '9')))
        return pickle_bad(m, "a number that is none or has over 64 bits");
    return push_int(m, v, PICKLE_INT);
}

static bool push_float(struct pickle_machine *m, double f)
{
    struct pickle_value *v = pickle_new(m, PICKLE_FLOAT);
    if (!v) return false;
    v->u.f = f;
    return pickle_push(m, v);
}

static bool push_decimal_float(struct pickle_machine *m)
{
    struct bytes l;
    char text[64], *end;
    if (!line(m, &l)) return false;
    if (l.size == 0 || l.size >= sizeof text) return pickle_bad(m, "a number that is none");
    memcpy(text, l.data, l.size);
    text[l.size] = '\0';
    double f = strtod(text, &end);
    return *end ? pickle_bad(m, "a number that is none") : push_float(m, f);
}

static bool push_binary_float(struct pickle_machine *m)
{
    const uint8_t *p = NULL;
    uint64_t bits = 0;
    double f;
    if (!need(m, 8, &p)) return false;
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
    memcpy(&f, &bits, sizeof f);
    return push_float(m, f);
}

/* Protocol 0's texts, as long as nothing in them is escaped. */
static bool push_line(struct pickle_machine *m, bool quoted)
{
    struct bytes l;
    if (!line(m, &l)) return false;
    if (memchr(l.data, '\\', l.size)) return pickle_bad(m, "a text with escapes, which are not read here");
    if (quoted) {
        if (l.size < 2 || l.data[0] != l.data[l.size - 1] || (l.data[0] != '\'' && l.data[0] != '"'))
            return pickle_bad(m, "a text without quotes");
        l = bytes_of(l.data + 1, l.size - 2);
    }
    return push_text(m, PICKLE_TEXT, l);
}

/* ---- marks and containers ---- */

static bool push_mark(struct pickle_machine *m)
{
    if (m->n_marks == PICKLE_MARKS_MAX)
        return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': the pickle is nested more than %u levels deep", m->what,
                         PICKLE_MARKS_MAX);
    if (m->n_marks == m->marks_capacity) {
        uint32_t capacity = m->marks_capacity ? 2 * m->marks_capacity : 64;
        uint32_t *p = realloc(m->marks, capacity * sizeof *p);
        if (!p) return error_memory(m->err, capacity * sizeof *p);
        m->marks = p;
        m->marks_capacity = capacity;
    }
    m->marks[m->n_marks++] = m->n_stack;
    return true;
}

/* The values since the last mark, which leave the stack; valid until the next push. */
static bool pop_mark(struct pickle_machine *m, struct pickle_value ***items, uint32_t *n)
{
    if (m->n_marks == 0) return pickle_bad(m, "a mark is missing");
    uint32_t at = m->marks[--m->n_marks];
    if (at > m->n_stack) return pickle_bad(m, "values from below a mark are gone");
    *items = m->stack + at;
    *n = m->n_stack - at;
    m->n_stack = at;
    return true;
}

static bool from_mark(struct pickle_machine *m, enum pickle_kind kind)
{
    struct pickle_value **items = NULL, *v = pickle_new(m, kind);
    uint32_t n = 0;
    if (!v || !pop_mark(m, &items, &n)) return false;
    if (kind == PICKLE_DICT && n % 2) return pickle_bad(m, "a key without a value");
    if (!reserve(m, v, n)) return false;
    for (uint32_t i = 0; i < n; i++) v->u.items[v->n++] = items[i];
    return pickle_push(m, v);
}

static bool tuple_of(struct pickle_machine *m, uint32_t n)
{
    if (m->n_stack < n) return pickle_bad(m, "the stack is empty");
    struct pickle_value *items[3];
    for (uint32_t i = 0; i < n; i++) items[i] = m->stack[m->n_stack - n + i];
    m->n_stack -= n;
    return pickle_push_items(m, PICKLE_TUPLE, items, n);
}

/* n values on top go into the container below them. */
static bool append_items(struct pickle_machine *m, enum pickle_kind kind, struct pickle_value **items, uint32_t n)
{
    struct pickle_value *to = m->n_stack ? m->stack[m->n_stack - 1] : NULL;
    if (!to || to->kind != kind || (kind == PICKLE_DICT && n % 2))
        return pickle_bad(m, "items for something that is not a container of their kind");
    for (uint32_t i = 0; i < n; i++)
        if (!pickle_append(m, to, items[i])) return false;
    return true;
}

static bool append_top(struct pickle_machine *m, enum pickle_kind kind, uint32_t n)
{
    if (m->n_stack < n + 1) return pickle_bad(m, "the stack is empty");
    m->n_stack -= n;
    return append_items(m, kind, m->stack + m->n_stack, n);
}

static bool append_marked(struct pickle_machine *m, enum pickle_kind kind)
{
    struct pickle_value **items = NULL;
    uint32_t n = 0;
    return pop_mark(m, &items, &n) && append_items(m, kind, items, n);
}

static bool pop(struct pickle_machine *m)
{
    if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack) m->n_marks--;
    else if (m->n_stack == 0) return pickle_bad(m, "the stack is empty");
    else m->n_stack--;
    return true;
}

static bool pop_to_mark(struct pickle_machine *m)
{
    struct pickle_value **items = NULL;
    uint32_t n = 0;
    return pop_mark(m, &items, &n);
}

/* ---- memo ---- */

static bool put(struct pickle_machine *m, uint64_t i)
{
    if (m->n_stack == 0) return pickle_bad(m, "the stack is empty");
    if (i >= PICKLE_MEMO_MAX)
        return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': pickle, byte %zu: memo %llu; below %u are kept", m->what,
                         m->op_at, (unsigned long long)i, PICKLE_MEMO_MAX);
    if (i >= m->memo_capacity) {
        uint32_t capacity = m->memo_capacity ? m->memo_capacity : 256;
        while (capacity <= i) capacity *= 2;
        struct pickle_value **p = realloc(m->memo, capacity * sizeof *p);
        if (!p) return error_memory(m->err, capacity * sizeof *p);
        memset(p + m->memo_capacity, 0, (capacity - m->memo_capacity) * sizeof *p);
        m->memo = p;
        m->memo_capacity = capacity;
    }
    if (!m->memo[i]) m->n_memo++;
    m->memo[i] = m->stack[m->n_stack - 1];
    return true;
}

static bool get(struct pickle_machine *m, uint64_t i)
{
    if (i >= m->memo_capacity || !m->memo[i]) return pickle_bad(m, "a memo that was never put");
    return pickle_push(m, m->memo[i]);
}

static bool memo_number(struct pickle_machine *m, uint32_t width, bool is_put)
{
    uint64_t i;
    if (!number(m, width, &i)) return false;
    return is_put ? put(m, i) : get(m, i);
}

static bool memo_line(struct pickle_machine *m, bool is_put)
{
    if (!push_decimal(m, false)) return false;
    int64_t i = m->stack[--m->n_stack]->u.i;
    if (i < 0) return pickle_bad(m, "a negative memo");
    return is_put ? put(m, (uint64_t)i) : get(m, (uint64_t)i);
}

/* ---- the loop ---- */

static bool global_lines(struct pickle_machine *m)
{
    struct bytes module, name;
    return line(m, &module) && line(m, &name) && pickle_global(m, module, name);
}

static bool global_stack(struct pickle_machine *m)
{
    if (m->n_stack < 2) return pickle_bad(m, "the stack is empty");
    const struct pickle_value *name = m->stack[m->n_stack - 1], *module = m->stack[m->n_stack - 2];
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT) return pickle_bad(m, "a global without a name");
    m->n_stack -= 2;
    return pickle_global(m, bytes_of(module->u.text, module->n), bytes_of(name->u.text, name->n));
}

static bool frame(struct pickle_machine *m)
{
    uint64_t n;
    if (!number(m, 8, &n)) return false;
    return n <= m->text.size - m->at || pickle_bad(m, "it is truncated");
}

static bool proto(struct pickle_machine *m)
{
    uint64_t n;
    if (!number(m, 1, &n)) return false;
    if (n > 5)
        return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': pickle protocol %u; 0 to 5 are read", m->what,
                         (unsigned)n);
    return true;
}

static bool number_int(struct pickle_machine *m, uint32_t width)
{
    uint64_t n;
    if (!number(m, width, &n)) return false;
    return push_int(m, width == 4 ? (int32_t)(uint32_t)n : (int64_t)n, PICKLE_INT);
}

static bool simple(struct pickle_machine *m, uint8_t op)
{
    switch (op) {
    case 'N': return push_int(m, 0, PICKLE_NONE);
    case 0x88: return push_int(m, 1, PICKLE_BOOL);
    case 0x89: return push_int(m, 0, PICKLE_BOOL);
    case 'K': return number_int(m, 1);
    case 'M': return number_int(m, 2);
    case 'J': return number_int(m, 4);
    case 'I': return push_decimal(m, true);
    case 'L': return push_decimal(m, false);
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'G': return push_binary_float(m);
    case 'F': return push_decimal_float(m);
    case 'S': return push_line(m, true);
    case 'V': return push_line(m, false);
    case 'X': return counted_text(m, PICKLE_TEXT, 4);
    case 0x8c: return counted_text(m, PICKLE_TEXT, 1);
    case 0x8d: return counted_text(m, PICKLE_TEXT, 8);
    case 'T': return counted_text(m, PICKLE_TEXT, 4);
    case 'U': return counted_text(m, PICKLE_TEXT, 1);
    case 'B': return counted_text(m, PICKLE_BYTES, 4);
    case 'C': return counted_text(m, PICKLE_BYTES, 1);
    case 0x8e: return counted_text(m, PICKLE_BYTES, 8);
    case 0x96: return counted_text(m, PICKLE_BYTES, 8);
    default:
        return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': pickle, byte %zu: opcode %02x, which is not read here",
                         m->what, m->op_at, op);
    }
}

static bool step(struct pickle_machine *m, uint8_t op)
{
    switch (op) {
    case 0x80: return proto(m);
    case 0x95: return frame(m);
    case '(': return push_mark(m);
    case '0': return pop(m);
    case '1': return pop_to_mark(m);
    case '2': return m->n_stack ? pickle_push(m, m->stack[m->n_stack - 1]) : pickle_bad(m, "the stack is empty");
    case ')': return tuple_of(m, 0);
    case 0x85: return tuple_of(m, 1);
    case 0x86: return tuple_of(m, 2);
    case 0x87: return tuple_of(m, 3);
    case 't': return from_mark(m, PICKLE_TUPLE);
    case ']':
    case 0x8f: return pickle_push_items(m, PICKLE_LIST, NULL, 0);
    case 'l':
    case 0x91: return from_mark(m, PICKLE_LIST);
    case 'a': return append_top(m, PICKLE_LIST, 1);
    case 'e':
    case 0x90: return append_marked(m, PICKLE_LIST);
    case '}': return pickle_push_items(m, PICKLE_DICT, NULL, 0);
    case 'd': return from_mark(m, PICKLE_DICT);
    case 's': return append_top(m, PICKLE_DICT, 2);
    case 'u': return append_marked(m, PICKLE_DICT);
    case 'c': return global_lines(m);
    case 0x93: return global_stack(m);
    case 'R':
    case 0x81: return pickle_reduce(m);
    case 'b': return pickle_build(m);
    case 'Q': return pickle_persistent(m);
    case 'p': return memo_line(m, true);
    case 'g': return memo_line(m, false);
    case 'q': return memo_number(m, 1, true);
    case 'r': return memo_number(m, 4, true);
    case 'h': return memo_number(m, 1, false);
    case 'j': return memo_number(m, 4, false);
    case 0x94: return put(m, m->n_memo);
    default: return simple(m, op);
    }
}

static bool run(struct pickle_machine *m, struct pickle_value **out)
{
    for (uint32_t ops = 0;; ops++) {
        const uint8_t *op = NULL;
        m->op_at = m->at;
        if (ops == PICKLE_OPS_MAX)
            return error_set(m->err, ERR_UNSUPPORTED, "'%.256s': the pickle has more than %u opcodes", m->what,
                             PICKLE_OPS_MAX);
        if (!need(m, 1, &op)) return false;
        if (*op == '.') break;
        if (!step(m, *op)) return false;
    }
    if (m->n_stack != 1 || m->n_marks) return pickle_bad(m, "it ends with other than one value");
    *out = m->stack[0];
    return true;
}

bool pickle_read(struct bytes text, uint32_t where, const char *what, struct arena *arena, struct pickle_tree *out,
                 struct error *err)
{
    struct pickle_machine m = {.text = text, .where = where, .what = what, .arena = arena, .err = err};
    *out = (struct pickle_tree){0};
    bool ok = run(&m, &out->root);
    out->used = m.at;
    out->storages = m.storages;
    free(m.stack);
    free(m.memo);
    free(m.marks);
    return ok;
}

bool pickle_is_text(const struct pickle_value *v, const char *text)
{
    return v && v->kind == PICKLE_TEXT && v->n == strlen(text) && memcmp(v->u.text, text, v->n) == 0;
}

struct pickle_value *pickle_dict_get(const struct pickle_value *dict, const char *key)
{
    if (!dict || dict->kind != PICKLE_DICT) return NULL;
    for (uint32_t i = dict->n; i >= 2; i -= 2)
        if (pickle_is_text(dict->u.items[i - 2], key)) return dict->u.items[i - 1];
    return NULL;
}

bool pickle_u64(const struct pickle_value *v, uint64_t max, uint64_t *out)
{
    if (!v || v->kind != PICKLE_INT || v->u.i < 0 || (uint64_t)v->u.i > max) return false;
    *out = (uint64_t)v->u.i;
    return true;
}

const char *pickle_kind_name(const struct pickle_value *v)
{
    static const char *const names[] = {"None",       "a truth value", "a number", "a number of over 64 bits",
                                        "a fraction", "a text",        "bytes",    "a tuple",
                                        "a list",     "a dict",        "a name",   "an object",
                                        "a storage",  "a tensor"};
    return names[v->kind];
}
