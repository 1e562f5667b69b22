#include "engine/pretokenizer.h"

#include "engine/pretokenizer_pattern.h"
#include "engine/tokenizer_steps.h"
#include "engine/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* GPT-2's, which ByteLevel brings along. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Matching in bounded time. A word is first looked for in a window of text and with few steps. When it does not end in
 * the window (PCRE2 says "partial"), or the steps do not suffice, the counted form of the pattern looks through the
 * whole text with ever more steps, which are paid from a budget that is in proportion to the text. */
#define WINDOW_BYTES 1024u
#define WINDOW_STEPS 4096u
#define BUDGET_PER_BYTE 256u
#define BUDGET_LEAST ((uint64_t)1 << 22)
/* Memory for going back, when a word is very long: about 50 bytes for each of its characters. */
#define STACK_BYTES_LEAST ((size_t)64 << 10)
#define STACK_BYTES_MAX ((size_t)1 << 30)

enum step_kind { STEP_SPLIT, STEP_BYTE_LEVEL, STEP_METASPACE };
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
enum { BEHAVIOR_COUNT = sizeof behavior_names / sizeof *behavior_names };
enum prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };
static const char *const prepend_names[] = {"always", "first", "never"};

struct step {
    enum step_kind kind;
    pcre2_code *fast, *counted;      /* NULL: nothing to split by */
    enum behavior behavior;
    bool invert, prefix_space;
    enum prepend prepend;            /* metaspace */
    char mark[5];
};

struct pretokenizer { struct step steps[STEPS_MAX]; uint32_t n_steps; };

struct pretokenizer_run {
    const struct pretokenizer *p;
    pcre2_match_data *match;
    pcre2_match_context *window, *counted;
    pcre2_jit_stack *stack;
    struct text buffers[STEPS_MAX];  /* what a step that changes the text made of it */
    uint64_t budget;
    word_fn fn;
    void *ctx;
};

static bool compile(const struct text *pattern, bool partial, pcre2_code **out, struct error *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (!c) return error_memory(err, pattern->size);
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    *out = pcre2_compile((PCRE2_SPTR)pattern->data, pattern->size, PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, c);
    pcre2_compile_context_free(c);
    if (*out) {
        /* Without a just-in-time compiler, or memory it may execute, the same is interpreted. */
        if (pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE | (partial ? PCRE2_JIT_PARTIAL_HARD : 0)) == 0) return true;
        return true;
    }
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(code, message, sizeof message);
    return error_set(err, ERR_FORMAT, "the pattern is not valid: %s", (const char *)message);
}

static bool compile_both(struct step *s, const char *pattern, bool is_regex, struct error *err)
{
    struct text fast = TEXT_INIT, counted = TEXT_INIT;
    bool ok = true;
    if (is_regex) {
        ok = pattern_rewrite(pattern, false, &fast, err) && pattern_rewrite(pattern, true, &counted, err);
    } else {
        pattern_literal(bytes_text(pattern), &fast);
        pattern_literal(bytes_text(pattern), &counted);
    }
    if (ok && (fast.failed || counted.failed)) ok = error_memory(err, fast.size);
    text_put(&fast, "", 0);
    text_put(&counted, "", 0);
    ok = ok && compile(&fast, true, &s->fast, err) && compile(&counted, false, &s->counted, err);
    text_free(&fast);
    text_free(&counted);
    return ok;
}

static bool find_name(const char *const *names, size_t n, const char *name, const char *key, size_t *out, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = i;
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED, "key '%s': '%.100s' is not supported", key, name);
}

static bool read_split(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *pattern, *behavior;
    bool is_regex;
    size_t i = 0;
    if (!json_known_keys(spec, "Split", keys, err) || !steps_pattern(spec, &pattern, &is_regex, err) ||
        !json_get_string(spec, "behavior", "Split", &behavior, err) ||
        !json_get_bool(spec, "invert", "Split", &s->invert, err) ||
        !find_name(behavior_names, BEHAVIOR_COUNT, behavior, "behavior", &i, err))
        return false;
    s->behavior = (enum behavior)i;
    return compile_both(s, pattern, is_regex, err);
}

