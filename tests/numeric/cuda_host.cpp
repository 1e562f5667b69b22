/* Our conversions against the host functions of NVIDIA's own headers (cuda_fp8, cuda_fp4, cuda_fp16, cuda_bf16): all
 * codes, all 65,536 bf16 and f16 inputs, and 2 * 10^7 fp32 patterns. These headers emulate the hardware instructions,
 * so agreement here says that a device path with cvt instructions may give the same bytes.
 *
 * Documented exceptions (docs/numerics.md): which NaN a decoder gives (any NaN is accepted for a NaN), and the sign of
 * -0 in nvfp4_code, which is 0 where the conversion gives 8.
 *
 * usage: cuda_host [all]; all: the two conversions that kernels leave to instructions (E4M3, E2M1), all 2^32 inputs. */
#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e5m2.h"
#include "numeric/e8m0.h"
#include "numeric/half.h"
#include "numeric/nvfp4.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp8.h>

#include <cstdio>
#include <cstring>

static int failures;

static void check_code(const char *what, uint32_t x, unsigned got, unsigned want)
{
    if (got != want && failures++ < 20) printf("FAIL %s of %08x: %#x, CUDA gives %#x\n", what, x, got, want);
}

static void check_value(const char *what, unsigned code, float got, float want)
{
    bool same = f32_bits(got) == f32_bits(want) || (f32_is_nan(got) && f32_is_nan(want));
    if (!same && failures++ < 20)
        printf("FAIL %s code %#x: %08x, CUDA gives %08x\n", what, code, f32_bits(got), f32_bits(want));
}

static float half_value(__half_raw h)
{
    return __half2float(__half(h));
}

static float bf16_value(__nv_bfloat16_raw h)
{
    return __bfloat162float(__nv_bfloat16(h));
}

static void check_encoders(uint32_t u)
{
    float x = f32_from_bits(u);
    check_code("e4m3", u, e4m3_encode(x), __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3));
    check_code("e5m2", u, e5m2_encode(x), __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2));
    unsigned fp4 = __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest);
    check_code("e2m1", u, e2m1_encode(x), fp4);
    check_code("nvfp4", u, nvfp4_code(x), u == F32_SIGN_BIT ? 0u : fp4);
    check_code("e8m0 down", u, e8m0_encode_down(x), __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundZero));
    check_code("e8m0 up", u, e8m0_encode_up(x), __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundPosInf));
    check_code("e8m0 nearest", u, e8m0_encode_nearest(x), __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundNearest));
    check_code("bf16", u, bf16_encode(x), __nv_bfloat16_raw(__float2bfloat16_rn(x)).x);
    check_code("f16", u, f16_encode(x), __half_raw(__float2half_rn(x)).x);
}

static void check_decoders(void)
{
    for (unsigned c = 0; c < 65536; c++) {
        __half_raw h;
        __nv_bfloat16_raw b;
        h.x = b.x = (unsigned short)c;
        check_value("f16", c, f16_decode((uint16_t)c), half_value(h));
        check_value("bf16", c, bf16_decode((uint16_t)c), bf16_value(b));
        if (c > 255) continue;
        check_value("e4m3", c, e4m3_decode((uint8_t)c), half_value(__nv_cvt_fp8_to_halfraw((uint8_t)c, __NV_E4M3)));
        check_value("e5m2", c, e5m2_decode((uint8_t)c), half_value(__nv_cvt_fp8_to_halfraw((uint8_t)c, __NV_E5M2)));
        check_value("e8m0", c, e8m0_decode((uint8_t)c), bf16_value(__nv_cvt_e8m0_to_bf16raw((__nv_fp8_storage_t)c)));
        if (c < 16)
            check_value("e2m1", c, e2m1_decode((uint8_t)c), half_value(__nv_cvt_fp4_to_halfraw((uint8_t)c, __NV_E2M1)));
    }
}

/* Packing: NVIDIA's pair conversion puts the first of two values into the low nibble, as we do with the even column. */
static void check_pairs(void)
{
    for (unsigned i = 0; i < 256; i++) {
        float w[16] = {0};
        uint8_t packed[8];
        w[0] = e2m1_decode((uint8_t)i), w[1] = e2m1_decode((uint8_t)(i >> 4));
        nvfp4_pack_block(w, E4M3_ONE, 1.0f, packed);
        float2 pair;
        pair.x = w[0] + 0.0f, pair.y = w[1] + 0.0f;     /* + 0 clears the sign of -0, as a device path must */
        check_code("pair", i, packed[0], __nv_cvt_float2_to_fp4x2(pair, __NV_E2M1, cudaRoundNearest));
    }
}

static int check_all(void)
{
    uint32_t u = 0;
    do {
        float x = f32_from_bits(u);
        check_code("e4m3", u, e4m3_encode(x), __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3));
        check_code("e2m1", u, e2m1_encode(x), __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest));
    } while (++u != 0);
    if (failures) printf("FAIL %d differences from CUDA's host conversions\n", failures);
    else printf("ok E4M3 and E2M1 agree with CUDA's host functions for all 2^32 inputs\n");
    return failures != 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "all") == 0) return check_all();
    check_decoders();
    check_pairs();
    for (uint32_t h = 0; h < 65536; h++) {
        check_encoders(h << 16);
        check_encoders(f32_bits(f16_decode((uint16_t)h)));
    }
    uint64_t state = 1, n = 20000000;
    for (uint64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t u = (uint32_t)(state >> 32);
        /* every other one with an exponent where the small types have codes, every eighth at a midpoint or beside it */
        if (i % 2) u = (u & 0x807FFFFFu) | (uint32_t)(95u + (state >> 20) % 50u) << 23;
        if (i % 8 == 1) u = (u & 0xFFF80000u) + (uint32_t)((state >> 8) % 3u) - 1u;
        check_encoders(u);
    }
    if (failures) printf("FAIL %d differences from CUDA's host conversions\n", failures);
    else printf("ok conversions agree with CUDA's host functions: all codes, all bf16 and f16, %llu fp32 patterns\n",
                (unsigned long long)n);
    return failures != 0;
}
