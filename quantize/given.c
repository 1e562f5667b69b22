#include "quantize/given.h"

#include "backends/cpu/kernel.h"
#include "core/bytes.h"
#include "core/memory.h"
#include "models/pre_scale.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <math.h>

#define READ_BYTES ((uint64_t)4 << 20)

/* ---- the same plan ---- */

static const char *format_name(const struct quant_format *f)
{
    return f ? f->name : "not quantized";
}

static bool same_config(const struct plan *plan, const struct inventory *other, struct error *err)
{
    const struct model_config *a = &plan->inventory->config, *b = &other->config;
    if (a->arch != b->arch || a->n_blocks != b->n_blocks)
        return error_set(err, ERR_FORMAT, "it is of another model: %s with %u blocks, expected %s with %u",
                         b->arch->name, b->n_blocks, a->arch->name, a->n_blocks);
    const char *kv = other->kv_algo;
    bool fp8 = kv && strcmp(kv, "FP8") == 0;
    if (plan->kv == KV_NONE ? kv == NULL : fp8) return true;
    return error_set(err, ERR_FORMAT, "its KV cache is %s, the plan's is %s", kv ? kv : "not quantized",
                     plan->kv == KV_NONE ? "not quantized" : "FP8");
}

static bool can_code(const struct quant_format *f)
{
    return f->encode_op == OP_ENCODE_NVFP4 || f->encode_op == OP_ENCODE_FP8;
}

static bool match_item(struct given *g, const struct plan *plan, uint32_t i, struct error *err)
{
    const struct plan_item *item = &plan->items[i];
    const struct model_tensor *t = item->tensor, *r = inventory_find_name(g->model.inventory, t->name);
    const struct quant_format *want = item->action == ACTION_QUANTIZE ? item->format : NULL;
    if (!r && !want && !item->kv_observed) return true; /* a part that was left out there, such as an MTP head */
    if (!r) return error_set(err, ERR_FORMAT, "it has no tensor '%.256s'", t->name);
    if (r->format != want)
        return error_set(err, ERR_FORMAT, "tensor '%.256s' is %s there, and %s in the plan: the plans must be the same",
                         t->name, format_name(r->format), format_name(want));
    if (has_pre_scale(r))
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' has a pre_quant_scale: its scales are of other weights",
                         t->name);
    if (want && (r->dims[0] != t->dims[0] || r->dims[1] != t->dims[1]))
        return error_set(err, ERR_FORMAT, "tensor '%.256s' is [%llu, %llu] there, expected [%llu, %llu]", t->name,
                         (unsigned long long)r->dims[0], (unsigned long long)r->dims[1], (unsigned long long)t->dims[0],
                         (unsigned long long)t->dims[1]);
    if (want && !can_code(want))
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s': weights are not coded with given scales of %s",
                         t->name, want->name);
    if (want || item->kv_observed) g->ref[i] = r;
    return true;
}

/* ---- every scale is one ---- */

/* The first element that is no scale; n when all are. */
static uint64_t first_bad(const uint8_t *data, uint64_t n, enum dtype dtype)
{
    for (uint64_t i = 0; i < n; i++) {
        float v;
        if (dtype == DTYPE_F8_E4M3) {
            if (data[i] == 0 || data[i] >= 0x7F) return i; /* 0x7F is NaN, above are negatives */
            continue;
        }
        memcpy(&v, data + i * sizeof v, sizeof v);
        if (!(v > 0) || !isfinite(v)) return i;
    }
    return n;
}

static double value_of(const uint8_t *data, enum dtype dtype)
{
    float v;
    if (dtype == DTYPE_F8_E4M3) return (double)e4m3_decode(*data);
    memcpy(&v, data, sizeof v);
    return (double)v;
}

