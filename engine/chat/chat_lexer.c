#include "engine/chat/chat_lexer.h"

#include "engine/chat/chat_literal.h"
#include "engine/chat/chat_text.h"
#include "engine/unicode.h"

#define BRACKETS_MAX 256u

struct lexer {
    const char *text, *what;
    size_t size, at;
    uint32_t line;
    bool at_line_start; /* the last token ended with a line break */
    struct arena *arena;
    struct chat_token *tokens;
    size_t n, capacity;
    char brackets[BRACKETS_MAX]; /* the closing ones that are awaited */
    uint32_t n_brackets;
    struct error *err;
};

static bool fail(struct lexer *l, const char *why)
{
    return error_set(l->err, ERR_FORMAT, "%s: line %u: %s", l->what, l->line, why);
}

static bool add(struct lexer *l, enum chat_token_kind kind, unsigned op, struct chat_value value)
{
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 256;
        struct chat_token *grown = arena_alloc(l->arena, capacity, sizeof *grown);
        if (!grown) return error_memory(l->err, capacity * sizeof *grown);
        if (l->n) memcpy(grown, l->tokens, l->n * sizeof *grown);
        l->tokens = grown;
        l->capacity = capacity;
    }
    l->tokens[l->n++] = (struct chat_token){.kind = kind, .op = op, .line = l->line, .value = value};
    return true;
}

/* Moves on, counting lines. */
static void advance(struct lexer *l, size_t to)
{
    for (; l->at < to; l->at++) l->line += l->text[l->at] == '\n';
    l->at_line_start = to > 0 && l->text[to - 1] == '\n';
}

static bool looking_at(const struct lexer *l, size_t at, const char *what)
{
    size_t n = strlen(what);
    return l->size - at >= n && memcmp(l->text + at, what, n) == 0;
}

static size_t skip_space(const struct lexer *l, size_t at)
{
    while (at < l->size) {
        size_t n = utf8_lead_size((uint8_t)l->text[at]);
        if (!chat_is_space(utf8_char((const uint8_t *)l->text + at, n))) break;
        at += n;
    }
    return at;
}

/* Where the end tag at `at` ends, what it swallows included; 0 when none is there. `trims`: of a block or comment,
 * whose line break goes with it. */
static size_t end_tag(const struct lexer *l, size_t at, const char *tag, bool trims)
{
    if (trims && l->text[at] == '+' && looking_at(l, at + 1, tag)) return at + 3;
    if (l->text[at] == '-' && looking_at(l, at + 1, tag)) return skip_space(l, at + 3);
    if (!looking_at(l, at, tag)) return 0;
    return at + 2 + (trims && at + 2 < l->size && l->text[at + 2] == '\n');
}

/* The text before a tag: stripped by a "-", or of the blanks between the line's begin and a block. */
static bool add_data(struct lexer *l, size_t to, char sign, bool block)
{
    struct bytes data = bytes_of(l->text + l->at, to - l->at);
    if (sign == '-') data = chat_strip(data, NULL, false, true);
    else if (sign != '+' && block) {
        const uint8_t *line = data.size ? memrchr(data.data, '\n', data.size) : NULL;
        size_t from = line ? (size_t)(line - data.data) + 1 : 0;
        if ((from > 0 || l->at_line_start) && skip_space(l, l->at + from) >= to) data.size = from;
    }
    if (data.size && !add(l, TOKEN_DATA, 0, chat_string((const char *)data.data, data.size))) return false;
    advance(l, to);
    return true;
}

static bool lex_comment(struct lexer *l)
{
    for (size_t at = l->at; at < l->size; at++) {
        size_t end = end_tag(l, at, "#}", true);
        if (end == 0) continue;
        advance(l, end);
        return true;
    }
    return fail(l, "a comment does not end");
}

/* "{% raw %}" at l->at: *end is where its text begins, or 0. */
static size_t raw_begin(const struct lexer *l, size_t at)
{
    at += 2;
    if (at < l->size && (l->text[at] == '-' || l->text[at] == '+')) at++;
    at = skip_space(l, at);
    if (!looking_at(l, at, "raw")) return 0;
    at = skip_space(l, at + 3);
    if (looking_at(l, at, "-%}")) return skip_space(l, at + 3);
    return looking_at(l, at, "%}") ? at + 2 : 0;
}

static bool lex_raw(struct lexer *l)
{
    for (size_t tag = l->at; tag + 1 < l->size; tag++) {
        if (!looking_at(l, tag, "{%")) continue;
        size_t at = tag + 2;
        char sign = at < l->size && (l->text[at] == '-' || l->text[at] == '+') ? l->text[at++] : 0;
        at = skip_space(l, at);
        if (!looking_at(l, at, "endraw")) continue;
        at = skip_space(l, at + 6);
        size_t end = at < l->size ? end_tag(l, at, "%}", true) : 0;
        if (end == 0) continue;
        if (!add_data(l, tag, sign, true)) return false;
        advance(l, end);
        return true;
    }
    return fail(l, "a raw block does not end");
}

