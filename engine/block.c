#include "engine/block.h"

#include "core/memory.h"

#include <math.h>

static const struct block_kind_ops *const block_kinds[BLOCK_KIND_COUNT] = {
    [BLOCK_MAMBA2] = &block_mamba2, [BLOCK_ATTENTION] = &block_attention, [BLOCK_MLP] = &block_mlp,
    [BLOCK_MOE] = &block_moe,       [BLOCK_DELTA] = &block_delta,         [BLOCK_MLA] = &block_mla,
    [BLOCK_LINEAR] = &block_linear};

bool block_open(struct block *b, const struct engine *e, const struct block_config *config, struct error *err)
{
    *b = (struct block){.config = config, .ops = block_kinds[config->kind]};
    if (norm_open(&b->norm, e, ROLE_BLOCK_NORM, ROLE_BLOCK_NORM_BIAS, config, err) &&
        (!e->inv->config.post_norm || norm_open(&b->post_norm, e, ROLE_BLOCK_POST_NORM, ROLE_COUNT, config, err)) &&
        b->ops->open(&b->kind, e, config, err))
        return true;
    error_wrap(err, "layer %u", config->layer);
    block_close(b);
    return false;
}

void block_close(struct block *b)
{
    norm_close(&b->norm);
    norm_close(&b->post_norm);
    if (b->kind) b->ops->close(b->kind);
    *b = (struct block){0};
}

void block_state_close(struct block_state *s)
{
    scan_state_close(&s->scan);
    free(s->conv);
    free(s->k);
    free(s->v);
    *s = (struct block_state){0};
}

/* *to becomes a copy of n floats; without a source there is none. */
static bool copy_floats(float **to, const float *from, uint64_t n, struct error *err)
{
    if (!from) {
        free(*to);
        *to = NULL;
        return true;
    }
    if (!*to && !memory_alloc(to, n, sizeof **to, err)) return false;
    memcpy(*to, from, n * sizeof **to);
    return true;
}

static bool copy_state(struct block_state *to, const struct block_state *from, struct error *err)
{
    to->n_past = from->n_past;
    to->conv_floats = from->conv_floats;
    to->scan.state_floats = from->scan.state_floats;
    to->scan.open_floats = from->scan.open_floats;
    return copy_floats(&to->conv, from->conv, from->conv_floats, err) &&
           copy_floats(&to->scan.state, from->scan.state, from->scan.state_floats, err) &&
           copy_floats(&to->scan.open, from->scan.open, from->scan.open_floats, err);
}

bool block_state_save(const struct block_state *s, struct block_state *copy, struct error *err)
{
    return copy_state(copy, s, err);
}

bool block_state_restore(struct block_state *s, const struct block_state *copy, struct error *err)
{
    return copy_state(s, copy, err);
}

static bool grow_rows(float **p, uint64_t n, uint64_t capacity, uint64_t width, struct error *err)
{
    float *bigger;
    if (width == 0) return true;
    if (!memory_alloc(&bigger, capacity * width, sizeof *bigger, err)) return false;
    if (n) memcpy(bigger, *p, n * width * sizeof *bigger);
    free(*p);
    *p = bigger;
    return true;
}

bool block_state_grow(struct block_state *s, uint64_t n_new, uint64_t total, uint64_t k_width, uint64_t v_width,
                      struct error *err)
{
    uint64_t need = s->n_past + n_new;
    if (need <= s->capacity) return true;
    uint64_t capacity = s->capacity ? s->capacity : total ? total : 256;
    while (capacity < need) capacity *= 2;
    if (capacity > UINT32_MAX)
        return error_set(err, ERR_UNSUPPORTED, "a text of %llu tokens is too long", (unsigned long long)need);
    if (!grow_rows(&s->k, s->n_past, capacity, k_width, err) || !grow_rows(&s->v, s->n_past, capacity, v_width, err))
        return false;
    s->capacity = (uint32_t)capacity;
    return true;
}

bool block_visit_experts(const struct block *b, const struct engine *e, const float *x, uint64_t n_rows,
                         const uint32_t *experts, uint32_t n_experts, const struct observer *ob, struct error *err)
{
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    CLEANUP(free) float *normed = NULL;
    if (b->config->kind != BLOCK_MOE) return error_set(err, ERR_INTERNAL, "layer %u has no experts", b->config->layer);
    if (!memory_alloc(&normed, n_rows * hidden, sizeof *normed, err)) return false;
    rows_norm(e, &b->norm, x, n_rows, hidden, normed);
    struct block_call c = {.engine = e, .block = b, .x = normed, .n_rows = n_rows, .observer = ob};
    return moe_visit(&c, experts, n_experts, err) || error_wrap(err, "layer %u", b->config->layer);
}

bool block_run(const struct block *b, const struct engine *e, float *x, uint64_t n_rows, const struct segment *segments,
               uint32_t n_segments, const struct observer *ob, struct error *err)
{
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    SCRATCH_SCOPE(e->scratch);
    float *normed, *y;
    if (!scratch_alloc(e->scratch, &normed, n_rows * hidden, sizeof *normed, err) ||
        !scratch_alloc(e->scratch, &y, n_rows * hidden, sizeof *y, err))
        return false;
    rows_norm(e, &b->norm, x, n_rows, hidden, normed);
    struct block_call c = {e, b, normed, y, n_rows, segments, n_segments, ob};
    if (!b->ops->run(&c, err)) return error_wrap(err, "layer %u", b->config->layer);
    if (b->post_norm.weight) rows_norm(e, &b->post_norm, y, n_rows, hidden, y);
    e->math->add(x, x, y, n_rows * hidden);
    return true;
}

bool block_need(struct need *n, const struct engine *e, const struct block_config *config, const struct call_shape *c,
                struct error *err)
{
    *n = (struct need){0};
    if (!block_kinds[config->kind]->need(n, e, config, c, err)) return error_wrap(err, "layer %u", config->layer);
    weights_need(n, e, ROLE_BLOCK_NORM, config);
    weights_need(n, e, ROLE_BLOCK_NORM_BIAS, config);
    weights_need(n, e, ROLE_BLOCK_POST_NORM, config);
    n->calling += 2 * scratch_bytes(c->n_rows * e->inv->config.dims[DIM_HIDDEN], sizeof(float)); /* normed, y */
    return true;
}

uint64_t block_state_need(const struct engine *e, const struct block_config *config, uint64_t n_tokens,
                          uint64_t n_texts, uint64_t n_open)
{
    const struct block_kind_ops *ops = block_kinds[config->kind];
    return ops->state ? ops->state(e, config, n_tokens, n_texts, n_open) : 0;
}
