#include "cli/backend_args.h"
#include "cli/chat_args.h"
#include "cli/commands.h"
#include "cli/id_list.h"
#include "core/memory.h"
#include "engine/engine.h"
#include "engine/tokenizer.h"

#define EOS_MAX 64u

struct generate_args {
    struct common_args common;
    const char *prompt, *ids;
    struct chat_args chat;
    uint64_t n;
    bool greedy, ignore_eos, as_chat;
};

static const struct option options[] = {
    {"prompt", 'p', OPTION_TEXT, offsetof(struct generate_args, prompt), "TEXT", "the text to go on from", 0, 0},
    {"ids", 0, OPTION_TEXT, offsetof(struct generate_args, ids), "1,2,3", "token ids to go on from, taken as they are",
     0, 0},
    {"chat", 'c', OPTION_FLAG, offsetof(struct generate_args, as_chat), NULL,
     "the prompt is a user's message, rendered by the model's chat template", 0, 0},
    CHAT_OPTIONS(struct generate_args),
    {"n", 'n', OPTION_NUMBER, offsetof(struct generate_args, n), "N", "new tokens at most (default 64)", 1, 1u << 24},
    {"greedy", 0, OPTION_FLAG, offsetof(struct generate_args, greedy), NULL,
     "take the likeliest token (the only way so far, and the default)", 0, 0},
    {"ignore-eos", 0, OPTION_FLAG, offsetof(struct generate_args, ignore_eos), NULL,
     "go on behind the end-of-text token", 0, 0},
    BACKEND_OPTION(struct generate_args),
    COMMON_OPTIONS(struct generate_args),
};

/* What the template writes is all that the model sees: no token is put in front. */
static bool chat_ids(const struct generate_args *a, const struct folder *f, const struct tokenizer *t, uint32_t **ids,
                     size_t *n, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n_text;
    return chat_render(&a->chat, f, a->prompt, true, &text, &n_text, err) &&
           tokenizer_encode(t, bytes_of(text, n_text), false, ids, n, err);
}

static bool prompt_ids(const struct generate_args *a, const struct model *m, const struct tokenizer *t, uint32_t **ids,
                       size_t *n, struct error *err)
{
    if (a->ids) return id_list_parse(a->ids, ids, n, err);
    if (a->as_chat) return chat_ids(a, m->folder, t, ids, n, err);
    CLEANUP(free) uint32_t *body = NULL;
    size_t n_body;
    uint32_t bos;
    bool has_bos;
    if (!tokenizer_encode(t, bytes_text(a->prompt), true, &body, &n_body, err) ||
        !hf_config_bos(&m->hf, &bos, &has_bos, err))
        return false;
    bool add = has_bos && (n_body == 0 || body[0] != bos);
    *ids = malloc((n_body + 1) * sizeof **ids);
    if (!*ids) return error_memory(err, n_body * sizeof **ids);
    if (add) (*ids)[0] = bos;
    if (n_body) memcpy(*ids + add, body, n_body * sizeof *body);
    *n = n_body + add;
    return true;
}

static uint32_t likeliest(const float *logits, uint64_t vocab)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

struct output {
    uint32_t *ids;
    size_t n;
};

static bool decode(const struct command_env *env, const struct generate_args *a, const struct model *m,
                   const uint32_t *prompt, size_t n_prompt, struct output *out, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(session) struct session *s = NULL;
    CLEANUP(free) float *logits = NULL;
    uint64_t vocab = m->inventory->config.dims[DIM_VOCAB], most = a->n ? a->n : 64;
    uint32_t eos[EOS_MAX], n_eos;
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .quantize_inputs = true};
    if (n_prompt > UINT32_MAX) return error_set(err, ERR_UNSUPPORTED, "the prompt is too long");
    if (!hf_config_eos(&m->hf, eos, EOS_MAX, &n_eos, err) || !engine_open(&e, m->inventory, &eo, err) ||
        !session_open(&s, e, err) || !memory_alloc(&logits, vocab, sizeof *logits, err) ||
        !memory_alloc(&out->ids, most, sizeof *out->ids, err) ||
        !session_feed(s, prompt, (uint32_t)n_prompt, logits, err))
        return false;
    for (;;) {
        uint32_t id = likeliest(logits, vocab);
        bool end = false;
        for (uint32_t i = 0; i < n_eos && !a->ignore_eos; i++) end |= id == eos[i];
        if (end) return true;
        out->ids[out->n++] = id;
        progress_update(env->progress, "generate", NULL, out->n, most);
        if (out->n == most) return true;
        if (!progress_go_on(env->progress, err) || !session_feed(s, &id, 1, logits, err)) return false;
    }
}

static bool print_result(const struct command_env *env, const struct tokenizer *t, const struct output *out,
                         struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    if (t && !tokenizer_decode(t, out->ids, out->n, true, &text, &n, err)) return false;
    if (!env->common->json) {
        print_text("%.*s\n", (int)n, text ? text : "");
        return true;
    }
    json_t *ids = json_array();
    for (size_t i = 0; i < out->n; i++) json_array_append_new(ids, json_integer(out->ids[i]));
    return print_json(json_pack("{s:o,s:o}", "ids", ids, "text", text ? json_stringn_nocheck(text, n) : json_null()),
                      err);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct generate_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CLEANUP(free) uint32_t *prompt = NULL;
    struct output out = {0};
    size_t n_prompt;
    if (!a->as_chat && chat_given(&a->chat))
        return error_set(err, ERR_USAGE, "the options of a conversation need --chat");
    if (a->as_chat ? a->ids || (!a->prompt && !a->chat.messages) : !a->prompt == !a->ids)
        return error_set(err, ERR_USAGE,
                         a->as_chat ? "with --chat give --prompt, --messages or both"
                                    : "give one of --prompt and --ids");
    if (!backend_forward(env->common, "generation", err)) return false;
    if (!model_open(&m, operands[0], err)) return false;
    bool has_tokenizer = folder_find(m.folder, "tokenizer.json") != NAME_NONE;
    if ((has_tokenizer || !a->ids) && !tokenizer_open(&t, m.folder, err)) return false;
    bool ok = prompt_ids(a, &m, t, &prompt, &n_prompt, err) && decode(env, a, &m, prompt, n_prompt, &out, err) &&
              print_result(env, t, &out, err);
    free(out.ids);
    return ok;
}

const struct command command_generate = {
    .name = "generate",
    .operands = "DIR",
    .summary = "goes on from a prompt, token by token",
    .details = "The last line of --json is {\"ids\": [new ids], \"text\": ...}. The end-of-text token ends the text "
               "and is not part of it.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct generate_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
