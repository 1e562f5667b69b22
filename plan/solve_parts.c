#include "plan/solve_parts.h"

#include "core/bytes.h"
#include "core/memory.h"

#define CHUNK_MIN 64u
#define CHUNK_MAX 1024u

uint32_t solve_chunk_rows(uint64_t cols)
{
    uint64_t n = cols / 4 / CHUNK_MIN * CHUNK_MIN;
    return (uint32_t)(n < CHUNK_MIN ? CHUNK_MIN : n > CHUNK_MAX ? CHUNK_MAX : n);
}

static uint64_t moments_bytes(const struct plan_item *item)
{
    uint64_t cols = item->tensor->dims[1], one = cols * (cols + solve_chunk_rows(cols)) * sizeof(float);
    return item->solve.rounded_inputs ? 2 * one : one;
}

/* The factor beside the moments: the matrix that becomes it, and its panels; with rounded inputs what leads to the
 * target too. */
static uint64_t factor_bytes(const struct plan_item *item)
{
    uint64_t cols = item->tensor->dims[1];
    return cols * cols * sizeof(float) * (item->solve.rounded_inputs ? 6 : 3) / 2;
}

/* Rows that are solved together (calibrate/together.h): what they are solved for, as they are read, and errors; beside
 * them what errors are worth, and the sum that it comes from. Only linears as high as the residual stream is wide. */
static uint64_t together_bytes(const struct plan *p, const struct plan_item *item)
{
    uint64_t rows = item->tensor->dims[0], cols = item->tensor->dims[1];
    if (!item->solve.for_readers || rows != p->inventory->config.dims[DIM_HIDDEN]) return 0;
    return (3 * rows * cols + 2 * rows * rows) * sizeof(float);
}

static const struct {
    enum tensor_role role, owner;
} shared_inputs[] = {
    {ROLE_ATTN_K, ROLE_ATTN_Q},   {ROLE_ATTN_V, ROLE_ATTN_Q},         {ROLE_MLA_KV_A, ROLE_MLA_Q_A},
    {ROLE_MLP_UP, ROLE_MLP_GATE}, {ROLE_SHARED_UP, ROLE_SHARED_GATE}, {ROLE_EXPERT_UP, ROLE_EXPERT_GATE},
};

uint32_t solve_owner(const struct plan *p, uint32_t i)
{
    const struct model_tensor *t = p->items[i].tensor;
    const struct model_config *cfg = &p->inventory->config;
    for (size_t k = 0; k < sizeof shared_inputs / sizeof *shared_inputs; k++) {
        if (shared_inputs[k].role != t->place.role || t->place.block < 0 || t->place.mtp) continue;
        const struct model_tensor *owner =
            inventory_find_block(p->inventory, shared_inputs[k].owner, &cfg->blocks[t->place.block], t->place.expert);
        if (owner) return (uint32_t)(owner - p->inventory->tensors);
    }
    return i;
}

static bool in_block(const struct plan *p, const struct plan_item *item, uint32_t block)
{
    if (!solve_by_moments(&item->solve) || item->tensor->place.mtp) return false;
    if (block == p->inventory->config.n_blocks) return item->tensor->place.block < 0;
    return item->tensor->place.block == (int32_t)block;
}

uint32_t solve_parts(const struct plan *p, uint32_t block, uint64_t budget, uint32_t *part)
{
    uint32_t n_parts = 0;
    uint64_t used = 0;
    for (uint32_t i = 0; i < p->n_items; i++) part[i] = NAME_NONE;
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (!in_block(p, &p->items[i], block)) continue;
        uint32_t owner = solve_owner(p, i);
        if (part[owner] != NAME_NONE) continue;
        uint64_t bytes = moments_bytes(&p->items[i]);
        if (n_parts == 0 || bytes > budget || used > budget - bytes) {
            n_parts++;
            used = 0;
        }
        used += bytes;
        part[owner] = n_parts - 1;
    }
    return n_parts;
}

bool solve_needs(const struct plan *p, uint64_t budget, struct solve_needs *out, struct error *err)
{
    *out = (struct solve_needs){0};
    CLEANUP(free) uint32_t *part = NULL;
    if (!memory_alloc(&part, p->n_items, sizeof *part, err)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) out->n_linears += solve_by_moments(&p->items[i].solve);
    if (out->n_linears == 0) return true;
    for (uint32_t b = 0; b <= p->inventory->config.n_blocks; b++) {
        uint32_t n = solve_parts(p, b, budget, part);
        if (n > out->most_parts) out->most_parts = n;
        for (uint32_t k = 0; k < n; k++) {
            uint64_t sum = 0, factor = 0;
            for (uint32_t i = 0; i < p->n_items; i++) {
                if (part[i] != k) continue;
                sum += moments_bytes(&p->items[i]);
                uint64_t own = factor_bytes(&p->items[i]) + together_bytes(p, &p->items[i]);
                if (own > factor) factor = own;
            }
            if (sum + factor > out->bytes) out->bytes = sum + factor;
        }
    }
    return true;
}
