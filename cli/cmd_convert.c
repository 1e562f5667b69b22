#include "cli/commands.h"
#include "cli/source_check.h"
#include "convert/convert.h"

#include <stdio.h>
#include <unistd.h>

struct convert_args {
    struct common_args common;
    const char *to, *type, *output, *lora;
    uint64_t shard_bytes;
    bool no_tokenizer, force, verify, requantize;
    struct source_args source;
};

static const struct option options[] = {
    {"to", 0, OPTION_TEXT, offsetof(struct convert_args, to), "FORMAT",
     "gguf, safetensors, or hf (Mistral's own layout too)", 0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct convert_args, output), "PATH", "a file for gguf, a folder otherwise",
     0, 0},
    {"type", 0, OPTION_TEXT, offsetof(struct convert_args, type), "TYPE",
     "of the matrices: f32, f16, bf16; for gguf also q8_0, q4_0, q4_k, q4_k_s, q4_k_m, q5_k, q5_k_s, q5_k_m, q6_k,\n"
     "mxfp4, nvfp4 (default: as they are)",
     0, 0},
    {"verify", 0, OPTION_FLAG, offsetof(struct convert_args, verify), NULL,
     "read the output back and compare every tensor with the source", 0, 0},
    {"allow-requantize", 0, OPTION_FLAG, offsetof(struct convert_args, requantize), NULL,
     "make few bits of few bits, losing precision twice", 0, 0},
    {"shard-size", 0, OPTION_NUMBER, offsetof(struct convert_args, shard_bytes), "BYTES",
     "tensor bytes per file of safetensors at most (default 5G)", 1, UINT64_MAX / 2},
    {"merge-lora", 0, OPTION_TEXT, offsetof(struct convert_args, lora), "DIR",
     "safetensors: merge the LoRA or DoRA adapter in this folder", 0, 0},
    {"no-tokenizer", 0, OPTION_FLAG, offsetof(struct convert_args, no_tokenizer), NULL, "gguf without a tokenizer", 0,
     0},
    {"force", 0, OPTION_FLAG, offsetof(struct convert_args, force), NULL, "replace an output that exists", 0, 0},
    SOURCE_OPTIONS(struct convert_args, source),
    COMMON_OPTIONS(struct convert_args),
};

static bool find_type(const char *word, bool gguf, struct convert_options *o, struct error *err)
{
    char words[256] = "";
    o->type = DTYPE_COUNT;
    o->mix = word ? gguf_mix_find(word) : NULL;
    if (!word) return true;
    if (o->mix && (gguf || dtype_is_plain_float(o->mix->base))) {
        o->type = gguf ? DTYPE_COUNT : o->mix->base;
        return true;
    }
    if (o->mix) return error_set(err, ERR_USAGE, "--type %s is for GGUF; safetensors cannot hold it", word);
    for (const struct gguf_mix *m = gguf_mixes; m->word; m++)
        if (gguf || dtype_is_plain_float(m->base))
            snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s", *words ? ", " : "", m->word);
    return error_set(err, ERR_USAGE, "option --type: expected one of %s, found '%.64s'", words, word);
}

#define FALLBACKS_PRINTED 16u

static bool fallbacks_json(const struct convert_result *r, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    if (!list) return error_memory(err, 0);
    for (uint32_t i = 0; i < r->n_fallback && i < CONVERT_FALLBACKS_TOLD; i++)
        if (json_array_append_new(
                list, json_pack("{s:s,s:s}", "name", r->fallback[i].name, "type", dtype_name(r->fallback[i].to))) != 0)
            return error_memory(err, 0);
    *out = take_ptr(&list);
    return true;
}

static void print_fallbacks(const struct convert_result *r)
{
    print_text("%u tensor%s of another type than asked for, because of their rows or of what llama.cpp reads:\n",
               r->n_fallback, r->n_fallback == 1 ? "" : "s");
    for (uint32_t i = 0; i < r->n_fallback && i < FALLBACKS_PRINTED; i++)
        print_text("  %s as %s\n", r->fallback[i].name, dtype_name(r->fallback[i].to));
    if (r->n_fallback > FALLBACKS_PRINTED)
        print_text("  and %u more (--json names %u)\n", r->n_fallback - FALLBACKS_PRINTED, CONVERT_FALLBACKS_TOLD);
}

