#include "core/json_scan.h"

enum { EXPECT_VALUE, EXPECT_VALUE_OR_END, EXPECT_KEY, EXPECT_KEY_OR_END, EXPECT_NEXT, EXPECT_NOTHING };

void json_scan_begin(struct json_scan *s, struct bytes text, bool allow_nonfinite)
{
    *s = (struct json_scan){.text = text, .allow_nonfinite = allow_nonfinite, .expect = EXPECT_VALUE};
}

static enum json_token fail(struct json_scan *s, const char *problem)
{
    if (!s->problem) s->problem = problem;
    return JSON_TOKEN_ERROR;
}

static void skip_space(struct json_scan *s)
{
    while (s->at < s->text.size) {
        uint8_t c = s->text.data[s->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
        s->at++;
    }
}

static int peek(const struct json_scan *s)
{
    return s->at < s->text.size ? s->text.data[s->at] : -1;
}

static int hex4(const uint8_t *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], d = c >= '0' && c <= '9'                 ? c - '0'
                          : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                               : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Bytes of the escape sequence at p (which begins with a backslash), or 0 when it is not one. */
static size_t escape_size(const uint8_t *p, size_t n)
{
    if (n < 2) return 0;
    if (p[1] != 'u') return memchr("\"\\/bfnrt", p[1], 8) ? 2 : 0;
    int hi = n >= 6 ? hex4(p + 2) : -1;
    if (hi < 0 || (hi >= 0xdc00 && hi <= 0xdfff)) return 0;
    if (hi < 0xd800 || hi > 0xdbff) return 6;
    int lo = n >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8) : -1;
    return lo >= 0xdc00 && lo <= 0xdfff ? 12 : 0;
}

/* Bytes of the UTF-8 sequence at p, or 0 when it is broken (overlong and surrogates included). */
static size_t utf8_size(const uint8_t *p, size_t n)
{
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xe0) == 0xc0 ? 2
                 : (p[0] & 0xf0) == 0xe0 ? 3
                 : (p[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (len == 0 || len > n) return 0;
    static const uint8_t lead_mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = p[0] & lead_mask[len];
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : len;
}

static bool scan_string(struct json_scan *s)
{
    const uint8_t *d = s->text.data;
    size_t first = ++s->at;
    while (s->at < s->text.size && d[s->at] != '"') {
        size_t left = s->text.size - s->at, step;
        if (d[s->at] < 0x20) {
            fail(s, "control byte inside a string");
            return false;
        }
        if (d[s->at] == '\\') step = escape_size(d + s->at, left);
        else step = utf8_size(d + s->at, left);
        if (step == 0) {
            fail(s, d[s->at] == '\\' ? "bad escape sequence" : "invalid UTF-8");
            return false;
        }
        s->at += step;
    }
    if (s->at >= s->text.size) {
        fail(s, "string without end");
        return false;
    }
    s->token = bytes_of(d + first, s->at - first);
    s->at++;
    return true;
}

static bool digits(struct json_scan *s)
{
    size_t first = s->at;
    while (peek(s) >= '0' && peek(s) <= '9') s->at++;
    return s->at > first;
}

static bool scan_number(struct json_scan *s)
{
    if (peek(s) == '-') s->at++;
    if (peek(s) == '0') s->at++;
    else if (!digits(s)) return false;
    if (peek(s) == '.') {
        s->at++;
        if (!digits(s)) return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        if (!digits(s)) return false;
    }
    return true;
}

static bool take_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);
    if (s->text.size - s->at < n || memcmp(s->text.data + s->at, word, n) != 0) return false;
    s->at += n;
    return true;
}

static enum json_token scan_scalar(struct json_scan *s)
{
    static const struct {
        const char *word;
        enum json_token token;
    } words[] = {
        {"true", JSON_TOKEN_TRUE},          {"false", JSON_TOKEN_FALSE},         {"null", JSON_TOKEN_NULL},
        {"Infinity", JSON_TOKEN_NONFINITE}, {"-Infinity", JSON_TOKEN_NONFINITE}, {"NaN", JSON_TOKEN_NONFINITE},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (words[i].token == JSON_TOKEN_NONFINITE && !s->allow_nonfinite) break;
        if (!take_word(s, words[i].word)) continue;
        s->token = bytes_of(s->text.data + s->start, s->at - s->start);
        return words[i].token;
    }
    if (!scan_number(s)) return fail(s, "not a JSON value");
    s->token = bytes_of(s->text.data + s->start, s->at - s->start);
    return JSON_TOKEN_NUMBER;
}

static void value_done(struct json_scan *s)
{
    s->expect = s->depth ? EXPECT_NEXT : EXPECT_NOTHING;
}

static enum json_token open_level(struct json_scan *s, bool object)
{
    if (s->depth == JSON_DEPTH_MAX) return fail(s, "nested too deeply");
    s->at++;
    s->in_object[s->depth++] = object;
    s->expect = object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
    return object ? JSON_TOKEN_OBJECT : JSON_TOKEN_ARRAY;
}

