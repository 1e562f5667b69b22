/* A strict JSON tokenizer over borrowed bytes: no allocation, no recursion, linear time.
 *
 * It is the gate before every JSON document that a stranger wrote: well-formed UTF-8, no lone surrogate, no raw control
 * byte, numbers as RFC 8259 spells them, at most JSON_DEPTH_MAX levels, nothing after the value. (Duplicate keys are
 * found by who builds the object: jansson in core/json.c, the safetensors reader by its sorted names.)
 * It reads large headers in constant memory, finds where the members of an object stand in the text, and knows the one
 * dialect we must accept: Python's bare Infinity, -Infinity and NaN in Hugging Face configuration files. */
#ifndef CORE_JSON_SCAN_H
#define CORE_JSON_SCAN_H

#include "core/bytes.h"

#define JSON_DEPTH_MAX 100u

enum json_token {
    JSON_TOKEN_OBJECT,
    JSON_TOKEN_OBJECT_END,
    JSON_TOKEN_ARRAY,
    JSON_TOKEN_ARRAY_END,
    JSON_TOKEN_KEY,
    JSON_TOKEN_STRING, /* `token` is the raw text between the quotes */
    JSON_TOKEN_NUMBER,
    JSON_TOKEN_TRUE,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_NULL,
    JSON_TOKEN_NONFINITE, /* bare Infinity, -Infinity, NaN; only with allow_nonfinite */
    JSON_TOKEN_END,       /* one whole value has been read and nothing follows */
    JSON_TOKEN_ERROR      /* `problem` says what, `at` where; stays so */
};

struct json_scan {
    struct bytes text;
    size_t at;           /* offset of the next unread byte; after an error, of the offending one */
    size_t start;        /* offset where the current token begins (its quote for strings) */
    struct bytes token;  /* raw bytes of the current token */
    const char *problem; /* static text, or NULL */
    bool allow_nonfinite;
    uint32_t depth; /* levels open after the current token */
    uint8_t expect; /* private */
    uint8_t in_object[JSON_DEPTH_MAX];
};

void json_scan_begin(struct json_scan *s, struct bytes text, bool allow_nonfinite);
enum json_token json_scan_next(struct json_scan *s);
/* Skips the value that begins with the next token, whatever it is. False on error. */
bool json_scan_skip(struct json_scan *s);

/* Decodes the raw text of a string token into dst (capacity at least raw.size + 1); returns the decoded size.
 * The result may hold NUL bytes when the text says \u0000. */
size_t json_unescape(struct bytes raw, char *dst);
/* A non-negative integer without sign, fraction or exponent that fits in 64 bits. */
bool json_token_u64(struct bytes raw, uint64_t *out);
/* True when the raw string text decodes to `name`. */
bool json_token_is(struct bytes raw, const char *name);

#endif
