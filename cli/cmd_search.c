#include "calibrate/sensitivity.h"
#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/data_args.h"
#include "core/file.h"
#include "pack/search_target.h"

#include <fcntl.h>
#include <math.h>

#define SCORES_BYTES_MAX ((size_t)256 << 20)
#define WORDS_MAX 64u

struct search_args {
    struct common_args common;
    struct data_args data;
    const char *bits, *output, *types, *roles, *scales, *kv_cache, *engine, *gpu, *method, *scores, *save, *name,
        *spill;
    uint64_t size, cache_tokens;
};

static const struct option options[] = {
    {"bits", 'b', OPTION_TEXT, offsetof(struct search_args, bits), "N",
     "bits per weight of the whole result at most, as in 4.75", 0, 0},
    {"size", 0, OPTION_NUMBER, offsetof(struct search_args, size), "BYTES", "the same as bytes of all tensors", 1,
     UINT64_MAX / 2},
    {"output", 'o', OPTION_TEXT, offsetof(struct search_args, output), "FILE", "the recipe, a YAML file", 0, 0},
    {"types", 0, OPTION_TEXT, offsetof(struct search_args, types), "LIST",
     "what may be chosen beside none (default nvfp4,fp8)", 0, 0},
    {"roles", 0, OPTION_TEXT, offsetof(struct search_args, roles), "LIST",
     "search only these roles (default: every linear but latent projections); +lm_head: these too", 0, 0},
    {"scales", 0, OPTION_TEXT, offsetof(struct search_args, scales), "WORD",
     "how scales of nvfp4 weights are chosen (default max)", 0, 0},
    {"kv-cache", 0, OPTION_TEXT, offsetof(struct search_args, kv_cache), "WORD",
     "the recipe's kv_cache (default none); with --cache-tokens a list to choose from", 0, 0},
    {"cache-tokens", 0, OPTION_NUMBER, offsetof(struct search_args, cache_tokens), "N",
     "search the cache's type too: --size is then of the tensors and a cache of N tokens", 1, UINT64_MAX / 2},
    {"engine", 'e', OPTION_TEXT, offsetof(struct search_args, engine), "NAME@VERSION",
     "only what this engine runs (`ingot list engines`)", 0, 0},
    {"gpu", 'g', OPTION_TEXT, offsetof(struct search_args, gpu), "ID:COUNT",
     "on this many of this GPU (`ingot list gpus`)", 0, 0},
    {"method", 0, OPTION_TEXT, offsetof(struct search_args, method), "WORD",
     "gain (default): one pass per layer; kl: every group and type to the logits", 0, 0},
    {"sensitivity", 's', OPTION_TEXT, offsetof(struct search_args, scores), "FILE",
     "scores that an earlier search saved, instead of texts", 0, 0},
    {"save-sensitivity", 0, OPTION_TEXT, offsetof(struct search_args, save), "FILE", "save the scores, a JSON file", 0,
     0},
    {"name", 0, OPTION_TEXT, offsetof(struct search_args, name), "NAME", "the recipe's name (default auto)", 0, 0},
    DATA_OPTIONS(struct search_args),
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct search_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    BACKEND_OPTION(struct search_args),
    COMMON_OPTIONS(struct search_args),
};

/* Words between commas, NULL-terminated; *room holds their letters. */
static bool split(const char *list, char **room, const char *words[WORDS_MAX + 1], uint32_t *n, struct error *err)
{
    *n = 0;
    *room = strdup(list);
    if (!*room) return error_memory(err, strlen(list));
    char *at = *room;
    for (char *word; (word = strsep(&at, ",")) != NULL;) {
        if (!*word) return error_set(err, ERR_USAGE, "'%.128s': an empty word in the list", list);
        if (*n == WORDS_MAX) return error_set(err, ERR_USAGE, "'%.128s': more than %u words", list, WORDS_MAX);
        words[(*n)++] = word;
    }
    words[*n] = NULL;
    return true;
}

/* "+lm_head": beside the default. All words have it, or none. */
static bool read_plus(const char **words, bool *add, struct error *err)
{
    *add = *words[0] == '+';
    for (const char **w = words; *w; w++) {
        if ((**w == '+') != *add)
            return error_set(err, ERR_USAGE, "option --roles: '%.64s': either all words begin with + or none", *w);
        *w += *add;
    }
    return true;
}

static bool read_bits(const char *text, double *out, struct error *err)
{
    char *end;
    *out = strtod(text, &end);
    bool digits = *text >= '0' && *text <= '9';
    if (digits && !*end && *out > 0 && *out <= 64) return true;
    return error_set(err, ERR_USAGE, "option --bits: expected a number of bits per weight, as in 4.75, found '%.64s'",
                     text);
}

