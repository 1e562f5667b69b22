#include "engine/pretokenizer_match.h"

#include "engine/pretokenizer_pattern.h"
#include "engine/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

/* Matching in bounded time. PCRE2's limit of steps counts anew for each place where a match may begin, and does not
 * count what a single repeated character or class runs over. So a word is first looked for in a small window and with
 * few steps for each place. Where it does not end in the window (PCRE2 says "partial"), or the steps do not suffice,
 * the counted form of the pattern, in which every step counts, is tried at one place after another with ever more
 * steps, which are paid from a budget in proportion to the text. */
#define WINDOW_BYTES 512u
#define WINDOW_STEPS 64u
#define COUNTED_STEPS_LEAST 64u
#define BUDGET_PER_BYTE 256u
#define BUDGET_LEAST ((uint64_t)1 << 22)
/* Memory for going back, when a word is very long: about 50 bytes for each of its characters. */
#define STACK_BYTES_LEAST ((size_t)64 << 10)
#define STACK_BYTES_MAX ((size_t)1 << 30)

struct matcher {
    pcre2_code *fast, *counted;
};

struct match_run {
    pcre2_match_data *match;
    pcre2_match_context *window, *counted;
    pcre2_jit_stack *stack;
    uint64_t budget;
};

static bool compile(const struct text *pattern, bool counted, pcre2_code **out, struct error *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (!c) return error_memory(err, pattern->size);
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    *out = pcre2_compile((PCRE2_SPTR)pattern->data, pattern->size,
                         PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | (counted ? PCRE2_ANCHORED : 0), &code,
                         &at, c);
    pcre2_compile_context_free(c);
    if (*out) {
        /* Without a just-in-time compiler, or memory it may execute, the same is interpreted. */
        (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE | (counted ? 0 : PCRE2_JIT_PARTIAL_HARD));
        return true;
    }
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(code, message, sizeof message);
    return error_set(err, ERR_FORMAT, "the pattern is not valid: %s", (const char *)message);
}

static bool compile_both(struct matcher *m, const char *pattern, bool is_regex, enum pattern_dialect dialect,
                         struct error *err)
{
    struct text fast = TEXT_INIT, counted = TEXT_INIT;
    bool ok = true;
    if (is_regex) {
        ok = pattern_rewrite(pattern, dialect, false, &fast, err) &&
             pattern_rewrite(pattern, dialect, true, &counted, err);
    } else {
        pattern_literal(bytes_text(pattern), &fast);
        pattern_literal(bytes_text(pattern), &counted);
    }
    if (ok && (fast.failed || counted.failed)) ok = error_memory(err, fast.size);
    text_put(&fast, "", 0);
    text_put(&counted, "", 0);
    ok = ok && compile(&fast, false, &m->fast, err) && compile(&counted, true, &m->counted, err);
    text_free(&fast);
    text_free(&counted);
    return ok;
}

static bool open_dialect(struct matcher **out, const char *pattern, bool is_regex, enum pattern_dialect dialect,
                         struct error *err)
{
    struct matcher *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return error_memory(err, sizeof *m);
    if (!compile_both(m, pattern, is_regex, dialect, err)) {
        matcher_close(m);
        return false;
    }
    *out = m;
    return true;
}

bool matcher_open(struct matcher **out, const char *pattern, bool is_regex, struct error *err)
{
    return open_dialect(out, pattern, is_regex, PATTERN_ONIGURUMA, err);
}

bool matcher_open_rust(struct matcher **out, const char *pattern, struct error *err)
{
    return open_dialect(out, pattern, true, PATTERN_RUST, err);
}

void matcher_close(struct matcher *m)
{
    if (!m) return;
    pcre2_code_free(m->fast);
    pcre2_code_free(m->counted);
    free(m);
}

bool match_run_open(struct match_run **out, size_t text_size, struct error *err)
{
    struct match_run *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return error_memory(err, sizeof *r);
    r->budget = BUDGET_LEAST + (uint64_t)text_size * BUDGET_PER_BYTE;
    r->match = pcre2_match_data_create(1, NULL);
    r->window = pcre2_match_context_create(NULL);
    r->counted = pcre2_match_context_create(NULL);
    if (!r->match || !r->window || !r->counted) {
        match_run_close(r);
        return error_memory(err, sizeof *r);
    }
    pcre2_set_match_limit(r->window, WINDOW_STEPS);
    pcre2_set_heap_limit(r->counted, STACK_BYTES_MAX / 1024);
    *out = r;
    return true;
}