static enum json_token close_level(struct json_scan *s)
{
    s->at++;
    bool object = s->in_object[--s->depth];
    value_done(s);
    return object ? JSON_TOKEN_OBJECT_END : JSON_TOKEN_ARRAY_END;
}

static enum json_token scan_value(struct json_scan *s)
{
    int c = peek(s);
    if (c == '{' || c == '[') return open_level(s, c == '{');
    enum json_token t = JSON_TOKEN_STRING;
    if (c == '"') {
        if (!scan_string(s)) return JSON_TOKEN_ERROR;
    } else {
        t = scan_scalar(s);
    }
    if (t != JSON_TOKEN_ERROR) value_done(s);
    return t;
}

static enum json_token scan_key(struct json_scan *s)
{
    if (peek(s) != '"') return fail(s, "expected a key in quotes");
    if (!scan_string(s)) return JSON_TOKEN_ERROR;
    skip_space(s);
    if (peek(s) != ':') return fail(s, "expected ':' after a key");
    s->at++;
    s->expect = EXPECT_VALUE;
    return JSON_TOKEN_KEY;
}

enum json_token json_scan_next(struct json_scan *s)
{
    if (s->problem) return JSON_TOKEN_ERROR;
    skip_space(s);
    if (s->expect == EXPECT_NOTHING) return s->at == s->text.size ? JSON_TOKEN_END : fail(s, "text after the value");
    if (s->at == s->text.size) return fail(s, "ends too early");
    int c = peek(s);
    if (s->expect == EXPECT_NEXT) {
        bool object = s->in_object[s->depth - 1];
        if (c != ',') {
            s->start = s->at;
            if (c != (object ? '}' : ']')) return fail(s, object ? "expected ',' or '}'" : "expected ',' or ']'");
            return close_level(s);
        }
        s->at++;
        skip_space(s);
        s->expect = object ? EXPECT_KEY : EXPECT_VALUE;
        c = peek(s);
    }
    s->start = s->at;
    if (c < 0) return fail(s, "ends too early");
    if ((s->expect == EXPECT_KEY_OR_END && c == '}') || (s->expect == EXPECT_VALUE_OR_END && c == ']'))
        return close_level(s);
    if (s->expect == EXPECT_KEY || s->expect == EXPECT_KEY_OR_END) return scan_key(s);
    return scan_value(s);
}

bool json_scan_skip(struct json_scan *s)
{
    uint32_t base = s->depth;
    do {
        enum json_token t = json_scan_next(s);
        if (t == JSON_TOKEN_ERROR || t == JSON_TOKEN_END) return false;
    } while (s->depth > base);
    return true;
}

static size_t put_utf8(char *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; c >>= 6) dst[i] = (char)(0x80 | (c & 0x3f));
    dst[0] = (char)(lead[len] | c);
    return len;
}

size_t json_unescape(struct bytes raw, char *dst)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t out = 0;
    for (size_t i = 0; i < raw.size;) {
        if (raw.data[i] != '\\') {
            dst[out++] = (char)raw.data[i++];
            continue;
        }
        const char *simple = memchr(from, raw.data[i + 1], sizeof from - 1);
        if (simple) {
            dst[out++] = to[simple - from];
            i += 2;
            continue;
        }
        uint32_t c = (uint32_t)hex4(raw.data + i + 2);
        i += 6;
        if (c >= 0xd800 && c <= 0xdbff) {
            c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)hex4(raw.data + i + 2) - 0xdc00);
            i += 6;
        }
        out += put_utf8(dst + out, c);
    }
    dst[out] = '\0';
    return out;
}

bool json_token_u64(struct bytes raw, uint64_t *out)
{
    uint64_t v = 0;
    if (raw.size == 0 || raw.size > 20) return false;
    for (size_t i = 0; i < raw.size; i++) {
        if (raw.data[i] < '0' || raw.data[i] > '9') return false;
        if (!u64_mul(v, 10, &v) || !u64_add(v, (uint64_t)(raw.data[i] - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool json_token_is(struct bytes raw, const char *name)
{
    size_t n = strlen(name), at = 0;
    if (raw.size < n) return false; /* an escape is longer than what it stands for */
    if (!memchr(raw.data, '\\', raw.size)) return raw.size == n && memcmp(raw.data, name, n) == 0;
    for (size_t i = 0; i < raw.size;) {
        size_t step = raw.data[i] == '\\' ? escape_size(raw.data + i, raw.size - i) : 1;
        char piece[5];
        size_t k = json_unescape(bytes_of(raw.data + i, step), piece);
        if (k > n - at || memcmp(name + at, piece, k) != 0) return false;
        at += k;
        i += step;
    }
    return at == n;
}
