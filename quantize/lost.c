/* Blocks that are not zero in the source and nothing but zeros in the result, because their scale lies below what its
 * type holds: E4M3's smallest, 2^-127, or a scale that counts as 1 since it rounds to zero. They are an error; a
 * published recipe gives the bytes that it is published for, and they are counted. */
#include "quantize/job.h"

struct blocks {
    uint64_t rows, cols, n;   /* of the piece as it was encoded; n: columns of a block */
    uint32_t code_bits, mask; /* of one code; the bits that make it not zero */
};

/* The first block from number k on whose scale is the one that small blocks get; n when there is none. */
static uint64_t next_suspect(const struct slot *s, enum op op, uint64_t k, uint64_t n)
{
    bool bytes = op == OP_ENCODE_NVFP4 || op == OP_ENCODE_MXFP4 || op == OP_ENCODE_MXFP8;
    if (bytes && k < n) {
        const uint8_t *at = memchr(s->lane->dst_scale + k, op == OP_ENCODE_NVFP4 ? 1 : 0, n - k);
        return at ? (uint64_t)(at - s->lane->dst_scale) : n;
    }
    while (k < n && s->lane->dst_f32[k] != 1.0f) k++;
    return k;
}

static bool codes_are_zero(const struct slot *s, const struct blocks *b, uint64_t first)
{
    const uint8_t *codes = s->lane->dst + first * b->code_bits / 8;
    uint32_t any = 0;
    for (uint64_t i = 0; i < b->n * b->code_bits / 8; i++) any |= codes[i] & b->mask;
    return any == 0;
}

static bool source_is_zero(const struct slot *s, enum dtype dtype, uint64_t first, uint64_t n)
{
    uint64_t elem = dtype_bytes(dtype);
    for (uint64_t i = first; i < first + n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, s->lane->src + i * elem, elem);
        if (bits & (elem == 4 ? 0x7FFFFFFFu : 0x7FFFu)) return false;
    }
    return true;
}

/* The encoders whose blocks can be lost: what is scaled by the tensor's maximum loses single numbers as ever. */
static bool blocks_of(const struct job *j, const struct slot *s, struct blocks *out)
{
    const struct plan_item *item = &j->plan->items[s->pass->item];
    bool turned = is_sideways(j, s);
    *out = (struct blocks){.rows = turned ? s->at.n_cols : s->at.n_rows, .cols = turned ? s->at.n_rows : s->at.n_cols};
    out->n = item->format->block_cols;
    switch (quant_format_encoder(item->format, item->zero)) {
    case OP_ENCODE_NVFP4:
    case OP_ENCODE_MXFP4: out->code_bits = 4, out->mask = 0x77u; return true;
    case OP_ENCODE_INT4: out->code_bits = 4, out->mask = 0xFFu; return true;
    case OP_ENCODE_MXFP8: out->code_bits = 8, out->mask = 0x7Fu; return true;
    case OP_ENCODE_FP8_CHANNEL: out->code_bits = 8, out->mask = 0x7Fu, out->n = out->cols; return true;
    default: return false;
    }
}

bool piece_check_lost(struct job *j, const struct slot *s, struct error *err)
{
    const struct plan_item *item = &j->plan->items[s->pass->item];
    struct blocks b;
    if (s->first) j->n_lost = 0;
    if (!s->bytes || job_is_solved(j, s->pass->item) || piece_is_cast(j, s) || !blocks_of(j, s, &b)) return true;
    const struct tensor_info *t = pass_source(j, s->pass);
    uint64_t n = b.cols ? b.rows * (b.cols / b.n) : 0;
    enum op op = quant_format_encoder(item->format, item->zero);
    for (uint64_t k = next_suspect(s, op, 0, n); k < n; k = next_suspect(s, op, k + 1, n)) {
        uint64_t first = k * b.n;
        if (!codes_are_zero(s, &b, first) || source_is_zero(s, t->dtype, first, b.n)) continue;
        j->n_lost++;
        if (j->plan->recipe->published) continue;
        uint64_t row = first / b.cols, col = first % b.cols;
        bool turned = is_sideways(j, s);
        return error_set(
            err, ERR_FORMAT,
            "tensor '%.256s': the block of %llu from element [%llu, %llu] on is not zero, but too small for a "
            "scale of %s: it would become zeros",
            t->name, (unsigned long long)b.n, (unsigned long long)(s->at.row + (turned ? col : row)),
            (unsigned long long)(s->at.col + (turned ? row : col)), item->format->name);
    }
    if (s->last && j->n_lost)
        progress_note(j->pr, "quantize", "tensor '%s': %llu blocks that are not zero become zeros", t->name,
                      (unsigned long long)j->n_lost);
    return true;
}