/* What was Mistral's own layout. */
static void print_renamed(const struct convert_result *r)
{
    print_text("config.json (%s) and names made from params.json\n", r->renamed_as);
    if (r->assumed_length)
        print_text("params.json says no longest position: max_position_embeddings is the default of transformers' "
                   "converter\n");
    if (r->no_tokenizer)
        print_text("tokenizer.json is not made: the source's tokenizer files go along as they are (mistral-common "
                   "reads tekken.json)\n");
}

static bool report(const struct command_env *env, const struct convert_args *a, const struct convert_result *r,
                   struct error *err)
{
    char was[32], is[32];
    if (env->common->json) {
        CLEANUP(json) json_t *fallbacks = NULL;
        if (!fallbacks_json(r, &fallbacks, err)) return false;
        return print_json(json_pack("{s:s,s:s,s:s*,s:I,s:I,s:I,s:I,s:I,s:I,s:O,s:I,s:I,s:f}", "output", a->output,
                                    "format", a->to, "made_for", *r->renamed_as ? r->renamed_as : NULL, "tensors",
                                    (json_int_t)r->n_tensors, "merged", (json_int_t)r->n_merged, "files",
                                    (json_int_t)r->n_files, "source_bytes", (json_int_t)r->read_bytes, "bytes",
                                    (json_int_t)r->bytes, "fallbacks", (json_int_t)r->n_fallback, "fallback_tensors",
                                    fallbacks, "left_out", (json_int_t)r->n_left_out, "verified",
                                    (json_int_t)r->n_verified, "worst_error", r->worst_error),
                          err);
    }
    text_bytes(was, r->read_bytes);
    text_bytes(is, r->bytes);
    print_text("%s -> %s in %u tensors, %u file%s -> %s\n", was, is, r->n_tensors, r->n_files,
               r->n_files == 1 ? "" : "s", a->output);
    if (*r->renamed_as) print_renamed(r);
    if (a->lora) print_text("%u tensors changed by %s\n", r->n_merged, a->lora);
    if (r->n_fallback) print_fallbacks(r);
    if (r->n_left_out)
        print_text("%u tensors of the multi-token-prediction head are left out: llama.cpp has no place for them\n",
                   r->n_left_out);
    if (a->verify)
        print_text("verified: %u tensors read back; largest error %.2f of what their types allow\n", r->n_verified,
                   r->worst_error);
    return true;
}

/* Before anything is read: a file in the way is an answer that costs nothing. */
static bool check_output(const struct convert_args *a, bool gguf, struct error *err)
{
    if (!gguf || a->force || access(a->output, F_OK) != 0) return true;
    return error_set(err, ERR_USAGE, "output '%.512s' exists; --force replaces it", a->output);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct convert_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    struct convert_options o = {.pool = env->pool,
                                .isa = env->isa,
                                .replace = a->force,
                                .no_tokenizer = a->no_tokenizer,
                                .verify = a->verify,
                                .requantize = a->requantize,
                                .lora = a->lora,
                                .shard_bytes = a->shard_bytes ? a->shard_bytes : SHARD_BYTES_DEFAULT};
    struct convert_result r;
    if (!a->to) return error_set(err, ERR_USAGE, "option --to is missing: gguf, safetensors or hf");
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    bool gguf = strcmp(a->to, "gguf") == 0;
    o.hf = strcmp(a->to, "hf") == 0;
    if (!gguf && !o.hf && strcmp(a->to, "safetensors") != 0)
        return error_set(err, ERR_USAGE, "option --to: expected gguf, safetensors or hf, found '%.64s'", a->to);
    if (gguf && a->lora)
        return error_set(err, ERR_USAGE, "--merge-lora is for --to safetensors; what comes out can become gguf then");
    CLEANUP(json) json_t *signature = NULL;
    return find_type(a->type, gguf, &o, err) && check_output(a, gguf, err) &&
           source_check(env, &a->source, operands[0], &signature, err) && model_open(&m, operands[0], err) &&
           checkpoint_check_sums(m.checkpoint, err) &&
           (gguf ? convert_to_gguf : convert_to_safetensors)(&m, a->output, &o, &r, env->progress, err) &&
           report(env, a, &r, err);
}

const struct command command_convert = {
    .name = "convert",
    .operands = "MODEL",
    .summary = "writes a model as GGUF for llama.cpp, or as a Hugging Face folder",
    .details =
        "MODEL is a folder of safetensors, a folder with one GGUF model, or a .gguf file. A folder that is being\n"
        "written goes on where it stopped when the same command is given again.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct convert_args),
    .min_operands = 1,
    .max_operands = 1,
    .resumes = true,
    .run = run,
};
