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