static bool make_space(const struct search_args *a, const struct model *m, struct search_space **out, struct error *err)
{
    const char *types[WORDS_MAX + 1], *roles[WORDS_MAX + 1], *caches[WORDS_MAX + 1];
    CLEANUP(free) char *types_room = NULL;
    CLEANUP(free) char *roles_room = NULL;
    CLEANUP(free) char *caches_room = NULL;
    uint32_t n_types, n_roles, n_caches;
    bool list = a->cache_tokens && a->kv_cache;
    bool add = false;
    if (!split(a->types ? a->types : "nvfp4,fp8", &types_room, types, &n_types, err) ||
        (a->roles && (!split(a->roles, &roles_room, roles, &n_roles, err) || !read_plus(roles, &add, err))))
        return false;
    if (list && !split(a->kv_cache, &caches_room, caches, &n_caches, err)) return false;
    struct search_request req = {.types = types,
                                 .n_types = n_types,
                                 .roles = a->roles ? roles : NULL,
                                 .add_roles = add,
                                 .scales = a->scales,
                                 .kv_cache = a->cache_tokens ? NULL : a->kv_cache,
                                 .cache_tokens = a->cache_tokens,
                                 .caches = list ? caches : NULL};
    return search_space_make(out, m->inventory, &req, err);
}

static bool load_scores(struct search_space *s, const char *path, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *json = NULL;
    return file_load(AT_FDCWD, path, SCORES_BYTES_MAX, &text, err) &&
           json_parse(buffer_view(&text), JSON_DIALECT_STRICT, path, &json, err) &&
           search_scores_read(s, json, path, err);
}

static bool save_scores(const struct search_space *s, const char *path, struct error *err)
{
    CLEANUP(json) json_t *json = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n;
    return search_scores_json(s, &json, err) && json_pretty(json, &text, &n, err) && dir_make_parents(path, err) &&
           file_save(path, bytes_of(text, n), 0666, err);
}

static bool get_scores(const struct command_env *env, const struct search_args *a, const struct model *m,
                       struct search_space *s, struct error *err)
{
    if (a->scores) return load_scores(s, a->scores, err);
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    bool kl = a->method && strcmp(a->method, "kl") == 0;
    struct sensitivity_options o = {
        .pool = env->pool, .isa = env->isa, .spill_dir = a->spill, .method = kl ? SENSITIVITY_KL : SENSITIVITY_GAIN};
    return data_load(&a->data, m, &corpus, err) && sensitivity_measure(s, &corpus, &o, env->progress, err) &&
           (!a->save || save_scores(s, a->save, err));
}

static double bits_of(const struct search_space *s, uint64_t bytes)
{
    return 8.0 * (double)bytes / (double)s->total_elems;
}

static json_t *group_json(const struct search_space *s, const struct search_group *x)
{
    json_t *types = json_object();
    for (uint32_t t = 0; types && t < s->n_types; t++) {
        const struct search_choice *c = &x->choices[t];
        json_object_set_new(types, s->types[t].word,
                            c->why_not ? json_pack("{s:s}", "not", c->why_not)
                                       : json_pack("{s:I,s:f}", "bytes", (json_int_t)c->bytes, "kl", c->kl));
    }
    return json_pack("{s:s,s:i,s:s,s:I,s:s,s:o}", "group", x->name, "layer", (int)x->layer, "role", x->role_class,
                     "weights", (json_int_t)x->n_elems, "type", s->types[x->picked].word, "types", types);
}

/* Its bytes: of the tokens alone. */
static json_t *cache_json(const struct search_space *s)
{
    json_t *types = json_object();
    for (uint32_t t = 0; types && t < SEARCH_CACHE_COUNT; t++) {
        const struct search_choice *c = &s->cache.choices[t];
        json_object_set_new(types, search_cache_words[t],
                            c->why_not ? json_pack("{s:s}", "not", c->why_not)
                                       : json_pack("{s:I,s:f}", "bytes",
                                                   (json_int_t)(c->bytes - s->cache.scale_bytes[t]), "kl", c->kl));
    }
    return json_pack("{s:s,s:I,s:I,s:o}", "type", search_cache_word(s), "tokens", (json_int_t)s->cache.tokens, "bytes",
                     (json_int_t)s->cache_bytes, "types", types);
}

static bool report_json(const struct search_args *a, const struct search_space *s, struct error *err)
{
    json_t *groups = json_array();
    for (uint32_t g = 0; groups && g < s->n_groups; g++) json_array_append_new(groups, group_json(s, &s->groups[g]));
    json_t *j = json_pack("{s:s,s:f,s:I,s:I,s:f,s:f,s:b,s:I,s:s,s:I,s:I,s:o}", "output", a->output, "effective_bits",
                          bits_of(s, s->write_bytes), "bytes", (json_int_t)s->write_bytes, "budget_bytes",
                          (json_int_t)s->budget, "kl_sum", s->kl, "power", s->power, "proven", s->solution.proven,
                          "states", (json_int_t)s->solution.n_states, "method", s->method, "texts",
                          (json_int_t)s->n_texts, "tokens", (json_int_t)s->n_tokens, "groups", groups);
    if (s->cache.tokens) json_object_set_new(j, "cache", cache_json(s));
    else json_object_set_new(j, "budget_bits", json_real(bits_of(s, s->budget)));
    return print_json(j, err);
}

