#include "engine/pretokenizer_rewrite.h"
#include "engine/unicode.h"

void pattern_literal(struct bytes text, struct text *out)
{
    for (size_t at = 0, size; at < text.size; at += size) {
        size = utf8_lead_size(text.data[at]);
        rewrite_put_char(out, utf8_char(text.data + at, size));
    }
}

static bool open_group(struct rewrite *r)
{
    static const struct {
        const char *from, *to;
        bool repeatable, fold;
    } groups[] = {
        {"(?:", "(?:", true, false},    {"(?i:", "(?i:", true, true}, {"(?>", "(?>", true, false},
        {"(?=", "(?=", false, false},   {"(?!", "(?!", false, false}, {"(?<=", "(?<=", false, false},
        {"(?<!", "(?<!", false, false},
    };
    const char *to = NULL;
    bool repeatable = true, fold = r->fold[r->depth];
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (!rewrite_next_is(r, groups[i].from)) continue;
        to = groups[i].to;
        repeatable = groups[i].repeatable;
        fold = fold || groups[i].fold;
        r->p += strlen(groups[i].from);
        break;
    }
    if (!to) {
        if (rewrite_next_is(r, "(?") || rewrite_next_is(r, "(*")) return rewrite_refuse(r, "this kind of group");
        to = "(?:";
        r->p++;
    }
    if (r->depth == PATTERN_DEPTH_MAX) return rewrite_refuse(r, "a group in so many others");
    r->depth++;
    r->fold[r->depth] = fold;
    r->group[r->depth] = repeatable ? r->out->size : SIZE_MAX;
    r->item = SIZE_MAX;
    text_put(r->out, to, strlen(to));
    return true;
}

static bool close_group(struct rewrite *r)
{
    if (r->depth == 0) return rewrite_refuse(r, "a ')' without '('");
    text_put(r->out, ")", 1);
    r->p++;
    r->item = r->group[r->depth--];
    r->item_is_group = true;
    return true;
}

/* {n}, {n,}, {n,m}, {,m}: least and most, UINT32_MAX for no end. */
static bool read_interval(struct rewrite *r, uint32_t *least, uint32_t *most)
{
    uint32_t v[2] = {0, 0}, digits[2] = {0, 0}, i = 0;
    const uint8_t *p = r->p + 1;
    for (; p < r->end && *p != '}' && digits[i] < 5; p++) {
        if (*p == ',' && i == 0) {
            i = 1;
            continue;
        }
        if (*p < '0' || *p > '9') break;
        v[i] = v[i] * 10 + (*p - '0');
        digits[i]++;
    }
    if (r->dialect == PATTERN_RUST && !digits[0]) return rewrite_refuse(r, "this '{'");
    if (p == r->end || *p != '}' || (!digits[0] && !digits[1])) return rewrite_refuse(r, "this '{'");
    *least = v[0];
    *most = i == 0 ? v[0] : digits[1] ? v[1] : UINT32_MAX;
    if (*most < *least || *least > PATTERN_REPEAT_MAX || (*most > PATTERN_REPEAT_MAX && *most != UINT32_MAX))
        return rewrite_refuse(r, "this number of repetitions");
    r->p = p + 1;
    return true;
}

/* Counted: what is repeated becomes a group. */
static bool make_group(struct rewrite *r)
{
    struct text *out = r->out;
    text_put(out, "(?:)", 4); /* room for both ends */
    if (out->failed) return error_memory(r->err, out->size);
    memmove(out->data + r->item + 3, out->data + r->item, out->size - 4 - r->item);
    memcpy(out->data + r->item, "(?:", 3);
    out->data[out->size - 1] = ')';
    return true;
}

