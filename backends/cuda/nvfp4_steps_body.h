/* NVFP4 nibbles without dividing each element.
 *
 * nvfp4_code(w / e) asks on which side of seven midpoints t the rounded quotient lies. For t where a tie goes up (0.75,
 * 1.75, 3.5) that is fl(w / e) >= t, true exactly when |w| / e >= t - h with h half a unit below t; for the others
 * fl(w / e) > t, true exactly when |w| / e > t + h with h half a unit above t (t is even, so the tie at t + h stays).
 * Both t - h and t + h have 25 significant bits, so e times them has at least 25 and is no fp32 number: |w| is never
 * equal to it, and the answer is |w| >= T with T the next fp32 number above e * (t +- h). One fused operation that
 * rounds up gives T exactly. So seven thresholds per block replace sixteen divisions, and the bytes are the same
 * (tests/cuda/test_cuda_steps.c looks at both sides of the thresholds of 10^5 scales).
 *
 * The sign is that of the rounded quotient, which is zero up to |w| / e = 2^-150. */
struct nvfp4_steps {
    float at[7]; /* |w| from at[k] on has code k + 1 or more */
    float zero;  /* |w| up to it has no sign */
};

/* For e from 2^-90, where e * h is exact, to 2^100. */
GPU_FN struct nvfp4_steps nvfp4_steps_of(float e)
{
    struct nvfp4_steps s;
    s.at[0] = gpu_fma_up(e, 0.25f, e * 0x1p-26f);
    s.at[1] = gpu_fma_up(e, 0.75f, e * -0x1p-25f);
    s.at[2] = gpu_fma_up(e, 1.25f, e * 0x1p-24f);
    s.at[3] = gpu_fma_up(e, 1.75f, e * -0x1p-24f);
    s.at[4] = gpu_fma_up(e, 2.5f, e * 0x1p-23f);
    s.at[5] = gpu_fma_up(e, 3.5f, e * -0x1p-23f);
    s.at[6] = gpu_fma_up(e, 5.0f, e * 0x1p-22f);
    s.zero = gpu_mul_down(gpu_mul_down(e, 0x1p-75f), 0x1p-75f);
    return s;
}

/* A search in three steps; a NaN is below nothing and becomes 7. */
GPU_FN uint32_t nvfp4_code_by(const struct nvfp4_steps *s, float w)
{
    float a = f32_abs(w);
    bool four = !(a < s->at[3]);
    bool two = !(a < (four ? s->at[5] : s->at[1]));
    bool one = !(a < (four ? (two ? s->at[6] : s->at[4]) : (two ? s->at[2] : s->at[0])));
    return (four ? 4u : 0u) + (two ? 2u : 0u) + (one ? 1u : 0u) + (w < -s->zero ? 8u : 0u);
}

/* ---- two 16-bit elements at once ----
 *
 * Magnitudes of bf16 and f16 are 15-bit integers in the order of their values, so |w| >= T says the same as |w| >= the
 * smallest 16-bit number that is not below T, and one subtraction compares both halves of a word: with their top bits
 * set neither borrows from the other, and the top bit of the difference is the answer. Since the thresholds rise, the
 * seven answers are 1s and then 0s: code bit 2 is the fourth, bit 1 the second, fourth and sixth added without carry,
 * bit 0 all seven. That is 10 integer operations an element in place of 20 of which half compare and select. */
#define PAIR_TOPS 0x80008000u

struct nvfp4_pairs {
    uint32_t at[7], sign; /* a threshold in both halves; from `sign` on a negative magnitude has a sign */
};

/* The smallest magnitude of the type that is not below t, or above it; t is not negative, and below infinity. */
GPU_FN uint32_t pair_threshold(float t, enum dtype dtype, bool above)
{
    uint32_t h;
    if (dtype == DTYPE_BF16) {
        uint32_t up = f32_bits(t) + (above ? 0x10000u : 0xFFFFu);
        return (up & 0xFFFF0000u) | up >> 16;
    }
    h = f16_encode(t);
    if (above ? f16_decode((uint16_t)h) <= t : f16_decode((uint16_t)h) < t) h++;
    return h << 16 | h;
}

GPU_FN struct nvfp4_pairs nvfp4_pairs_of(float e, enum dtype dtype)
{
    const struct nvfp4_steps s = nvfp4_steps_of(e);
    struct nvfp4_pairs p;
    GPU_UNROLL(7)
    for (int k = 0; k < 7; k++) p.at[k] = pair_threshold(s.at[k], dtype, false);
    p.sign = pair_threshold(s.zero, dtype, true);
    return p;
}

/* Codes of both halves, in bits 12..15 and 28..31; neither is a NaN. */
GPU_FN uint32_t nvfp4_codes_by(const struct nvfp4_pairs *p, uint32_t v)
{
    uint32_t u = v | PAIR_TOPS, four = u - p->at[3];
    uint32_t two = (u - p->at[1]) ^ four ^ (u - p->at[5]);
    uint32_t one = two ^ (u - p->at[0]) ^ (u - p->at[2]) ^ (u - p->at[4]) ^ (u - p->at[6]);
    uint32_t sign = v & (u - p->sign) & PAIR_TOPS;
    return sign | (four >> 1 & PAIR_TOPS >> 1) | (two >> 2 & PAIR_TOPS >> 2) | (one >> 3 & PAIR_TOPS >> 3);
}

/* Eight codes of four such words, the first in the lowest nibble. */
GPU_FN uint32_t nvfp4_codes_pack(const uint32_t x[4])
{
    uint32_t a = gpu_bytes(x[0], x[1], 0x7351u), b = gpu_bytes(x[2], x[3], 0x7351u); /* their bytes 1, then 3 */
    uint32_t first = gpu_bytes(a, b, 0x5410u), second = gpu_bytes(a, b, 0x7632u);
    return (first >> 4 & 0x0F0F0F0Fu) | (second & 0xF0F0F0F0u);
}