void match_run_close(struct match_run *r)
{
    if (!r) return;
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->window);
    pcre2_match_context_free(r->counted);
    pcre2_jit_stack_free(r->stack);
    free(r);
}

static const struct span no_span = {SIZE_MAX, SIZE_MAX};

static bool match_failed(int rc, size_t at, struct error *err)
{
    PCRE2_UCHAR message[128];
    if (rc == PCRE2_ERROR_NOMEMORY) return error_memory(err, STACK_BYTES_MAX);
    pcre2_get_error_message(rc, message, sizeof message);
    return error_set(err, ERR_UNSUPPORTED, "pre_tokenizer: the pattern gives up at byte %zu of a text: %s", at,
                     (const char *)message);
}

/* The match that begins at `at`, by the counted pattern; found->start is SIZE_MAX when there is none. */
static bool match_counted(struct match_run *r, const struct matcher *m, struct bytes text, size_t at,
                          struct span *found, struct error *err)
{
    if (!r->stack) {
        r->stack = pcre2_jit_stack_create(STACK_BYTES_LEAST, STACK_BYTES_MAX, NULL);
        if (!r->stack) return error_memory(err, STACK_BYTES_LEAST);
        pcre2_jit_stack_assign(r->counted, NULL, r->stack);
    }
    int rc = PCRE2_ERROR_MATCHLIMIT;
    for (uint64_t steps = COUNTED_STEPS_LEAST; rc == PCRE2_ERROR_MATCHLIMIT && steps <= r->budget; steps *= 4) {
        r->budget -= steps;
        pcre2_set_match_limit(r->counted, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
        rc = pcre2_match(m->counted, text.data, text.size, at, PCRE2_NO_UTF_CHECK, r->match, r->counted);
    }
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return match_failed(rc, at, err);
    const PCRE2_SIZE *o = pcre2_get_ovector_pointer(r->match);
    *found = rc < 0 ? no_span : (struct span){o[0], o[1]};
    return true;
}

/* The same for all places before `end`. */
static bool match_each(struct match_run *r, const struct matcher *m, struct bytes text, size_t at, size_t end,
                       struct span *found, struct error *err)
{
    do {
        if (!match_counted(r, m, text, at, found, err)) return false;
        if (found->start != SIZE_MAX || at == text.size) return true;
        at += utf8_lead_size(text.data[at]);
    } while (at < end);
    return true;
}

bool match_next(struct match_run *r, const struct matcher *m, struct bytes text, size_t at, struct span *found,
                struct error *err)
{
    const PCRE2_SIZE *o = pcre2_get_ovector_pointer(r->match);
    *found = no_span;
    for (;;) {
        size_t end = text.size - at > WINDOW_BYTES ? at + WINDOW_BYTES : text.size;
        while (end < text.size && (text.data[end] & 0xc0) == 0x80) end--;
        uint32_t options = PCRE2_NO_UTF_CHECK | (end < text.size ? PCRE2_PARTIAL_HARD : 0);
        int rc = pcre2_match(m->fast, text.data, end, at, options, r->match, r->window);
        if (rc >= 0) {
            *found = (struct span){o[0], o[1]};
            return true;
        }
        if (rc == PCRE2_ERROR_PARTIAL && o[0] > at) {
            at = o[0]; /* nothing begins before */
            continue;
        }
        if (rc == PCRE2_ERROR_PARTIAL) end = at + utf8_lead_size(text.data[at]);
        else if (rc != PCRE2_ERROR_NOMATCH && rc != PCRE2_ERROR_MATCHLIMIT && rc != PCRE2_ERROR_JIT_STACKLIMIT &&
                 rc != PCRE2_ERROR_HEAPLIMIT)
            return match_failed(rc, at, err);
        if (rc != PCRE2_ERROR_NOMATCH && !match_each(r, m, text, at, end, found, err)) return false;
        if (found->start != SIZE_MAX || (rc != PCRE2_ERROR_PARTIAL && end == text.size)) return true;
        at = end;
    }
}
