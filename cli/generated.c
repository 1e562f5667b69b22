#include "cli/generated.h"

#include <stdlib.h>

static bool print_piece(char *text, size_t n, struct error *err)
{
    if (n) print_text("%.*s", (int)n, text);
    free(text);
    return n == 0 || print_end(err);
}

bool generated_add(const struct command_env *env, struct generated *out, uint32_t id, struct error *err)
{
    char *text;
    size_t n;
    out->ids[out->n_prompt + out->n++] = id;
    if (env->common->json || !out->text.tokenizer) return true;
    return text_stream_add(&out->text, id, &text, &n, err) && print_piece(text, n, err);
}

static double speed(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static double acceptance(const struct generated *out)
{
    return out->counts.drafted ? (double)out->counts.accepted / (double)out->counts.drafted : 0;
}

static bool print_rest(struct generated *out, struct error *err)
{
    char *text;
    size_t n;
    if (out->text.tokenizer && (!text_stream_end(&out->text, &text, &n, err) || !print_piece(text, n, err)))
        return false;
    for (size_t i = 0; !out->text.tokenizer && i < out->n; i++)
        print_text("%s%u", i ? "," : "", out->ids[out->n_prompt + i]);
    print_text("\n");
    if (out->drafted)
        print_text("\n%llu of %llu drafted tokens accepted (%.1f %%)\n", (unsigned long long)out->counts.accepted,
                   (unsigned long long)out->counts.drafted, 100 * acceptance(out));
    return true;
}

bool generated_print(const struct command_env *env, const struct tokenizer *t, struct generated *out, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    if (!env->common->json) return print_rest(out, err);
    if (t && !tokenizer_decode(t, out->ids + out->n_prompt, out->n, true, &text, &n, err)) return false;
    json_t *ids = json_array();
    for (size_t i = 0; i < out->n; i++) json_array_append_new(ids, json_integer(out->ids[out->n_prompt + i]));
    json_t *drafts = json_null();
    if (out->drafted)
        drafts = json_pack("{s:I,s:I,s:f}", "drafted", (json_int_t)out->counts.drafted, "accepted",
                           (json_int_t)out->counts.accepted, "acceptance", acceptance(out));
    return print_json(json_pack("{s:o,s:o,s:f,s:f,s:o}", "ids", ids, "text",
                                text ? json_stringn_nocheck(text, n) : json_null(), "prompt_tokens_per_second",
                                speed(out->n_prompt, out->prompt_seconds), "tokens_per_second",
                                speed(out->n ? out->n - 1 : 0, out->seconds), "speculative", drafts),
                      err);
}