static bool read_digits(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool individual;
    if (!json_known_keys(spec, "Digits", keys, err) ||
        !json_get_bool(spec, "individual_digits", "Digits", &individual, err))
        return false;
    s->behavior = individual ? ISOLATED : CONTIGUOUS;
    return compile_both(s, "\\p{N}", true, err);
}

static bool read_byte_level(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool use_regex = true;
    s->kind = STEP_BYTE_LEVEL;
    s->behavior = ISOLATED;
    if (!json_known_keys(spec, "ByteLevel", keys, err) ||
        !json_get_bool(spec, "add_prefix_space", "ByteLevel", &s->prefix_space, err) ||
        !json_opt_bool(spec, "use_regex", "ByteLevel", &use_regex, err))
        return false;
    return use_regex ? compile_both(s, gpt2_pattern, true, err) : true;
}

static bool read_metaspace(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep", NULL};
    const char *mark, *scheme = "always";
    bool split = true, prefix = true;
    size_t i = 0;
    s->kind = STEP_METASPACE;
    s->behavior = MERGED_WITH_NEXT;
    if (!json_known_keys(spec, "Metaspace", keys, err) || !json_get_string(spec, "replacement", "Metaspace", &mark, err) ||
        !json_opt_string(spec, "prepend_scheme", "Metaspace", &scheme, err) ||
        !json_opt_bool(spec, "split", "Metaspace", &split, err) ||
        !json_opt_bool(spec, "add_prefix_space", "Metaspace", &prefix, err) ||
        !find_name(prepend_names, 3, scheme, "prepend_scheme", &i, err))
        return false;
    if (!*mark || utf8_lead_size((uint8_t)*mark) != strlen(mark))
        return error_set(err, ERR_FORMAT, "key 'replacement': expected one character, found '%.100s'", mark);
    s->prepend = (enum prepend)i;
    if (!prefix && s->prepend != PREPEND_NEVER)
        return error_set(err, ERR_FORMAT, "add_prefix_space is false, and prepend_scheme is '%s'", scheme);
    memcpy(s->mark, mark, strlen(mark) + 1);
    return split ? compile_both(s, mark, false, err) : true;
}

static bool read_step(void *ctx, const json_t *spec, const char *type, struct error *err)
{
    static const struct { const char *type; bool (*read)(const json_t *spec, struct step *s, struct error *err); } kinds[] = {
        {"Split", read_split}, {"ByteLevel", read_byte_level}, {"Digits", read_digits}, {"Metaspace", read_metaspace},
    };
    struct pretokenizer *p = ctx;
    if (pretokenizer_is_byte_level(p))
        return error_set(err, ERR_UNSUPPORTED, "type '%.100s' behind ByteLevel is not supported", type);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) return kinds[i].read(spec, &p->steps[p->n_steps++], err);
    return steps_refuse(type, err);
}

bool pretokenizer_open(struct pretokenizer **out, const json_t *spec, struct error *err)
{
    struct pretokenizer *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return error_memory(err, sizeof *p);
    if (!steps_read(spec, "pre_tokenizer", "pretokenizers", read_step, p, err)) {
        pretokenizer_close(p);
        return false;
    }
    *out = p;
    return true;
}

void pretokenizer_close(struct pretokenizer *p)
{
    if (!p) return;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        pcre2_code_free(p->steps[i].fast);
        pcre2_code_free(p->steps[i].counted);
    }
    free(p);
}

bool pretokenizer_is_byte_level(const struct pretokenizer *p)
{
    return p->n_steps && p->steps[p->n_steps - 1].kind == STEP_BYTE_LEVEL;
}

bool pretokenizer_run_open(struct pretokenizer_run **out, const struct pretokenizer *p, size_t text_size, struct error *err)
{
    struct pretokenizer_run *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return error_memory(err, sizeof *r);
    r->p = p;
    r->budget = BUDGET_LEAST + (uint64_t)text_size * BUDGET_PER_BYTE;
    r->match = pcre2_match_data_create(1, NULL);
    r->window = pcre2_match_context_create(NULL);
    r->counted = pcre2_match_context_create(NULL);
    if (!r->match || !r->window || !r->counted) {
        pretokenizer_run_close(r);
        return error_memory(err, sizeof *r);
    }
    pcre2_set_match_limit(r->window, WINDOW_STEPS);
    pcre2_set_heap_limit(r->counted, STACK_BYTES_MAX / 1024);
    *out = r;
    return true;
}

