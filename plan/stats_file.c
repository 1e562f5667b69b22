/* Statistics as a safetensors file. */
#include "formats/tensor_file.h"
#include "core/version.h"
#include "plan/recipe_words.h"
#include "plan/stats.h"

#define SCHEMA "ingot.stats/1"

static const char *const suffixes[STAT_KIND_COUNT] = {
    [STAT_INPUT_AMAX] = ".input_amax", [STAT_OUTPUT_AMAX] = ".output_amax", [STAT_WEIGHT_AMAX] = ".weight_amax",
    [STAT_INPUT_PEAK] = ".input_peak", [STAT_INPUT_GAIN] = ".input_gain"};
#define TOKENS_SUFFIX ".tokens"
#define FORCED_SUFFIX ".all_tokens"
#define GAIN_SUFFIX ".solve_error" /* F64 [4]: before, after, output, damp */
#define SOLVED_PREFIX "solved."
#define SOLVED_DIGESTS                                                                                                 \
    "solved.sha256" /* U8 [n, 64]: of each solved tensor in order of name, its digest and source's                     \
                     */
#define COPY_BYTES ((size_t)1 << 20)

static bool metadata_json(const struct stats *s, json_t **out, struct error *err)
{
    char observe[DIGEST_HEX_SIZE], data[DIGEST_HEX_SIZE], own[DIGEST_HEX_SIZE], texts[24], tokens[24];
    digest_hex(&s->observe_digest, observe);
    digest_hex(&s->data_digest, data);
    digest_hex(&s->digest, own);
    snprintf(texts, sizeof texts, "%llu", (unsigned long long)s->n_texts);
    snprintf(tokens, sizeof tokens, "%llu", (unsigned long long)s->n_tokens);
    *out = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "schema", SCHEMA, "tool", INGOT_VERSION, "observe_sha256",
                     observe, "data_sha256", data, "sha256", own, "texts", texts, "tokens", tokens, "unseen_experts",
                     unseen_name(s->unseen));
    return *out && (!s->sequential || json_put(*out, "sequential", json_string("true"), err)) ? true
                                                                                              : error_memory(err, 0);
}

/* In the order of spec_all. */
static bool write_solved(const struct stats *s, struct tensor_file *f, uint32_t at, struct error *err)
{
    CLEANUP(free) uint8_t *piece = malloc(COPY_BYTES);
    if (!piece) return error_memory(err, COPY_BYTES);
    for (uint32_t i = 0; i < s->n_gains; i++) {
        const struct solve_gain *g = &s->gains[i];
        const double values[] = {g->before, g->after, g->output, g->damp};
        if (!tensor_file_write(f, at++, 0, values, sizeof values, err)) return false;
    }
    for (uint32_t i = 0; i < s->n_solved; i++) {
        const struct solved_tensor *t = &s->solved[i];
        for (uint64_t done = 0; done < t->bytes; done += COPY_BYTES) {
            size_t n = (size_t)u64_min(COPY_BYTES, t->bytes - done);
            if (!stats_read_solved(s, t, done, piece, n, err) || !tensor_file_write(f, at + i, done, piece, n, err))
                return false;
        }
        memcpy(piece, t->digest.bytes, DIGEST_BYTES);
        memcpy(piece + DIGEST_BYTES, t->source.bytes, DIGEST_BYTES);
        if (!tensor_file_write(f, at + s->n_solved, (uint64_t)i * 2 * DIGEST_BYTES, piece, 2 * DIGEST_BYTES, err))
            return false;
    }
    return true;
}

static bool write_tokens(const struct expert_tokens *x, uint32_t n, struct tensor_file *f, uint32_t at,
                         struct error *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (!tensor_file_write(f, at + i, 0, x[i].tokens, x[i].n_experts * sizeof *x[i].tokens, err)) return false;
    return true;
}

static bool write_all(const struct stats *s, struct tensor_file *f, struct error *err)
{
    for (uint32_t i = 0; i < s->n_stats; i++)
        if (!tensor_file_write(f, i, 0, &s->stats[i].amax, sizeof(float), err)) return false;
    return write_tokens(s->experts, s->n_experts, f, s->n_stats, err) &&
           write_tokens(s->forced, s->n_forced, f, s->n_stats + s->n_experts, err) &&
           write_solved(s, f, s->n_stats + s->n_experts + s->n_forced, err);
}

static void tokens_specs(const struct expert_tokens *x, uint32_t n, const char *suffix, struct arena *arena,
                         struct tensor_spec *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct tensor_spec){.name = arena_printf(arena, "%s%s", x[i].container, suffix),
                                      .dtype = DTYPE_I64,
                                      .n_dims = 1,
                                      .dims = {x[i].n_experts}};
}