static void report_text(const struct search_args *a, const struct search_space *s)
{
    print_text("%-20s %8s %14s %12s %12s\n", "type", "groups", "weights", "bytes", "sum of KL");
    for (uint32_t t = 0; t < s->n_types; t++) {
        uint64_t n = 0, elems = 0, bytes = 0;
        double kl = 0;
        for (uint32_t g = 0; g < s->n_groups; g++) {
            const struct search_group *x = &s->groups[g];
            if (x->picked != t) continue;
            n++;
            elems += x->n_elems;
            bytes += x->choices[t].bytes;
            kl += x->choices[t].kl;
        }
        char size[32];
        text_bytes(size, bytes);
        print_text("%-20s %8llu %14llu %12s %12.4g\n", s->types[t].word, (unsigned long long)n,
                   (unsigned long long)elems, size, kl);
    }
    if (s->cache.tokens) {
        char size[32];
        text_bytes(size, s->cache_bytes);
        print_text("%-20s %8s %14s %12s %12.4g\n", search_cache_word(s), "cache", "", size,
                   s->cache.choices[s->cache.picked].kl);
        print_text("%llu bytes of tensors and cache of at most %llu, ",
                   (unsigned long long)(s->write_bytes + s->cache_bytes), (unsigned long long)s->budget);
    }
    print_text("%.4f bits per weight", bits_of(s, s->write_bytes));
    if (!s->cache.tokens) print_text(" of at most %.4f", bits_of(s, s->budget));
    print_text(", sum of KL %.4g, %s -> %s\n", s->kl,
               s->solution.proven ? "proven to be the least" : "not proven to be the least", a->output);
}

/* Bytes that so many bits per weight are, at most. */
static bool budget_of(const struct search_args *a, const struct search_space *s, uint64_t *out, struct error *err)
{
    double bits;
    *out = a->size;
    if (a->size) return true;
    if (!read_bits(a->bits, &bits, err)) return false;
    *out = (uint64_t)floor(bits * (double)s->total_elems / 8);
    return true;
}

static bool write_recipe(const struct search_args *a, const struct search_space *s, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    return search_recipe(s, a->name ? a->name : "auto", &text, err) && dir_make_parents(a->output, err) &&
           file_save(a->output, bytes_text(text), 0666, err) && search_check_recipe(s, a->output, err);
}

static bool check_args(const struct search_args *a, struct error *err)
{
    double bits;
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    if (!a->bits == !a->size) return error_set(err, ERR_USAGE, "expected one of --bits and --size");
    if (a->cache_tokens && !a->size)
        return error_set(err, ERR_USAGE, "--cache-tokens needs --size: bits per weight say nothing of a cache");
    if (a->bits && !read_bits(a->bits, &bits, err)) return false;
    if (!a->scores && !data_given(&a->data))
        return error_set(err, ERR_USAGE, "expected texts (--data or --ids), or --sensitivity");
    if (a->scores && (data_given(&a->data) || a->save || a->method))
        return error_set(err, ERR_USAGE,
                         "--sensitivity takes the place of --data, --ids, --method, --save-sensitivity");
    if (a->method && strcmp(a->method, "kl") != 0 && strcmp(a->method, "gain") != 0)
        return error_set(err, ERR_USAGE, "option --method: expected kl or gain, found '%.64s'", a->method);
    if (!a->engine != !a->gpu) return error_set(err, ERR_USAGE, "--engine and --gpu belong together");
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct search_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(search_space) struct search_space *s = NULL;
    uint64_t budget;
    bool one_type = false;
    if (!check_args(a, err) || !backend_forward(env->common, "a search", err) || !model_open(&m, operands[0], err) ||
        !make_space(a, &m, &s, err) || (a->engine && !search_target(s, a->engine, a->gpu, &one_type, err)) ||
        !budget_of(a, s, &budget, err) || !get_scores(env, a, &m, s, err) || !search_solve(s, budget, one_type, err) ||
        !write_recipe(a, s, err))
        return false;
    if (env->common->json) return report_json(a, s, err);
    report_text(a, s);
    return true;
}

const struct command command_search = {
    .name = "search",
    .operands = "DIR",
    .summary = "finds the best mixture of types for a budget of bits",
    .details =
        "Measures what each type costs each group of linears (experts of a layer, q k v, gate and up, ...), chooses\n"
        "the types of the smallest sum of costs within the budget, exactly, and writes them as a recipe for plan and\n"
        "quantize.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct search_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
