#include "core/crypto.h"
#include "engine/tokenizer_normalize.h"

static const char *const type_only[] = {"type", NULL};

static bool read_form(const json_t *step, struct normalize_step *out, struct error *err)
{
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const char *type = json_string_value(json_object_get(step, "type"));
    for (uint32_t i = 0; i < 4; i++)
        if (strcmp(type, names[i]) == 0) out->form = (enum unicode_form)i;
    return json_known_keys(step, type, type_only, err);
}

static bool read_plain(const json_t *step, struct normalize_step *out, struct error *err)
{
    (void)out;
    return json_known_keys(step, "step", type_only, err);
}

static bool read_prepend(const json_t *step, struct normalize_step *out, struct error *err)
{
    static const char *const keys[] = {"type", "prepend", NULL};
    const char *text;
    if (!json_known_keys(step, "Prepend", keys, err) || !json_get_string(step, "prepend", "step", &text, err))
        return false;
    out->content = bytes_text(text);
    return true;
}

static bool read_replace(const json_t *step, struct normalize_step *out, struct error *err)
{
    bool is_regex;
    const char *pattern;
    if (!steps_replacement(step, &pattern, &is_regex, &out->content, err)) return false;
    out->pattern = bytes_text(pattern);
    return is_regex ? matcher_open(&out->matcher, pattern, true, err) : true;
}

static bool read_strip(const json_t *step, struct normalize_step *out, struct error *err)
{
    static const char *const keys[] = {"type", "strip_left", "strip_right", NULL};
    return json_known_keys(step, "Strip", keys, err) && json_get_bool(step, "strip_left", "Strip", &out->left, err) &&
           json_get_bool(step, "strip_right", "Strip", &out->right, err);
}

static bool read_precompiled(const json_t *step, struct normalize_step *out, struct error *err)
{
    static const char *const keys[] = {"type", "precompiled_charsmap", NULL};
    const char *text;
    if (!json_known_keys(step, "Precompiled", keys, err) ||
        !json_get_string(step, "precompiled_charsmap", "Precompiled", &text, err))
        return false;
    return (!*text || base64_decode(text, CHARSMAP_BYTES_MAX, &out->blob.data, &out->blob.size, err)) &&
           charsmap_open(&out->map, buffer_view(&out->blob), err);
}

static const struct {
    const char *type;
    enum normalize_kind kind;
    bool (*read)(const json_t *step, struct normalize_step *out, struct error *err);
} kinds[] = {
    {"NFC", NORMALIZE_FORM, read_form},
    {"NFD", NORMALIZE_FORM, read_form},
    {"NFKC", NORMALIZE_FORM, read_form},
    {"NFKD", NORMALIZE_FORM, read_form},
    {"Prepend", NORMALIZE_PREPEND, read_prepend},
    {"Replace", NORMALIZE_REPLACE, read_replace},
    {"Strip", NORMALIZE_STRIP, read_strip},
    {"Lowercase", NORMALIZE_LOWERCASE, read_plain},
    {"StripAccents", NORMALIZE_STRIP_ACCENTS, read_plain},
    {"Nmt", NORMALIZE_NMT, read_plain},
    {"Precompiled", NORMALIZE_PRECOMPILED, read_precompiled},
};

static bool read_step(void *ctx, const json_t *step, const char *type, struct error *err)
{
    struct normalizer *n = ctx;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(type, kinds[i].type) != 0) continue;
        struct normalize_step *out = &n->steps[n->n_steps++];
        out->kind = kinds[i].kind;
        return kinds[i].read(step, out, err);
    }
    return steps_refuse(type, err);
}

bool normalizer_open(struct normalizer *n, json_t *spec, struct error *err)
{
    *n = (struct normalizer){.spec = json_incref(spec)};
    return steps_read(spec, "normalizer", "normalizers", read_step, n, err);
}

void normalizer_close(struct normalizer *n)
{
    for (uint32_t i = 0; i < n->n_steps; i++) {
        matcher_close(n->steps[i].matcher);
        buffer_free(&n->steps[i].blob);
    }
    json_decref(n->spec);
    *n = (struct normalizer){0};
}