static bool rewrite_quantifier(struct rewrite *r)
{
    uint32_t least = *r->p == '+', most = *r->p == '?' ? 1 : UINT32_MAX;
    bool interval = *r->p == '{';
    if (r->item == SIZE_MAX) return rewrite_refuse(r, "a repetition here");
    if (!interval) r->p++;
    else if (!read_interval(r, &least, &most)) return false;
    /* Oniguruma reads {n}? and {n,m}+ in its own way. */
    if (interval && (rewrite_next_is(r, "+") || (least == most && rewrite_next_is(r, "?"))))
        return rewrite_refuse(r, "a sign behind a number of repetitions");
    if (r->counted && !r->item_is_group && !make_group(r)) return false;
    if (most == UINT32_MAX) text_add(r->out, "{%u,}", least);
    else text_add(r->out, "{%u,%u}", least, most);
    if (rewrite_next_is(r, "?") || rewrite_next_is(r, "+")) text_put(r->out, r->p++, 1);
    r->item = SIZE_MAX;
    return true;
}

/* In Oniguruma two letters can be one: "ss" finds U+00DF where case counts for nothing. */
static bool check_fold(struct rewrite *r, uint32_t c)
{
    static const char pairs[][3] = {"ss", "ff", "fi", "fl", "st"};
    if (!r->fold[r->depth]) return true;
    if (c > 0x7f) return rewrite_refuse(r, "a letter beyond ASCII where case counts for nothing");
    uint32_t low = rewrite_is_alnum(c) ? c | 32 : 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (r->last_letter == (uint8_t)pairs[i][0] && low == (uint8_t)pairs[i][1])
            return rewrite_refuse(r, "a ligature where case counts for nothing");
    r->last_letter = low;
    return true;
}

static bool rewrite_literal(struct rewrite *r)
{
    uint32_t c;
    size_t before = r->out->size;
    if (*r->p == '\\') {
        r->p++;
        if (!rewrite_escape(r, false, &c)) return false;
    } else {
        size_t size = utf8_lead_size(*r->p);
        c = utf8_char(r->p, size);
        r->p += size;
    }
    r->item = before;
    r->item_is_group = false;
    if (c == CHAR_NONE) return true;
    rewrite_put_char(r->out, c);
    return check_fold(r, c);
}

static bool rewrite_next(struct rewrite *r)
{
    uint8_t c = *r->p;
    if (c == '*' || c == '+' || c == '?' || c == '{') return rewrite_quantifier(r);
    if (c != '(' && c != '[' && c != ')' && c != '|' && c != '.' && c != '^' && c != '$') return rewrite_literal(r);
    r->last_letter = 0;
    if (c == '(') return open_group(r);
    if (c == ')') return close_group(r);
    r->item = c == '[' || c == '.' ? r->out->size : SIZE_MAX;
    r->item_is_group = false;
    if (c == '[') return rewrite_class(r);
    r->p++;
    const char *of_text = r->dialect == PATTERN_RUST && c == '^'   ? "\\A"
                          : r->dialect == PATTERN_RUST && c == '$' ? "\\z"
                                                                   : NULL;
    text_put(r->out, of_text ? of_text : (const char *)r->p - 1, of_text ? 2 : 1);
    return true;
}

bool pattern_rewrite(const char *pattern, enum pattern_dialect dialect, bool counted, struct text *out,
                     struct error *err)
{
    size_t n = strlen(pattern);
    const uint8_t *p = (const uint8_t *)pattern;
    struct rewrite r = {.start = p,
                        .p = p,
                        .end = p + n,
                        .out = out,
                        .err = err,
                        .item = SIZE_MAX,
                        .counted = counted,
                        .dialect = dialect};
    if (n > PATTERN_BYTES_MAX)
        return error_set(err, ERR_UNSUPPORTED, "a pattern of %zu bytes is not supported, at most %u", n,
                         PATTERN_BYTES_MAX);
    while (r.p < r.end)
        if (!rewrite_next(&r)) return false;
    if (r.depth) return rewrite_refuse(&r, "a '(' without ')'");
    return out->failed ? error_memory(err, out->size) : true;
}