static void spec_solved(const struct stats *s, struct tensor_spec *specs, struct arena *arena)
{
    for (uint32_t i = 0; i < s->n_gains; i++)
        *specs++ = (struct tensor_spec){.name = arena_printf(arena, "%s" GAIN_SUFFIX, s->gains[i].module),
                                        .dtype = DTYPE_F64,
                                        .n_dims = 1,
                                        .dims = {4}};
    for (uint32_t i = 0; i < s->n_solved; i++) {
        const struct solved_tensor *t = &s->solved[i];
        *specs++ = (struct tensor_spec){.name = arena_printf(arena, SOLVED_PREFIX "%s", t->name),
                                        .dtype = t->dtype,
                                        .n_dims = t->n_dims,
                                        .dims = {t->dims[0], t->dims[1]}};
    }
    if (s->n_solved)
        *specs = (struct tensor_spec){
            .name = SOLVED_DIGESTS, .dtype = DTYPE_U8, .n_dims = 2, .dims = {s->n_solved, 2 * DIGEST_BYTES}};
}

static bool save(const struct stats *s, const char *path, struct arena *arena, struct error *err)
{
    uint32_t n = s->n_stats + s->n_experts + s->n_forced + s->n_gains + s->n_solved + (s->n_solved > 0);
    struct tensor_spec *specs = arena_alloc(arena, n + 1, sizeof *specs);
    if (!specs) return error_memory(err, n * sizeof *specs);
    for (uint32_t i = 0; i < s->n_stats; i++)
        specs[i] = (struct tensor_spec){
            .name = arena_printf(arena, "%s%s", s->stats[i].module, suffixes[s->stats[i].kind]), .dtype = DTYPE_F32};
    tokens_specs(s->experts, s->n_experts, TOKENS_SUFFIX, arena, specs + s->n_stats);
    tokens_specs(s->forced, s->n_forced, FORCED_SUFFIX, arena, specs + s->n_stats + s->n_experts);
    spec_solved(s, specs + s->n_stats + s->n_experts + s->n_forced, arena);
    for (uint32_t i = 0; i < n; i++)
        if (!specs[i].name) return error_memory(err, 0);
    CLEANUP(json) json_t *metadata = NULL;
    struct tensor_file *f;
    if (!metadata_json(s, &metadata, err) || !tensor_file_open(&f, path, specs, n, metadata, err)) return false;
    if (write_all(s, f, err)) return tensor_file_commit(f, err);
    tensor_file_abort(f);
    return false;
}

bool stats_save(const struct stats *s, const char *path, struct error *err)
{
    size_t n = strlen(path), k = strlen(".safetensors");
    if (n <= k || strcmp(path + n - k, ".safetensors") != 0)
        return error_set(err, ERR_USAGE, "'%.512s': the name of a statistics file ends in .safetensors", path);
    struct arena *arena = arena_new();
    bool ok = arena ? save(s, path, arena, err) : error_memory(err, 0);
    arena_free(arena);
    return ok;
}

/* ---- reading ---- */

static bool read_digest(const struct checkpoint *ck, const char *key, struct digest *out, struct error *err)
{
    const char *hex = checkpoint_metadata(ck, key);
    return hex && digest_parse(hex, out) ? true : error_set(err, ERR_FORMAT, "metadata '%s' is not a SHA-256", key);
}

