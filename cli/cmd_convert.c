#include "cli/commands.h"
#include "convert/convert.h"

#include <unistd.h>

struct convert_args {
    struct common_args common;
    const char *to, *type, *output, *lora;
    uint64_t shard_bytes;
    bool no_tokenizer, force;
};

static const struct option options[] = {
    {"to", 0, OPTION_TEXT, offsetof(struct convert_args, to), "FORMAT", "gguf or safetensors", 0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct convert_args, output), "PATH",
     "a file for gguf, a folder for safetensors", 0, 0},
    {"type", 0, OPTION_TEXT, offsetof(struct convert_args, type), "TYPE",
     "of the matrices: f32, f16, bf16; q8_0 for gguf (default: as they are)", 0, 0},
    {"shard-size", 0, OPTION_NUMBER, offsetof(struct convert_args, shard_bytes), "BYTES",
     "tensor bytes per file of safetensors at most (default 5G)", 1, UINT64_MAX / 2},
    {"merge-lora", 0, OPTION_TEXT, offsetof(struct convert_args, lora), "DIR",
     "safetensors: merge the LoRA or DoRA adapter in this folder", 0, 0},
    {"no-tokenizer", 0, OPTION_FLAG, offsetof(struct convert_args, no_tokenizer), NULL, "gguf without a tokenizer", 0,
     0},
    {"force", 0, OPTION_FLAG, offsetof(struct convert_args, force), NULL, "replace an output that exists", 0, 0},
    COMMON_OPTIONS(struct convert_args),
};

static bool find_type(const char *word, enum dtype *out, struct error *err)
{
    static const struct {
        const char *word;
        enum dtype type;
    } types[] = {{"f32", DTYPE_F32}, {"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}, {"q8_0", DTYPE_Q8_0}};
    *out = DTYPE_COUNT;
    if (!word) return true;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].word, word) != 0) continue;
        *out = types[i].type;
        return true;
    }
    return error_set(err, ERR_USAGE, "option --type: expected f32, f16, bf16 or q8_0, found '%.64s'", word);
}

static bool report(const struct command_env *env, const struct convert_args *a, const struct convert_result *r,
                   struct error *err)
{
    char was[32], is[32];
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "output", a->output, "format", a->to, "tensors",
                                    (json_int_t)r->n_tensors, "merged", (json_int_t)r->n_merged, "files",
                                    (json_int_t)r->n_files, "source_bytes", (json_int_t)r->read_bytes, "bytes",
                                    (json_int_t)r->bytes),
                          err);
    text_bytes(was, r->read_bytes);
    text_bytes(is, r->bytes);
    print_text("%s -> %s in %u tensors, %u file%s -> %s\n", was, is, r->n_tensors, r->n_files,
               r->n_files == 1 ? "" : "s", a->output);
    if (a->lora) print_text("%u tensors changed by %s\n", r->n_merged, a->lora);
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
                                .lora = a->lora,
                                .shard_bytes = a->shard_bytes ? a->shard_bytes : SHARD_BYTES_DEFAULT};
    struct convert_result r;
    if (!a->to) return error_set(err, ERR_USAGE, "option --to is missing: gguf or safetensors");
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    bool gguf = strcmp(a->to, "gguf") == 0;
    if (!gguf && strcmp(a->to, "safetensors") != 0)
        return error_set(err, ERR_USAGE, "option --to: expected gguf or safetensors, found '%.64s'", a->to);
    if (gguf && a->lora)
        return error_set(err, ERR_USAGE, "--merge-lora is for --to safetensors; what comes out can become gguf then");
    return find_type(a->type, &o.type, err) && check_output(a, gguf, err) && model_open(&m, operands[0], err) &&
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
