#include "formats/gguf_arch.h"

#include <ctype.h>
#include <stdio.h>

extern const struct gguf_arch gguf_llama, gguf_qwen3, gguf_qwen3moe, gguf_nemotron, gguf_nemotron_h,
    gguf_nemotron_h_moe, gguf_gemma3, gguf_gpt_oss, gguf_mistral3, gguf_deci, gguf_qwen3next, gguf_deepseek2;

/* Of two rows for one config.json the first whose `write` takes it writes it: gguf_arch_for. */
const struct gguf_arch *const gguf_archs[] = {
    &gguf_llama,          &gguf_qwen3,     &gguf_qwen3moe, &gguf_nemotron, &gguf_nemotron_h,
    &gguf_nemotron_h_moe, &gguf_gemma3,    &gguf_gpt_oss,  &gguf_mistral3, &gguf_deci,
    &gguf_qwen3next,      &gguf_deepseek2, NULL,
};

bool gguf_arch_find(const struct gguf_arch **out, const char *name, struct error *err)
{
    for (const struct gguf_arch *const *a = gguf_archs; *a; a++) {
        if (strcmp((*a)->name, name) != 0) continue;
        *out = *a;
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED, "the GGUF architecture '%.64s' is not one this program knows", name);
}

/* Nemotron-H with experts has an architecture of its own. */
static bool has_experts(const json_t *config)
{
    return json_has(config, "num_experts_per_tok");
}

static bool either(const char *word, const char *a, const char *b)
{
    return word && (strcmp(word, a) == 0 || (b && strcmp(word, b) == 0));
}

bool gguf_arch_for(const struct gguf_arch **out, const json_t *config, struct error *err)
{
    const char *type = json_string_value(json_object_get(config, "model_type")),
               *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    for (const struct gguf_arch *const *a = gguf_archs; *a; a++) {
        if (name ? !either(name, (*a)->hf_name, (*a)->also_hf) : !either(type, (*a)->model_type, (*a)->also_type))
            continue;
        *out = strcmp((*a)->name, "nemotron_h") == 0 && has_experts(config) ? &gguf_nemotron_h_moe : *a;
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED, "architecture '%.256s' is not one that is written as GGUF here",
                     name   ? name
                     : type ? type
                            : "(none)");
}

/* A decimal number without sign or needless zeros. */
static bool take_number(const char **p, uint32_t *out)
{
    uint32_t n = 0;
    const char *s = *p;
    if (!isdigit((unsigned char)*s) || (*s == '0' && isdigit((unsigned char)s[1]))) return false;
    for (; isdigit((unsigned char)*s); s++) {
        if (n > (UINT32_MAX - 9) / 10) return false;
        n = 10 * n + (uint32_t)(*s - '0');
    }
    *p = s;
    *out = n;
    return true;
}

static bool match(const char *pattern, const char *name, uint32_t *block, uint32_t *expert)
{
    *block = *expert = NAME_NONE;
    for (; *pattern; pattern++) {
        if (strncmp(pattern, "{B}", 3) == 0 || strncmp(pattern, "{E}", 3) == 0) {
            if (!take_number(&name, pattern[1] == 'B' ? block : expert)) return false;
            pattern += 2;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

const struct gguf_name *gguf_name_match(const struct gguf_arch *a, const char *gguf, uint64_t n_layers, uint32_t *block)
{
    uint32_t expert;
    for (uint32_t i = 0; i < a->n_names; i++) {
        const struct gguf_name *n = &a->names[i];
        if (!match(n->gguf, gguf, block, &expert)) continue;
        if (*block == NAME_NONE || (n->mtp ? *block >= n_layers : *block < n_layers)) return n;
    }
    return NULL;
}

const struct gguf_name *gguf_name_match_hf(const struct gguf_arch *a, const char *hf, uint32_t *block, uint32_t *expert)
{
    for (uint32_t i = 0; i < a->n_names; i++)
        if (a->names[i].hf && match(a->names[i].hf, hf, block, expert)) return &a->names[i];
    return NULL;
}

char *gguf_name_fill(struct arena *arena, const char *pattern, uint32_t block, uint32_t expert)
{
    char out[2 * GGUF_NAME_MAX];
    size_t at = 0;
    for (; *pattern && at < GGUF_NAME_MAX; pattern++) {
        if (strncmp(pattern, "{B}", 3) == 0 || strncmp(pattern, "{E}", 3) == 0) {
            at += (size_t)snprintf(out + at, sizeof out - at, "%u", pattern[1] == 'B' ? block : expert);
            pattern += 2;
        } else {
            out[at++] = *pattern;
        }
    }
    return arena_copy(arena, out, at);
}

bool gguf_layers(const struct gguf *g, uint64_t *trunk, uint64_t *mtp, struct error *err)
{
    bool has;
    uint64_t n = 0;
    *mtp = 0;
    if (!gguf_opt_u64(g, "%s.block_count", GGUF_LAYERS_MAX, &n, &has, err)) return false;
    if (!has || n == 0) return error_set(err, ERR_FORMAT, "key 'block_count' is missing or 0");
    if (!gguf_opt_u64(g, "%s.nextn_predict_layers", n, mtp, &has, err)) return false;
    if (*mtp >= n)
        return error_set(err, ERR_FORMAT, "key 'nextn_predict_layers' is %llu of %llu blocks", (unsigned long long)*mtp,
                         (unsigned long long)n);
    *trunk = n - *mtp;
    return true;
}

bool gguf_takes_scale(const struct gguf_arch *a, const struct gguf_name *row, const char *name)
{
    char word[GGUF_NAME_MAX + 2];
    const char *part = strchr(name, '.'), *end = strrchr(name, '.');
    part = part ? strchr(part + 1, '.') : NULL;
    if (!a->scaled || !part || part >= end || (row && row->change == GGUF_LINEAR)) return false;
    snprintf(word, sizeof word, " %.*s ", (int)(end - part - 1), part + 1);
    return strstr(a->scaled, word) != NULL;
}
