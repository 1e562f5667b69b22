#include "engine/tokenizer_normalize.h"

#include "engine/unicode.h"

static bool get_text(const json_t *step, const char *key, struct bytes *out, struct error *err)
{
    const char *text;
    if (!json_get_string(step, key, "step", &text, err)) return false;
    *out = bytes_text(text);
    return true;
}

static bool read_step(void *ctx, const json_t *step, const char *type, struct error *err)
{
    static const char *const nfc_keys[] = {"type", NULL}, *const prepend_keys[] = {"type", "prepend", NULL};
    struct normalizer *n = ctx;
    struct normalize_step *out = &n->steps[n->n_steps++];
    if (strcmp(type, "NFC") == 0) {
        out->kind = NORMALIZE_NFC;
        return json_known_keys(step, "NFC", nfc_keys, err);
    }
    if (strcmp(type, "Prepend") == 0) {
        out->kind = NORMALIZE_PREPEND;
        return json_known_keys(step, "Prepend", prepend_keys, err) && get_text(step, "prepend", &out->content, err);
    }
    if (strcmp(type, "Replace") == 0) {
        out->kind = NORMALIZE_REPLACE;
        return steps_replacement(step, &out->pattern, &out->content, err);
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
    json_decref(n->spec);
    *n = (struct normalizer){0};
}

bool normalizer_apply(const struct normalizer *n, struct normalize_run *r, struct bytes in, struct bytes *out,
                      struct error *err)
{
    *out = in;
    for (uint32_t i = 0; i < n->n_steps && out->size; i++) {
        const struct normalize_step *s = &n->steps[i];
        struct text *t = &r->buffers[i % 2];
        t->size = 0;
        if (s->kind == NORMALIZE_PREPEND) {
            text_put(t, s->content.data, s->content.size);
            text_put(t, out->data, out->size);
        } else if (s->kind == NORMALIZE_REPLACE) {
            steps_replace(t, *out, s->pattern, s->content);
        } else if (!unicode_nfc(*out, t, err)) {
            return false;
        }
        if (t->failed) return error_memory(err, out->size);
        *out = bytes_of(t->data, t->size);
    }
    return true;
}

void normalize_run_close(struct normalize_run *r)
{
    text_free(&r->buffers[0]);
    text_free(&r->buffers[1]);
}
