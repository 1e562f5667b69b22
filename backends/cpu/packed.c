/* Sizes of panels, how they are filled, and what they mean. */
#include "backends/cpu/packed.h"

#include "backends/cpu/element.h"
#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e8m0.h"

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static uint32_t scale_bytes(enum packed_scale s)
{
    static const uint32_t bytes[] = {
        [SCALE_NONE] = 0, [SCALE_F32] = 4, [SCALE_F16] = 2, [SCALE_BF16] = 2, [SCALE_E4M3] = 1, [SCALE_E8M0] = 1};
    return bytes[s];
}

bool packed_shape(struct packed *p, enum packed_code code, enum packed_scale scale, uint64_t rows, uint64_t cols,
                  uint64_t group, float factor)
{
    if (scale == SCALE_NONE || group > cols) group = cols;
    bool nibbles = code >= CODE_E2M1, one_group = group == cols;
    if (rows == 0 || cols == 0 || group == 0) return false;
    if (nibbles && (cols % 8 != 0 || group % 8 != 0)) return false;
    if (!one_group && group % 2 != 0) return false;
    if (scale != SCALE_NONE && code < CODE_E4M3) return false;
    *p = (struct packed){code, scale, rows, cols, group, factor, (cols + group - 1) / group, 0, 0};
    uint64_t pairs = (cols + 1) / 2;
    p->code_bytes = code == CODE_F32    ? cols * 128
                    : code == CODE_F16  ? cols * 64
                    : code == CODE_BF16 ? pairs * 128
                    : !nibbles          ? pairs * 64
                                        : cols * 16;
    uint64_t scales = p->n_groups * PANEL_ROWS * (scale_bytes(scale) + (code == CODE_I4_ZERO));
    p->panel_bytes = p->code_bytes + round_up(scales, 64);
    return true;
}

/* ---- filling ---- */

/* The plain order of eight nibbles to the order of a panel: even columns into the low half. */
static void sort_nibbles(uint8_t *codes, uint64_t n_dwords)
{
    for (uint64_t i = 0; i < n_dwords; i++) {
        uint32_t u;
        memcpy(&u, codes + 4 * i, 4);
        uint32_t even = u & 0x0F0F0F0Fu, odd = u >> 4 & 0x0F0F0F0Fu;
        even = (even | even >> 4) & 0x00FF00FFu;
        odd = (odd | odd >> 4) & 0x00FF00FFu;
        u = ((even | even >> 8) & 0xFFFFu) | (odd | odd >> 8) << 16;
        memcpy(codes + 4 * i, &u, 4);
    }
}

/* Where a byte panel keeps the pair of row r. */
static uint32_t byte_slot(uint32_t r)
{
    return r % 16 / 4 * 16 + r / 16 * 8 + r % 4 * 2;
}

static void fill_bytes(const struct packed *p, const struct packed_source *src, uint8_t *panel)
{
    for (uint32_t r = 0; r < src->n_rows; r++) {
        const uint8_t *row = (const uint8_t *)src->codes + r * src->code_stride;
        uint8_t *to = panel + byte_slot(r);
        for (uint64_t i = 0; i < p->cols / 2; i++) memcpy(to + 64 * i, row + 2 * i, 2);
        if (p->cols % 2) to[64 * (p->cols / 2)] = row[p->cols - 1];
    }
}

static void fill_halves(const struct packed *p, const struct packed_source *src, uint8_t *panel)
{
    uint64_t width = p->code == CODE_F16 ? 1 : 2; /* columns side by side in a row of the panel */
    for (uint32_t r = 0; r < src->n_rows; r++) {
        const uint8_t *row = (const uint8_t *)src->codes + r * src->code_stride;
        for (uint64_t k = 0; k < p->cols; k++)
            memcpy(panel + 2 * (k / width * width * PANEL_ROWS + r * width + k % width), row + 2 * k, 2);
    }
}

static void fill_scales(const struct packed *p, const struct packed_source *src, uint8_t *to)
{
    uint32_t size = scale_bytes(p->scale);
    for (uint64_t g = 0; g < p->n_groups; g++)
        for (uint32_t r = 0; r < src->n_rows; r++)
            memcpy(to + (g * PANEL_ROWS + r) * size, (const uint8_t *)src->scales + r * src->scale_stride + g * size,
                   size);
    if (p->code != CODE_I4_ZERO) return;
    to += p->n_groups * PANEL_ROWS * size;
    for (uint64_t g = 0; g < p->n_groups; g++)
        for (uint32_t r = 0; r < src->n_rows; r++) to[g * PANEL_ROWS + r] = src->zeros[r * p->n_groups + g];
}

