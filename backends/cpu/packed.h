/* Weight matrices as the matrix products read them: panels of 32 outputs, each a run of codes and then a run of scales,
 * in the number type that the file has, so that a matrix takes the memory that it takes on disk. The type is what a
 * code is and what a scale is; NVFP4, FP8, MXFP4, INT4, Q8_0 are combinations of the two:
 *
 *   value[row, k] = code * scale[row, k / group]          one fp32 product; E4M3 scales are first multiplied by
 * `factor`
 *
 * Codes of a panel stand in units of a few columns, in the order in which the kernels of gemm.h take them apart:
 *   F32, F16   [cols][32]
 *   BF16       [cols/2][32][2]: dword r holds columns 2i (low half) and 2i + 1 of row r
 *   bytes      [cols/2][4][2][4][2]: sixteen bytes hold rows 4l .. 4l + 3 and 16 + 4l .. 16 + 4l + 3, two columns each
 *   nibbles    [cols/8][32] dwords: the low half holds columns 0, 2, 4, 6 of row r from bit 0 up, the high half 1, 3,
 * 5, 7 An odd last column and rows beyond the matrix are filled with zeros. Scales: [groups][32], and behind them for
 * INT4 with zero points one byte each, [groups][32].
 *
 * Values that are not finite have no place here: callers refuse them before they pack. */
#ifndef BACKENDS_CPU_PACKED_H
#define BACKENDS_CPU_PACKED_H

#include "backends/cpu/math.h"
#include "backends/kernel_args.h"

#define PANEL_ROWS GEMM_PANEL

enum packed_code {
    CODE_F32,
    CODE_F16,
    CODE_BF16,
    CODE_E4M3,
    CODE_I8,     /* -128 .. 127 */
    CODE_E2M1,   /* nibbles from here on */
    CODE_I4,     /* -8 .. 7 */
    CODE_I4_ZERO /* 0 .. 15, less the zero point of the group, which is 0 .. 15 too */
};
enum packed_scale { SCALE_NONE, SCALE_F32, SCALE_F16, SCALE_BF16, SCALE_E4M3, SCALE_E8M0 };

/* One matrix's type and shape, and the sizes of its panels; no memory of its own. */
struct packed {
    enum packed_code code;
    enum packed_scale scale;
    uint64_t rows, cols;
    uint64_t group;                             /* columns that share a scale; cols when one scale serves a row */
    float factor;                               /* SCALE_E4M3: NVFP4's weight_scale_2 */
    uint64_t n_groups, code_bytes, panel_bytes; /* of one panel; multiples of 64 */
};

/* False when the shape does not fit the type: nibbles need groups (and rows) that are multiples of 8, bytes and BF16
 * groups an even number of columns. Without a scale `group` is not looked at. Sizes are computed unchecked: rows and
 * cols are those of a tensor that was found in a file, at most 2^48 elements. */
bool packed_shape(struct packed *p, enum packed_code code, enum packed_scale scale, uint64_t rows, uint64_t cols,
                  uint64_t group, float factor);
static inline uint64_t packed_panels(const struct packed *p)
{
    return (p->rows + PANEL_ROWS - 1) / PANEL_ROWS;
}
static inline uint64_t packed_bytes(const struct packed *p)
{
    return packed_panels(p) * p->panel_bytes;
}

/* What a panel is made from: up to 32 rows as the file has them, in the order of kernel_args.h (nibbles: element 2k in
 * the low half of byte k). */
struct packed_source {
    const void *codes;    /* row r at codes + r * code_stride (bytes) */
    const void *scales;   /* of the type of the scale, row r at scales + r * scale_stride (bytes, 0: one for all) */
    const uint8_t *zeros; /* CODE_I4_ZERO: [n_rows, n_groups] */
    uint64_t code_stride, scale_stride;
    uint32_t n_rows;
};
/* Fills one panel of p->panel_bytes at an address that is a multiple of 64. */
void packed_fill(const struct packed *p, const struct packed_source *src, uint8_t *panel);
/* Fills a panel of BF16 from fp32 rows, rounded to nearest, ties to even. */
void packed_fill_bf16(const struct packed *p, const float *rows, uint64_t ldw, uint32_t n_rows, uint8_t *panel);

/* ---- the meaning of a panel: plain loops, which the kernels of gemm.h must agree with ---- */

/* Scales of group g as fp32; 1 without scales. */
void packed_scales(const struct packed *p, const uint8_t *panel, uint64_t g, float out[PANEL_ROWS]);
/* Codes of columns first .. first + n as fp32, [n][32]: first is a multiple of 8, the run lies in one group. Zero
 * beyond cols. */
void packed_codes(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *out);

#endif