void pretokenizer_run_close(struct pretokenizer_run *r)
{
    if (!r) return;
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->window);
    pcre2_match_context_free(r->counted);
    pcre2_jit_stack_free(r->stack);
    for (uint32_t i = 0; i < STEPS_MAX; i++) text_free(&r->buffers[i]);
    free(r);
}

struct span { size_t start, end; };

static bool match_failed(int rc, size_t at, struct error *err)
{
    PCRE2_UCHAR message[128];
    if (rc == PCRE2_ERROR_NOMEMORY) return error_memory(err, STACK_BYTES_MAX);
    pcre2_get_error_message(rc, message, sizeof message);
    return error_set(err, ERR_UNSUPPORTED, "pre_tokenizer: the pattern gives up at byte %zu of a text: %s", at,
                     (const char *)message);
}

/* The next match from `at` on, by the counted pattern; *found.start is SIZE_MAX when there is none. */
static bool find_counted(struct pretokenizer_run *r, const struct step *s, struct bytes text, size_t at, struct span *found,
                         struct error *err)
{
    if (!r->stack) {
        r->stack = pcre2_jit_stack_create(STACK_BYTES_LEAST, STACK_BYTES_MAX, NULL);
        if (!r->stack) return error_memory(err, STACK_BYTES_LEAST);
        pcre2_jit_stack_assign(r->counted, NULL, r->stack);
    }
    int rc = PCRE2_ERROR_MATCHLIMIT;
    for (uint32_t steps = 4 * WINDOW_STEPS; rc == PCRE2_ERROR_MATCHLIMIT && steps <= r->budget; steps *= 4) {
        r->budget -= steps;
        pcre2_set_match_limit(r->counted, steps);
        rc = pcre2_match(s->counted, text.data, text.size, at, PCRE2_NO_UTF_CHECK, r->match, r->counted);
    }
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return match_failed(rc, at, err);
    const PCRE2_SIZE *o = pcre2_get_ovector_pointer(r->match);
    *found = rc < 0 ? (struct span){SIZE_MAX, SIZE_MAX} : (struct span){o[0], o[1]};
    return true;
}

static bool find_match(struct pretokenizer_run *r, const struct step *s, struct bytes text, size_t at, struct span *found,
                       struct error *err)
{
    const PCRE2_SIZE *o = pcre2_get_ovector_pointer(r->match);
    for (;;) {
        size_t end = text.size - at > WINDOW_BYTES ? at + WINDOW_BYTES : text.size;
        while (end < text.size && (text.data[end] & 0xc0) == 0x80) end--;
        uint32_t options = PCRE2_NO_UTF_CHECK | (end < text.size ? PCRE2_PARTIAL_HARD : 0);
        int rc = pcre2_match(s->fast, text.data, end, at, options, r->match, r->window);
        if (rc >= 0) {
            *found = (struct span){o[0], o[1]};
            return true;
        }
        if (rc == PCRE2_ERROR_PARTIAL && o[0] > at) {
            at = o[0];    /* nothing begins before */
        } else if (rc == PCRE2_ERROR_NOMATCH && end < text.size) {
            at = end;
        } else if (rc == PCRE2_ERROR_NOMATCH) {
            *found = (struct span){SIZE_MAX, SIZE_MAX};
            return true;
        } else if (rc == PCRE2_ERROR_PARTIAL || rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT ||
                   rc == PCRE2_ERROR_HEAPLIMIT) {
            return find_counted(r, s, text, at, found, err);
        } else {
            return match_failed(rc, at, err);
        }
    }
}

static bool run_step(struct pretokenizer_run *r, uint32_t step, struct bytes text, bool at_start, struct error *err);