void packed_fill(const struct packed *p, const struct packed_source *src, uint8_t *panel)
{
    bool whole = src->n_rows == PANEL_ROWS && p->cols % 2 == 0, dwords = src->code_stride % 4 == 0;
    bool nibbles = p->code >= CODE_E2M1;
    uint64_t n_dwords = p->code == CODE_F32 ? p->cols : nibbles ? p->cols / 8 : p->cols / 2;
    if (!whole || p->scale != SCALE_NONE) memset(panel, 0, p->panel_bytes);
    /* Whatever four bytes of a row hold: the square transposition of gemm_pack moves bits only. */
    bool by_dword = p->code == CODE_F32 || nibbles || (p->code == CODE_BF16 && p->cols % 2 == 0 && dwords);
    if (by_dword) gemm_pack(src->codes, src->code_stride / 4, src->n_rows, n_dwords, (float *)(void *)panel);
    else if (p->code == CODE_BF16 || p->code == CODE_F16) fill_halves(p, src, panel);
    else fill_bytes(p, src, panel);
    if (nibbles) sort_nibbles(panel, n_dwords * PANEL_ROWS);
    if (p->scale != SCALE_NONE) fill_scales(p, src, panel + p->code_bytes);
}

void packed_fill_bf16(const struct packed *p, const float *rows, uint64_t ldw, uint32_t n_rows, uint8_t *panel)
{
    memset(panel, 0, p->panel_bytes);
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint64_t k = 0; k < p->cols; k++) {
            uint16_t h = bf16_encode(rows[r * ldw + k]);
            memcpy(panel + 2 * (k / 2 * 2 * PANEL_ROWS + r * 2 + k % 2), &h, 2);
        }
}

/* ---- meaning ---- */

void packed_scales(const struct packed *p, const uint8_t *panel, uint64_t g, float out[PANEL_ROWS])
{
    const uint8_t *s = panel + p->code_bytes + g * PANEL_ROWS * scale_bytes(p->scale);
    for (uint32_t r = 0; r < PANEL_ROWS; r++) switch (p->scale) {
        case SCALE_NONE: out[r] = 1.0f; break;
        case SCALE_F32: out[r] = element_f32(s, r); break;
        case SCALE_F16: out[r] = f16_decode(element_u16(s, r)); break;
        case SCALE_BF16: out[r] = bf16_decode(element_u16(s, r)); break;
        case SCALE_E4M3: out[r] = e4m3_decode(s[r]) * p->factor; break;
        case SCALE_E8M0: out[r] = e8m0_decode(s[r]); break;
        }
}

static void nibble_codes(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *out)
{
    float value[16];
    bool e2m1 = p->code == CODE_E2M1, zero = p->code == CODE_I4_ZERO;
    for (uint32_t c = 0; c < 16; c++)
        value[c] = e2m1 ? e2m1_decode((uint8_t)c) : zero || c < 8 ? (float)c : (float)c - 16.0f;
    float less[PANEL_ROWS] = {0};
    const uint8_t *zeros = panel + p->code_bytes + p->n_groups * PANEL_ROWS * scale_bytes(p->scale);
    for (uint32_t r = 0; zero && r < PANEL_ROWS; r++) less[r] = (float)zeros[first / p->group * PANEL_ROWS + r];
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *unit = panel + (first + i) / 8 * 4 * PANEL_ROWS;
        uint32_t column = (uint32_t)((first + i) % 8), shift = column / 2 * 4 + column % 2 * 16;
        for (uint32_t r = 0; r < PANEL_ROWS; r++) {
            uint32_t u;
            memcpy(&u, unit + 4 * r, 4);
            float v = value[u >> shift & 15u];
            out[i * PANEL_ROWS + r] = zero ? v - less[r] : v; /* -0 stays */
        }
    }
}

/* The type that most weights have: loops that a compiler turns into vectors. */
static void bf16_codes(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *out)
{
    for (uint64_t k = first; k < first + n; k++, out += PANEL_ROWS) {
        uint32_t u[PANEL_ROWS] = {0};
        if (k < p->cols) memcpy(u, panel + k / 2 * sizeof u, sizeof u);
        if (k % 2)
            for (uint32_t r = 0; r < PANEL_ROWS; r++) u[r] &= 0xFFFF0000u;
        else
            for (uint32_t r = 0; r < PANEL_ROWS; r++) u[r] <<= 16;
        memcpy(out, u, sizeof u);
    }
}

void packed_codes(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *out)
{
    if (p->code >= CODE_E2M1) {
        nibble_codes(p, panel, first, n, out);
        return;
    }
    if (p->code == CODE_BF16) {
        bf16_codes(p, panel, first, n, out);
        return;
    }
    float e4m3[256];
    for (uint32_t c = 0; p->code == CODE_E4M3 && c < 256; c++) e4m3[c] = e4m3_decode((uint8_t)c);
    for (uint64_t i = 0; i < n; i++, out += PANEL_ROWS) {
        uint64_t k = first + i, pair = k / 2, odd = k % 2;
        for (uint32_t r = 0; r < PANEL_ROWS; r++) {
            uint8_t byte = p->code == CODE_E4M3 || p->code == CODE_I8 ? panel[64 * pair + byte_slot(r) + odd] : 0;
            if (k >= p->cols) out[r] = 0;
            else if (p->code == CODE_F32) out[r] = element_f32(panel, k * PANEL_ROWS + r);
            else if (p->code == CODE_F16) out[r] = f16_decode(element_u16(panel, k * PANEL_ROWS + r));
            else if (p->code == CODE_E4M3) out[r] = e4m3[byte];
            else out[r] = (float)(int8_t)byte;
        }
    }
}
