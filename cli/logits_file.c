#include "cli/logits_file.h"

#include "core/memory.h"
#include "engine/pooling.h"
#include "formats/tensor_file.h"

#include <stdarg.h>

#define ROWS 256u

struct logits_file {
    const struct model_config *cfg;
    const struct corpus *corpus;
    struct logits_what what;
    struct tensor_file *file;
    struct tensor_spec *specs;
    uint32_t n_specs, capacity;
    struct name_index names; /* of specs */
    struct error failure;    /* of an observer call */
    struct arena *arena;
};

static bool add(struct logits_file *f, enum dtype dtype, uint32_t n_dims, const uint64_t *dims, char *name,
                struct error *err)
{
    if (f->n_specs == f->capacity) {
        uint32_t capacity = f->capacity ? 2 * f->capacity : 64;
        struct tensor_spec *p = realloc(f->specs, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        f->specs = p;
        f->capacity = capacity;
    }
    struct tensor_spec *s = &f->specs[f->n_specs++];
    *s = (struct tensor_spec){.name = name, .dtype = dtype, .n_dims = n_dims};
    memcpy(s->dims, dims, n_dims * sizeof *dims);
    return name ? true : error_memory(err, 0);
}

#define DIMS(...) ((const uint64_t[]){__VA_ARGS__})

static bool add_layer(struct logits_file *f, uint32_t text, const struct block_config *b, struct error *err)
{
    const struct model_config *c = f->cfg;
    struct arena *a = f->arena;
    uint64_t n = f->corpus->texts[text].n, k = c->moe.top_k;
    const struct ssm_config *s = &c->ssm;
    bool delta = b->kind == BLOCK_DELTA;
    uint64_t rows = delta ? s->state_size : s->head_dim, cols = delta ? s->head_dim : s->state_size;
    if (f->what.states && (delta || b->kind == BLOCK_MAMBA2) &&
        (!add(f, DTYPE_F32, 3, DIMS(s->n_heads, rows, cols), arena_printf(a, "%u.recurrent_state.%u", text, b->layer),
              err) ||
         !add(f, DTYPE_F32, 2, DIMS(c->dims[DIM_SSM_CONV], s->conv_taps),
              arena_printf(a, "%u.conv_state.%u", text, b->layer), err)))
        return false;
    return !f->what.router || b->kind != BLOCK_MOE ||
           (add(f, DTYPE_I32, 2, DIMS(n, k), arena_printf(a, "%u.router.%u.experts", text, b->layer), err) &&
            add(f, DTYPE_F32, 2, DIMS(n, k), arena_printf(a, "%u.router.%u.weights", text, b->layer), err));
}

static const char *encoded_name(const struct model_config *c)
{
    return c->encoder.output == OUTPUT_SCORES ? "scores" : "embedding";
}

static bool add_text(struct logits_file *f, uint32_t text, struct error *err)
{
    const struct model_config *c = f->cfg;
    uint64_t n = f->corpus->texts[text].n;
    bool logits = c->encoder.output == OUTPUT_LOGITS;
    if (logits && !add(f, DTYPE_F32, 2, DIMS(n, c->dims[DIM_VOCAB]), arena_printf(f->arena, "%u.logits", text), err))
        return false;
    if (!logits &&
        !add(f, DTYPE_F32, 1, DIMS(encoder_width(c)), arena_printf(f->arena, "%u.%s", text, encoded_name(c)), err))
        return false;
    for (uint32_t l = 0; f->what.hidden && l < c->n_layers; l++)
        if (!add(f, DTYPE_F32, 2, DIMS(n, c->dims[DIM_HIDDEN]), arena_printf(f->arena, "%u.hidden.%u", text, l), err))
            return false;
    if (f->what.mtp && n > 1 &&
        !add(f, DTYPE_F32, 2, DIMS(n - 1, c->dims[DIM_VOCAB]), arena_printf(f->arena, "%u.mtp_logits", text), err))
        return false;
    for (uint32_t b = 0; b < c->n_blocks; b++)
        if (!add_layer(f, text, &c->blocks[b], err)) return false;
    return !f->what.hidden || add(f, DTYPE_F32, 2, DIMS(n, c->dims[DIM_HIDDEN]),
                                  arena_printf(f->arena, "%u.hidden.final_norm", text), err);
}

static void release(struct logits_file *f)
{
    free(f->specs);
    name_index_free(&f->names);
    arena_free(f->arena);
    free(f);
}

static bool build(struct logits_file *f, const char *path, struct error *err)
{
    f->arena = arena_new();
    if (!f->arena) return error_memory(err, 0);
    for (uint32_t t = 0; t < f->corpus->n_texts; t++)
        if (!add_text(f, t, err)) return false;
    const char **names = arena_alloc(f->arena, f->n_specs, sizeof *names);
    if (!names) return error_memory(err, f->n_specs * sizeof *names);
    for (uint32_t i = 0; i < f->n_specs; i++) names[i] = f->specs[i].name;
    return name_index_build(&f->names, names, f->n_specs, "output", err) &&
           tensor_file_open(&f->file, path, f->specs, f->n_specs, NULL, err);
}

bool logits_file_open(struct logits_file **out, const char *path, const struct model_config *cfg,
                      const struct corpus *corpus, struct logits_what what, struct error *err)
{
    struct logits_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return error_memory(err, sizeof *f);
    *f = (struct logits_file){.cfg = cfg, .corpus = corpus, .what = what, .failure = ERROR_INIT};
    if (!build(f, path, err)) {
        release(f);
        return false;
    }
    *out = f;
    return true;
}

static bool put(struct logits_file *f, uint64_t offset, const void *data, size_t n, struct error *err, const char *fmt,
                ...) PRINTF_LIKE(6, 7);

static bool put(struct logits_file *f, uint64_t offset, const void *data, size_t n, struct error *err, const char *fmt,
                ...)
{
    char name[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    uint32_t i = name_index_find(&f->names, name);
    if (i != NAME_NONE) return tensor_file_write(f->file, i, offset, data, n, err);
    return error_set(err, ERR_INTERNAL, "there is no tensor '%s' in the output", name);
}

static void on_route(void *ctx, uint32_t layer, uint32_t text, uint32_t first, uint32_t n_tokens,
                     const uint32_t *experts, const float *weights)
{
    struct logits_file *f = ctx;
    uint64_t at = (uint64_t)first * f->cfg->moe.top_k * 4;
    size_t n = (size_t)n_tokens * f->cfg->moe.top_k * 4;
    if (f->failure.code != ERR_NONE || !put(f, at, experts, n, &f->failure, "%u.router.%u.experts", text, layer))
        return;
    if (!put(f, at, weights, n, &f->failure, "%u.router.%u.weights", text, layer)) return;
}

/* The window comes [taps, channels]; the file has [channels, taps], as the reference's goldens do. */
static bool put_conv(struct logits_file *f, uint32_t layer, uint32_t text, const float *conv, struct error *err)
{
    uint64_t channels = f->cfg->dims[DIM_SSM_CONV], taps = f->cfg->ssm.conv_taps;
    CLEANUP(free) float *t = NULL;
    if (!memory_alloc(&t, channels * taps, sizeof *t, err)) return false;
    for (uint64_t c = 0; c < channels; c++)
        for (uint64_t k = 0; k < taps; k++) t[c * taps + k] = conv[k * channels + c];
    return put(f, 0, t, channels * taps * sizeof *t, err, "%u.conv_state.%u", text, layer);
}

static void on_state(void *ctx, uint32_t layer, uint32_t text, const float *ssm, const float *conv)
{
    struct logits_file *f = ctx;
    const struct ssm_config *s = &f->cfg->ssm;
    size_t n = (size_t)s->n_heads * s->head_dim * s->state_size * sizeof(float);
    if (f->failure.code != ERR_NONE || !put(f, 0, ssm, n, &f->failure, "%u.recurrent_state.%u", text, layer)) return;
    if (!put_conv(f, layer, text, conv, &f->failure)) return;
}

struct observer logits_file_observer(struct logits_file *f)
{
    return (struct observer){
        .ctx = f, .route = f->what.router ? on_route : NULL, .state = f->what.states ? on_state : NULL};
}

bool logits_file_failed(const struct logits_file *f, struct error *err)
{
    if (f->failure.code == ERR_NONE) return true;
    if (err) *err = f->failure;
    return false;
}

static bool put_hidden(struct logits_file *f, struct stream *s, uint32_t layer, struct error *err)
{
    uint64_t hidden = f->cfg->dims[DIM_HIDDEN];
    CLEANUP(free) float *rows = NULL;
    if (!memory_alloc(&rows, ROWS * hidden, sizeof *rows, err)) return false;
    for (uint32_t t = 0; t < f->corpus->n_texts; t++)
        for (uint32_t k = 0; k < f->corpus->texts[t].n; k += ROWS) {
            uint64_t n = u64_min(ROWS, f->corpus->texts[t].n - k);
            if (!stream_read(s, stream_first_row(s, t) + k, n, rows, err) ||
                !put(f, k * hidden * sizeof *rows, rows, n * hidden * sizeof *rows, err, "%u.hidden.%u", t, layer))
                return false;
        }
    return true;
}

bool logits_file_hidden(struct logits_file *f, struct stream *s, uint32_t b, struct error *err)
{
    const struct model_config *c = f->cfg;
    if (!f->what.hidden) return true;
    uint32_t first = b ? c->blocks[b - 1].layer + 1 : 0, end = b < c->n_blocks ? c->blocks[b].layer + 1 : c->n_layers;
    for (uint32_t layer = first; layer < end; layer++)
        if (!put_hidden(f, s, layer, err)) return false;
    return true;
}

static bool put_encoded(struct logits_file *f, const struct engine *e, struct stream *s, struct error *err)
{
    uint64_t width = encoder_width(f->cfg);
    CLEANUP(encoder) struct encoder *x = NULL;
    CLEANUP(free) float *out = NULL;
    if (!encoder_open(&x, e, err) || !memory_alloc(&out, width, sizeof *out, err)) return false;
    for (uint32_t t = 0; t < f->corpus->n_texts; t++)
        if (!encoder_text(x, s, t, f->corpus->texts[t].n, out, err) ||
            !put(f, 0, out, width * sizeof *out, err, "%u.%s", t, encoded_name(f->cfg)))
            return false;
    return true;
}

bool logits_file_logits(struct logits_file *f, const struct engine *e, struct stream *s, struct error *err)
{
    uint64_t hidden = f->cfg->dims[DIM_HIDDEN], vocab = f->cfg->dims[DIM_VOCAB];
    CLEANUP(free) float *normed = NULL;
    CLEANUP(free) float *logits = NULL;
    bool encodes = f->cfg->encoder.output != OUTPUT_LOGITS;
    if (!memory_alloc(&normed, ROWS * hidden, sizeof *normed, err) ||
        (!encodes && !memory_alloc(&logits, ROWS * vocab, sizeof *logits, err)) ||
        (encodes && !put_encoded(f, e, s, err)))
        return false;
    for (uint32_t t = 0; t < f->corpus->n_texts; t++)
        for (uint32_t k = 0; (!encodes || f->what.hidden) && k < f->corpus->texts[t].n; k += ROWS) {
            uint64_t n = u64_min(ROWS, f->corpus->texts[t].n - k);
            if (!stream_logits(s, stream_first_row(s, t) + k, n, normed, logits, err) ||
                (logits &&
                 !put(f, k * vocab * sizeof *logits, logits, n * vocab * sizeof *logits, err, "%u.logits", t)))
                return false;
            if (f->what.hidden && !put(f, k * hidden * sizeof *normed, normed, n * hidden * sizeof *normed, err,
                                       "%u.hidden.final_norm", t))
                return false;
        }
    return true;
}

/* Row i is what the head makes of token i + 1 behind the trunk's row i. */
static bool put_mtp(struct logits_file *f, struct stream *s, struct mtp *head, uint32_t text, float *normed,
                    float *logits, struct error *err)
{
    uint64_t vocab = f->cfg->dims[DIM_VOCAB];
    const struct text_ids *t = &f->corpus->texts[text];
    mtp_reset(head);
    for (uint32_t k = 0; k + 1 < t->n; k += ROWS) {
        uint32_t n = t->n - 1 - k < ROWS ? t->n - 1 - k : ROWS;
        if (!stream_logits(s, stream_first_row(s, text) + k, n, normed, NULL, err) ||
            !mtp_feed(head, normed, t->ids + k + 1, n, logits, n, NULL, err) ||
            !put(f, k * vocab * sizeof *logits, logits, n * vocab * sizeof *logits, err, "%u.mtp_logits", text))
            return false;
    }
    return true;
}

bool logits_file_mtp(struct logits_file *f, struct stream *s, struct mtp *head, struct error *err)
{
    CLEANUP(free) float *normed = NULL;
    CLEANUP(free) float *logits = NULL;
    if (!memory_alloc(&normed, ROWS * f->cfg->dims[DIM_HIDDEN], sizeof *normed, err) ||
        !memory_alloc(&logits, ROWS * f->cfg->dims[DIM_VOCAB], sizeof *logits, err))
        return false;
    for (uint32_t t = 0; t < f->corpus->n_texts; t++)
        if (!put_mtp(f, s, head, t, normed, logits, err)) return false;
    return true;
}

bool logits_file_commit(struct logits_file *f, struct error *err)
{
    bool ok = tensor_file_commit(take_ptr(&f->file), err);
    release(f);
    return ok;
}

void logits_file_abort(struct logits_file *f)
{
    tensor_file_abort(f->file);
    release(f);
}