static bool check_part(const struct given *g, const struct model_tensor *r, enum tensor_part part, struct sha256 *h,
                       void *room, struct error *err)
{
    const struct checkpoint *ck = g->model.checkpoint;
    uint32_t index = r->parts[part];
    if (index == NAME_NONE)
        return error_set(err, ERR_FORMAT, "it has no tensor '%.256s.%s'", r->module, tensor_part_suffix(part));
    const struct tensor_info *info = checkpoint_tensor(ck, index);
    if (info->dtype != DTYPE_F32 && info->dtype != DTYPE_F8_E4M3)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s': scales of type %s are not taken over", info->name,
                         dtype_name(info->dtype));
    uint64_t elem = dtype_bytes(info->dtype);
    sha256_add(h, info->name, strlen(info->name) + 1);
    for (uint64_t at = 0; at < info->bytes; at += READ_BYTES) {
        uint64_t n = u64_min(READ_BYTES, info->bytes - at) / elem;
        if (!checkpoint_read(ck, index, at, room, n * elem, err)) return false;
        uint64_t bad = first_bad(room, n, info->dtype);
        if (bad < n)
            return error_set(err, ERR_FORMAT, "tensor '%.256s': element %llu is %g; a scale is positive and finite",
                             info->name, (unsigned long long)(at / elem + bad),
                             value_of((const uint8_t *)room + bad * elem, info->dtype));
        sha256_add(h, room, n * elem);
    }
    return true;
}

static bool check_item(const struct given *g, const struct plan *plan, uint32_t i, struct sha256 *h, void *room,
                       struct error *err)
{
    const struct plan_item *item = &plan->items[i];
    const struct quant_format *f = item->action == ACTION_QUANTIZE ? item->format : NULL;
    for (uint32_t k = 0; f && k < f->n_parts; k++)
        if (f->parts[k].part != PART_WEIGHT && !check_part(g, g->ref[i], f->parts[k].part, h, room, err)) return false;
    if (!item->kv_observed) return true;
    enum tensor_part part = tensor_cache_part(item->tensor->place.role);
    return check_part(g, g->ref[i], part, h, room, err);
}

static bool check_all(struct given *g, const struct plan *plan, const struct progress *pr, struct error *err)
{
    struct sha256 *h;
    CLEANUP(free) uint8_t *room = NULL;
    if (!memory_alloc(&room, READ_BYTES, 1, err) || !sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < plan->n_items; i++) {
        if (!g->ref[i]) continue;
        progress_update(pr, "quantize", "scales", i, plan->n_items);
        ok = progress_go_on(pr, err) && check_item(g, plan, i, h, room, err);
    }
    return sha256_close(h, ok ? &g->digest : NULL, err) && ok;
}

static bool open_all(struct given *g, const struct plan *plan, const bool *wanted, const struct progress *pr,
                     struct error *err)
{
    if (strcmp(plan->recipe->layout, "modelopt") != 0)
        return error_set(err, ERR_UNSUPPORTED, "scales are taken over in the layout modelopt, not %s",
                         plan->recipe->layout);
    if (!memory_zalloc(&g->ref, plan->n_items, sizeof *g->ref, err) ||
        !memory_zalloc(&g->clipped, plan->n_items, sizeof *g->clipped, err) ||
        !same_config(plan, g->model.inventory, err))
        return false;
    for (uint32_t i = 0; i < plan->n_items; i++)
        if ((!wanted || wanted[i]) && !match_item(g, plan, i, err)) return false;
    return check_all(g, plan, pr, err);
}

static bool keep(struct given **out, struct given *g, bool ok)
{
    if (ok) *out = g;
    else given_close(g);
    return ok;
}

bool given_open(struct given **out, const struct plan *plan, const char *dir, const struct progress *pr,
                struct error *err)
{
    *out = NULL;
    struct given *g = calloc(1, sizeof *g);
    if (!g) return error_memory(err, sizeof *g);
    bool ok = model_open(&g->model, dir, err) && open_all(g, plan, NULL, pr, err);
    if (!ok) error_wrap(err, "--scales-from '%.256s'", dir);
    return keep(out, g, ok);
}

bool given_borrow(struct given **out, const struct plan *plan, const struct model *model, const bool *wanted,
                  const struct progress *pr, struct error *err)
{
    *out = NULL;
    struct given *g = calloc(1, sizeof *g);
    if (!g) return error_memory(err, sizeof *g);
    g->model = *model;
    g->borrowed = true;
    return keep(out, g, open_all(g, plan, wanted, pr, err));
}

void given_close(struct given *g)
{
    if (!g) return;
    if (!g->borrowed) model_close(&g->model);
    free(g->ref);
    free(g->clipped);
    free(g);
}