static bool read_count(const struct checkpoint *ck, const char *key, uint64_t *out, struct error *err)
{
    const char *text = checkpoint_metadata(ck, key);
    size_t n = text ? strspn(text, "0123456789") : 0;
    if (n == 0 || n > 19 || text[n]) return error_set(err, ERR_FORMAT, "metadata '%s' is not a count", key);
    *out = strtoull(text, NULL, 10);
    return true;
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

/* The bytes stay in the file; digests come later. */
static bool read_solved(struct stats *s, const struct tensor_info *t, uint32_t i, struct error *err)
{
    if (t->n_dims > 2)
        return error_set(err, ERR_FORMAT, "tensor '%.256s' has %u dimensions; a solved one has 2 at most", t->name,
                         t->n_dims);
    struct solved_tensor solved = {.name = t->name + strlen(SOLVED_PREFIX),
                                   .dtype = t->dtype,
                                   .n_dims = t->n_dims,
                                   .dims = {t->dims[0], t->dims[1]},
                                   .bytes = t->bytes,
                                   .at = i};
    return stats_add_solved(s, &solved, err);
}

static bool read_gain(struct stats *s, const struct checkpoint *ck, uint32_t i, const char *module, struct error *err)
{
    double v[4];
    if (!checkpoint_read(ck, i, 0, v, sizeof v, err)) return false;
    struct solve_gain g = {.module = module, .before = v[0], .after = v[1], .output = v[2], .damp = v[3]};
    return stats_add_gain(s, &g, err);
}

/* Of each solved tensor, in order of name. */
static bool read_solved_digests(struct stats *s, const struct checkpoint *ck, struct error *err)
{
    uint32_t at = checkpoint_find(ck, SOLVED_DIGESTS);
    const struct tensor_info *t = at == NAME_NONE ? NULL : checkpoint_tensor(ck, at);
    if (!s->n_solved && !t) return true;
    if (!t || t->dtype != DTYPE_U8 || t->n_dims != 2 || t->dims[0] != s->n_solved || t->dims[1] != 2 * DIGEST_BYTES)
        return error_set(err, ERR_FORMAT, "'" SOLVED_DIGESTS "' does not name the digests of %u solved tensors",
                         s->n_solved);
    for (uint32_t i = 0; i < s->n_solved; i++) {
        uint8_t both[2 * DIGEST_BYTES];
        if (!checkpoint_read(ck, at, (uint64_t)i * sizeof both, both, sizeof both, err)) return false;
        memcpy(s->solved[i].digest.bytes, both, DIGEST_BYTES);
        memcpy(s->solved[i].source.bytes, both + DIGEST_BYTES, DIGEST_BYTES);
    }
    return true;
}

static bool read_tensor(struct stats *s, const struct checkpoint *ck, uint32_t i, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(ck, i);
    size_t n = strlen(t->name), g = strlen(GAIN_SUFFIX);
    if (strcmp(t->name, SOLVED_DIGESTS) == 0) return true;
    if (strncmp(t->name, SOLVED_PREFIX, strlen(SOLVED_PREFIX)) == 0) return read_solved(s, t, i, err);
    if (n > g && strcmp(t->name + n - g, GAIN_SUFFIX) == 0 && t->dtype == DTYPE_F64 && t->n_elems == 4) {
        CLEANUP(free) char *module = strndup(t->name, n - g);
        return module ? read_gain(s, ck, i, module, err) : error_memory(err, n);
    }
    for (int k = 0; k < STAT_KIND_COUNT; k++) {
        size_t m = strlen(suffixes[k]);
        if (n <= m || strcmp(t->name + n - m, suffixes[k]) != 0 || t->dtype != DTYPE_F32 || t->n_dims != 0) continue;
        float v;
        CLEANUP(free) char *module = strndup(t->name, n - m);
        if (!module) return error_memory(err, n);
        return checkpoint_read(ck, i, 0, &v, sizeof v, err) && stats_add(s, module, (enum stat_kind)k, v, err);
    }
    bool forced = ends_in(t->name, FORCED_SUFFIX);
    const char *suffix = forced ? FORCED_SUFFIX : TOKENS_SUFFIX;
    size_t m = strlen(suffix);
    if (!ends_in(t->name, suffix) || t->dtype != DTYPE_I64 || t->n_dims != 1 || t->n_elems > MODEL_EXPERTS_MAX)
        return error_set(err, ERR_FORMAT, "tensor '%.256s' does not belong into a statistics file", t->name);
    CLEANUP(free) uint64_t *tokens = malloc(t->bytes + 8);
    CLEANUP(free) char *container = strndup(t->name, n - m);
    if (!tokens || !container) return error_memory(err, t->bytes);
    return checkpoint_read(ck, i, 0, tokens, t->bytes, err) &&
           (forced ? stats_add_forced : stats_add_experts)(s, container, (uint32_t)t->n_elems, tokens, err);
}

static bool read_all(struct stats *s, const struct checkpoint *ck, struct error *err)
{
    const char *schema = checkpoint_metadata(ck, "schema");
    struct digest said;
    if (!schema || strcmp(schema, SCHEMA) != 0)
        return error_set(err, ERR_FORMAT, "it is not a statistics file (metadata 'schema')");
    if (!read_digest(ck, "observe_sha256", &s->observe_digest, err) ||
        !read_digest(ck, "data_sha256", &s->data_digest, err) || !read_digest(ck, "sha256", &said, err) ||
        !read_count(ck, "texts", &s->n_texts, err) || !read_count(ck, "tokens", &s->n_tokens, err))
        return false;
    const char *unseen = checkpoint_metadata(ck, "unseen_experts");
    if (unseen && !unseen_parse(unseen, &s->unseen))
        return error_set(err, ERR_FORMAT, "metadata 'unseen_experts' is '%.64s', which is no policy", unseen);
    for (uint32_t i = 0; i < checkpoint_count(ck); i++)
        if (!read_tensor(s, ck, i, err)) return false;
    s->sequential = checkpoint_metadata(ck, "sequential") != NULL;
    stats_sort_solved(s);
    if (!read_solved_digests(s, ck, err) || !stats_seal(s, err)) return false;
    return digest_equal(&said, &s->digest)
               ? true
               : error_set(err, ERR_FORMAT, "its values are not those that its digest names");
}

bool stats_load(struct stats **out, const char *path, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CLEANUP(stats) struct stats *s = NULL;
    *out = NULL;
    if (!tensor_file_read(&f, &ck, path, err) || !stats_new(&s, err)) return false;
    if (!read_all(s, ck, err)) return error_wrap(err, "'%.256s'", path);
    if (s->n_solved) {
        s->file = take_ptr(&ck);
        s->folder = take_ptr(&f);
    }
    *out = take_ptr(&s);
    return true;
}
