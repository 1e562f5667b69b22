/* From the encoders' order to that of a layout. Encoders give rows of nibbles (symmetric ones in two's complement), an
 * fp32 scale and a byte of zero point per group; layouts want words of eight, in orders of their own, and some the
 * matrix on its side, which is put together in memory. Orders: formats/quant_format_layouts.c, docs/formats.md. */
#include "quantize/job.h"

#include "core/memory.h"
#include "numeric/half.h"

static const struct plan_item *item_of(const struct job *j, const struct slot *s)
{
    return &j->plan->items[s->pass->item];
}

/* From rows of nibbles to bytes that hold one column of two rows: by way of the source, which nobody reads again. */
static void pair_rows(struct slot *s)
{
    uint64_t bytes = s->at.n_cols / 2;
    for (uint64_t r = 0; r < s->at.n_rows; r += 2) {
        const uint8_t *low = s->lane->dst + r * bytes, *high = low + bytes;
        uint8_t *to = s->lane->src + r * bytes;
        for (uint64_t i = 0; i < bytes; i++) {
            to[2 * i] = (uint8_t)((low[i] & 15u) | high[i] << 4);
            to[2 * i + 1] = (uint8_t)(low[i] >> 4 | (high[i] & 0xF0u));
        }
    }
    memcpy(s->lane->dst, s->lane->src, s->at.n_rows * bytes);
}

/* Two's complement to the number plus 8. */
static void add_eight(uint8_t *codes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) codes[i] ^= 0x88u;
}

/* One byte per row and group to words of eight rows, in place; rows that are not there are 0. */
static bool pack_zeros(uint8_t *zeros, uint64_t n_rows, uint64_t n_groups, struct error *err)
{
    CLEANUP(free) uint32_t *words = NULL;
    uint64_t n = u64_div_up(n_rows, 8);
    if (!memory_zalloc(&words, n * n_groups, sizeof *words, err)) return false;
    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t g = 0; g < n_groups; g++)
            words[r / 8 * n_groups + g] |= (uint32_t)(zeros[r * n_groups + g] & 15u) << (r % 8 * 4);
    memcpy(zeros, words, n * n_groups * sizeof *words);
    return true;
}

bool piece_repack(struct job *j, struct slot *s, struct error *err)
{
    const struct quant_format *f = item_of(j, s)->format;
    if (f->row_pairs) pair_rows(s);
    if (f->decode_op == OP_DECODE_INT4_ZERO && f->zeros == ZEROS_NONE)
        add_eight(s->lane->dst, s->at.n_rows * s->at.n_cols / 2);
    if (f->zeros != ZEROS_STORED) return true;
    return pack_zeros(s->lane->dst_scale, s->at.n_rows, s->at.n_cols / f->block_cols, err);
}

/* ---- on the side ---- */

struct gather {
    const struct plan_item *item;
    const struct slot *s;
    uint64_t rows, cols, group; /* of the whole weight */
    uint32_t *words, *zeros;    /* qweight, qzeros */
    uint16_t *scales;
    bool awq;
};

/* The place of a row among the eight of its word. */
static uint32_t awq_place(uint64_t row)
{
    static const uint32_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return place[row % 8];
}

static void gather_row(const struct gather *g, uint64_t row)
{
    const struct slot *s = g->s;
    uint64_t to = s->at.row + row, n_groups = g->cols / g->group;
    const uint8_t *codes = s->lane->dst + row * g->cols / 2;
    uint8_t flip = g->item->zero ? 0 : 8;
    for (uint64_t k = 0; k < n_groups; k++) {
        uint8_t zero = g->item->zero ? s->lane->dst_scale[row * n_groups + k] : 8;
        uint32_t *z = &g->zeros[k * (g->rows / 8) + to / 8];
        *z |= g->awq ? (uint32_t)zero << awq_place(to) * 4 : (uint32_t)(zero - 1u) << to % 8 * 4;
        g->scales[k * g->rows + to] = f16_encode(s->lane->dst_f32[row * n_groups + k]);
        for (uint64_t c = k * g->group; c < (k + 1) * g->group; c++) {
            uint32_t code = (codes[c / 2] >> c % 2 * 4 & 15u) ^ flip;
            if (g->awq) g->words[c * (g->rows / 8) + to / 8] |= code << awq_place(to) * 4;
            else g->words[c / 8 * g->rows + to] |= code << c % 8 * 4;
        }
    }
}

static bool write_gathered(struct job *j, const struct pass *p, const struct gather *g, struct error *err)
{
    const struct quant_format *f = g->item->format;
    for (uint32_t k = 0; k < f->n_parts; k++) {
        if (f->parts[k].part == PART_G_IDX)
            for (uint64_t c = 0; c < g->cols; c++) ((uint32_t *)j->gathered[k])[c] = (uint32_t)(c / g->group);
        uint64_t n = quant_part_elems(&f->parts[k], g->rows, g->cols) * dtype_bytes(f->parts[k].dtype);
        if (!sha256_of(bytes_of(j->gathered[k], n), &j->digests[p->output + k].written, err) ||
            !job_write(j, p->output + k, 0, j->gathered[k], n, err))
            return false;
        free(take_ptr(&j->gathered[k]));
    }
    return true;
}

bool piece_gather(struct job *j, struct slot *s, struct error *err)
{
    const struct plan_item *item = item_of(j, s);
    const struct quant_format *f = item->format;
    struct gather g = {.item = item,
                       .s = s,
                       .rows = item->tensor->dims[0],
                       .cols = item->tensor->dims[1],
                       .group = f->block_cols,
                       .awq = f->parts[0].rows_per_elem == 8};
    for (uint32_t k = 0; s->first && k < f->n_parts; k++) {
        uint64_t n = quant_part_elems(&f->parts[k], g.rows, g.cols);
        if (!memory_zalloc(&j->gathered[k], n, dtype_bytes(f->parts[k].dtype), err)) return false;
    }
    g.words = j->gathered[0];
    g.scales = j->gathered[1];
    g.zeros = j->gathered[2];
    if (s->bytes) quant_raise_zeros(f, s->lane->dst_scale, s->lane->dst, s->at.n_rows, s->at.n_cols);
    for (uint64_t r = 0; s->bytes && r < s->at.n_rows; r++) gather_row(&g, r);
    return !s->last || write_gathered(j, s->pass, &g, err);
}
