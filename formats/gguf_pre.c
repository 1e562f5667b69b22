#include "formats/gguf_pre.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+"
#define WORDS_2 "[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"

static const struct gguf_pre pres[] = {
    {.names = {"llama-bpe", "llama3", "llama-v3", "pixtral"},
     .patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES},
     .ignore_merges = true,
     .add_bos = true},
    {.names = {"qwen2", "deepseek-r1-qwen"},
     .patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES},
     .nfc = true},
    {.names = {"tekken"},
     .patterns = {WORDS "|" WORDS_2 "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES},
     .ignore_merges = true,
     .add_bos = true},
    {.names = {"gpt-4o", "llama4"},
     .patterns = {WORDS CONTRACTIONS "?|" WORDS_2 CONTRACTIONS
                                     "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES}},
    {.names = {"deepseek-v3"},
     .patterns = {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
                  "?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES}},
    {.names = {"gpt-2"}},
};

const struct gguf_pre *gguf_pre_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        for (const char *const *k = pres[i].names; *k; k++)
            if (strlen(*k) == n && memcmp(*k, name, n) == 0) return &pres[i];
    return NULL;
}

static const char *word(const json_t *obj, const char *key)
{
    const char *v = json_string_value(json_object_get(obj, key));
    return v ? v : "";
}

/* Patterns differ in needless escapes between publishers ('\"' and '"'): those are looked through. */
static bool same_pattern(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if (a[0] == '\\' && a[1] == '"') a++;
        if (b[0] == '\\' && b[1] == '"') b++;
        if (*a != *b) return false;
    }
    return *a == *b;
}

static bool is_split(const json_t *step, const char *pattern)
{
    return strcmp(word(step, "type"), "Split") == 0 && strcmp(word(step, "behavior"), "Isolated") == 0 &&
           !json_is_true(json_object_get(step, "invert")) &&
           same_pattern(word(json_object_get(step, "pattern"), "Regex"), pattern);
}

static bool is_byte_level(const json_t *step, bool own_pattern)
{
    const json_t *regex = json_object_get(step, "use_regex");
    return strcmp(word(step, "type"), "ByteLevel") == 0 && !json_is_true(json_object_get(step, "add_prefix_space")) &&
           own_pattern == (!regex || json_is_true(regex));
}

static bool fits(const struct gguf_pre *p, const json_t *pre)
{
    const json_t *steps = json_object_get(pre, "pretokenizers");
    size_t n = 0;
    while (n < 3 && p->patterns[n]) n++;
    if (n == 0) return is_byte_level(pre, true);
    if (strcmp(word(pre, "type"), "Sequence") != 0 || json_array_size(steps) != n + 1) return false;
    for (size_t i = 0; i < n; i++)
        if (!is_split(json_array_get(steps, i), p->patterns[i])) return false;
    return is_byte_level(json_array_get(steps, n), false);
}

const struct gguf_pre *gguf_pre_of(const json_t *pre_tokenizer)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (fits(&pres[i], pre_tokenizer)) return &pres[i];
    return NULL;
}

json_t *gguf_pre_json(const struct gguf_pre *p)
{
    json_t *level = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0,
                              "use_regex", p->patterns[0] == NULL);
    if (!p->patterns[0] || !level) return level;
    json_t *steps = json_array();
    bool ok = steps != NULL;
    for (size_t i = 0; ok && i < 3 && p->patterns[i]; i++)
        ok = json_array_append_new(steps, json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                                                    p->patterns[i], "behavior", "Isolated", "invert", 0)) == 0;
    ok = ok && json_array_append(steps, level) == 0;
    json_decref(level);
    json_t *out = ok ? json_pack("{s:s,s:O}", "type", "Sequence", "pretokenizers", steps) : NULL;
    json_decref(steps);
    return out;
}