static bool bracket(struct lexer *l, char c)
{
    char close = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (close) {
        if (l->n_brackets == BRACKETS_MAX) return fail(l, "brackets within more than 256 others");
        l->brackets[l->n_brackets++] = close;
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_brackets == 0 || l->brackets[--l->n_brackets] != c)
            return fail(l, "a closing bracket without its opening one");
    }
    return true;
}

static bool lex_operator(struct lexer *l)
{
    static const char *const twos[] = {"**", "//", "==", "!=", ">=", "<="};
    char c = l->text[l->at];
    for (size_t i = 0; i < sizeof twos / sizeof *twos; i++)
        if (looking_at(l, l->at, twos[i])) {
            bool ok = add(l, TOKEN_OPERATOR, CHAT_OP2(twos[i][0], twos[i][1]), chat_of(CHAT_ABSENT));
            advance(l, l->at + 2);
            return ok;
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
        char shown[8];
        error_printable(shown, sizeof shown, l->text + l->at, utf8_lead_size((uint8_t)c));
        return error_set(l->err, ERR_FORMAT, "%s: line %u: unexpected '%s'", l->what, l->line, shown);
    }
    if (!bracket(l, c) || !add(l, TOKEN_OPERATOR, (unsigned char)c, chat_of(CHAT_ABSENT))) return false;
    advance(l, l->at + 1);
    return true;
}

static bool word_at(const struct lexer *l, size_t at, size_t *n)
{
    *n = utf8_lead_size((uint8_t)l->text[at]);
    uint32_t c = utf8_char((const uint8_t *)l->text + at, *n);
    return c == '_' || unicode_is_word(c);
}

static bool lex_word(struct lexer *l)
{
    struct chat_value v;
    size_t end = l->at, n;
    const char *why = NULL;
    char c = l->text[l->at];
    bool behind_dot = l->at > 0 && l->text[l->at - 1] == '.';
    if (c >= '0' && c <= '9') {
        end = chat_number_literal(l->text, l->size, l->at, behind_dot, &v, &why);
        if (why) return fail(l, why);
        if (!add(l, TOKEN_CONSTANT, 0, v)) return false;
    } else if (c == '"' || c == '\'') {
        end = chat_string_literal(l->text, l->size, l->at, l->arena, &v, &why);
        if (why) return fail(l, why);
        if (!add(l, TOKEN_CONSTANT, 0, v)) return false;
    } else if (word_at(l, l->at, &n)) {
        while (end < l->size && word_at(l, end, &n)) end += n;
        if (!add(l, TOKEN_NAME, 0, chat_string(l->text + l->at, end - l->at))) return false;
    } else return lex_operator(l);
    advance(l, end);
    return true;
}

/* Between "{{" or "{%" and its end. */
static bool lex_tag(struct lexer *l, bool block)
{
    uint32_t outer = l->n_brackets;
    for (;;) {
        if (l->at >= l->size) return fail(l, block ? "a block does not end" : "a print statement does not end");
        size_t end = l->n_brackets == outer ? end_tag(l, l->at, block ? "%}" : "}}", block) : 0;
        if (end) {
            if (!add(l, block ? TOKEN_BLOCK_END : TOKEN_PRINT_END, 0, chat_of(CHAT_ABSENT))) return false;
            advance(l, end);
            return true;
        }
        size_t next = skip_space(l, l->at);
        if (next > l->at) advance(l, next);
        else if (!lex_word(l)) return false;
    }
}

/* The text up to the next tag, and the tag. */
static bool lex_part(struct lexer *l)
{
    size_t tag = l->at;
    while (tag + 1 < l->size && !(l->text[tag] == '{' && strchr("{%#", l->text[tag + 1]) && l->text[tag + 1])) tag++;
    if (tag + 1 >= l->size) return add_data(l, l->size, '+', false);
    char kind = l->text[tag + 1], sign = tag + 2 < l->size ? l->text[tag + 2] : 0;
    size_t raw = kind == '%' ? raw_begin(l, tag) : 0;
    if (sign != '-' && sign != '+') sign = 0;
    if (!add_data(l, tag, sign, kind != '{')) return false;
    advance(l, raw ? raw : tag + 2 + (sign != 0));
    if (raw) return lex_raw(l);
    if (kind == '#') return lex_comment(l);
    return add(l, kind == '{' ? TOKEN_PRINT : TOKEN_BLOCK, 0, chat_of(CHAT_ABSENT)) && lex_tag(l, kind == '%');
}

/* \r\n and \r become \n; one at the end goes. */
static size_t plain_lines(char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n') continue;
        text[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    return n > 0 && text[n - 1] == '\n' ? n - 1 : n;
}

bool chat_lex(char *text, size_t size, const char *what, struct arena *arena, struct chat_token **tokens,
              struct error *err)
{
    struct lexer l = {.text = text, .what = what, .line = 1, .at_line_start = true, .arena = arena, .err = err};
    l.size = plain_lines(text, size);
    while (l.at < l.size)
        if (!lex_part(&l)) return false;
    if (!add(&l, TOKEN_END, 0, chat_of(CHAT_ABSENT))) return false;
    *tokens = l.tokens;
    return true;
}