bool given_scalar(const struct given *g, const struct plan *plan, uint32_t item, enum tensor_part part, float *out,
                  struct error *err)
{
    const struct model_tensor *r = g->ref[item];
    if (!r || r->parts[part] == NAME_NONE)
        return error_set(err, ERR_INTERNAL, "'%.256s' has no %s to take over", plan->items[item].tensor->module,
                         tensor_part_suffix(part));
    return checkpoint_read(g->model.checkpoint, r->parts[part], 0, out, sizeof *out, err);
}

/* ---- coding ---- */

#define CHUNK 4096u        /* elements of an item of the parallel-for; a multiple of the block */
#define E2M1_BEYOND 7.0f   /* half the last step, 4 to 6, above 6 */
#define E4M3_BEYOND 464.0f /* half the last step, 416 to 448, above 448 */

struct code_ctx {
    const struct given_piece *p;
    kernel_fn widen;
    float scale;
    enum fp8_rounding rounding;
    uint64_t n;
    uint32_t *beyond; /* [chunks] */
};

/* Elements [item * CHUNK, ...) as fp32; how many there are. */
static uint64_t widen(const struct code_ctx *c, uint64_t item, float w[CHUNK])
{
    uint64_t at = item * CHUNK, n = u64_min(CHUNK, c->n - at);
    const uint8_t *src = (const uint8_t *)c->p->src + at * dtype_bytes(c->p->dtype);
    c->widen(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = src, .dtype = c->p->dtype, .dst_f32 = w});
    return n;
}

static void code_nvfp4(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct code_ctx *c = ctx;
    float w[CHUNK];
    uint64_t n = widen(c, item, w), first = item * CHUNK;
    uint32_t beyond = 0;
    for (uint64_t at = 0; at < n; at += NVFP4_BLOCK) {
        uint8_t scale = c->p->dst_scale[(first + at) / NVFP4_BLOCK];
        float e = nvfp4_block_scale(scale, c->scale);
        nvfp4_pack_block(w + at, scale, c->scale, c->p->dst + (first + at) / 2);
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) beyond += f32_abs(w[at + i]) / e > E2M1_BEYOND;
    }
    c->beyond[item] = beyond;
}

static void code_fp8(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct code_ctx *c = ctx;
    float w[CHUNK];
    uint64_t n = widen(c, item, w), first = item * CHUNK;
    uint32_t beyond = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)c->p->src + (first + i) * dtype_bytes(c->p->dtype), sizeof half);
        c->p->dst[first + i] = c->p->dtype == DTYPE_BF16  ? fp8_encode_bf16(half, c->scale, c->rounding)
                               : c->p->dtype == DTYPE_F16 ? fp8_encode_f16(half, c->scale, c->rounding)
                                                          : fp8_encode_f32(w[i], c->scale);
        beyond += f32_abs(w[i]) / c->scale > E4M3_BEYOND;
    }
    c->beyond[item] = beyond;
}

bool given_encode(struct given *g, const struct plan *plan, struct pool *pool, const struct given_piece *p,
                  struct error *err)
{
    const struct plan_item *item = &plan->items[p->item];
    bool nvfp4 = item->format->encode_op == OP_ENCODE_NVFP4;
    struct code_ctx c = {
        .p = p, .widen = kernel_for(OP_WIDEN, 0), .rounding = plan->recipe->rounding, .n = p->n_rows * p->n_cols};
    uint64_t n_items = u64_div_up(c.n, CHUNK);
    CLEANUP(free) uint32_t *beyond = NULL;
    if (!memory_zalloc(&beyond, n_items, sizeof *beyond, err) ||
        !given_scalar(g, plan, p->item, nvfp4 ? PART_WEIGHT_SCALE_2 : PART_WEIGHT_SCALE, &c.scale, err))
        return false;
    c.beyond = beyond;
    if (nvfp4 && !checkpoint_read(g->model.checkpoint, g->ref[p->item]->parts[PART_WEIGHT_SCALE],
                                  p->first / NVFP4_BLOCK, p->dst_scale, c.n / NVFP4_BLOCK, err))
        return false;
    pool_for(pool, n_items, nvfp4 ? code_nvfp4 : code_fp8, &c);
    for (uint64_t i = 0; i < n_items; i++) g->clipped[p->item] += beyond[i];
    return true;
}