/* A stretch of text on its way to the next step; the one before waits because the next may still belong to it. */
struct stretch { struct span span; bool is_match, any; };
struct splitter {
    struct pretokenizer_run *r;
    uint32_t step;
    struct bytes text;
    bool at_start;
    struct stretch waiting;
    bool match_before;
};

static bool give(struct splitter *sp, struct span span, struct error *err)
{
    if (span.start == span.end) return true;
    return run_step(sp->r, sp->step + 1, bytes_of(sp->text.data + span.start, span.end - span.start),
                    sp->at_start && span.start == 0, err);
}

/* Stretches come in order, matches and what is between. */
static bool take(struct splitter *sp, struct span span, bool is_match, struct error *err)
{
    const struct step *s = &sp->r->p->steps[sp->step];
    struct stretch *w = &sp->waiting;
    bool before = sp->match_before, join;
    is_match = is_match != s->invert;
    sp->match_before = is_match;
    if (s->behavior == ISOLATED) return give(sp, span, err);
    if (s->behavior == REMOVED) return is_match ? true : give(sp, span, err);
    if (s->behavior == CONTIGUOUS) join = is_match == before;
    else if (s->behavior == MERGED_WITH_PREVIOUS) join = is_match && !before;
    else join = w->is_match && !is_match;
    if (w->any && join) {
        w->span.end = span.end;
        w->is_match = false;
        return true;
    }
    struct stretch last = *w;
    *w = (struct stretch){span, is_match, true};
    return last.any ? give(sp, last.span, err) : true;
}

static bool split(struct splitter *sp, struct error *err)
{
    const struct step *s = &sp->r->p->steps[sp->step];
    struct span m;
    size_t done = 0, at = 0, last_end = SIZE_MAX;
    while (at <= sp->text.size) {
        if (!find_match(sp->r, s, sp->text, at, &m, err)) return false;
        if (m.start == SIZE_MAX) break;
        if (m.start == m.end && m.end == last_end) {
            /* Nothing, right behind a match: the search goes on one character later. */
            at += at < sp->text.size ? utf8_lead_size(sp->text.data[at]) : 1;
            continue;
        }
        if (m.start > done && !take(sp, (struct span){done, m.start}, false, err)) return false;
        if (!take(sp, m, true, err)) return false;
        done = at = last_end = m.end;
    }
    if (done < sp->text.size && !take(sp, (struct span){done, sp->text.size}, false, err)) return false;
    return sp->waiting.any ? give(sp, sp->waiting.span, err) : true;
}

/* Spaces become marks, and one is put in front. */
static struct bytes mark_spaces(struct text *t, const struct step *s, struct bytes in, bool at_start)
{
    struct bytes mark = bytes_text(s->mark);
    bool marked = in.data[0] == ' ' || (in.size >= mark.size && memcmp(in.data, mark.data, mark.size) == 0);
    t->size = 0;
    if (!marked && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && at_start))) text_put(t, mark.data, mark.size);
    steps_replace(t, in, bytes_text(" "), mark);
    return bytes_of(t->data, t->size);
}

static bool run_step(struct pretokenizer_run *r, uint32_t step, struct bytes text, bool at_start, struct error *err)
{
    if (step == r->p->n_steps) return r->fn(r->ctx, text, err);
    const struct step *s = &r->p->steps[step];
    struct text *t = &r->buffers[step];
    if (s->kind == STEP_METASPACE) {
        text = mark_spaces(t, s, text, at_start);
    } else if (s->prefix_space && text.data[0] != ' ') {
        t->size = 0;
        text_put(t, " ", 1);
        text_put(t, text.data, text.size);
        text = bytes_of(t->data, t->size);
    }
    if (t->failed) return error_memory(err, t->size);
    struct splitter sp = {.r = r, .step = step, .text = text, .at_start = at_start};
    return s->fast ? split(&sp, err) : give(&sp, (struct span){0, text.size}, err);
}

bool pretokenizer_split(struct pretokenizer_run *r, struct bytes text, bool at_start, word_fn fn, void *ctx, struct error *err)
{
    r->fn = fn;
    r->ctx = ctx;
    return text.size ? run_step(r, 0, text, at_start, err) : true;
}
