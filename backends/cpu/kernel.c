#include "backends/cpu/kernel.h"

#include "backends/cpu/kernel_list.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define KERNEL(op, isa, fn) {#fn, op, isa, fn},
const struct kernel kernels[] = {
#include "backends/cpu/kernels.inc"
    {NULL, OP_COUNT, 0, NULL},
};
#undef KERNEL

static const char *const op_names[] = {
    [OP_WIDEN] = "widen",
    [OP_AMAX] = "amax",
    [OP_ENCODE_NVFP4] = "encode_nvfp4",
    [OP_ENCODE_NVFP4_STATIC] = "encode_nvfp4_static",
    [OP_SWEEP_NVFP4] = "sweep_nvfp4",
    [OP_ENCODE_FP8] = "encode_fp8",
    [OP_DECODE_NVFP4] = "decode_nvfp4",
    [OP_DECODE_FP8] = "decode_fp8",
    [OP_INPUT_NVFP4] = "input_nvfp4",
    [OP_INPUT_FP8] = "input_fp8",
    [OP_FOUR_SIX_NVFP4] = "four_six_nvfp4",
    [OP_ENCODE_FP8_CHANNEL] = "encode_fp8_channel",
    [OP_DECODE_FP8_CHANNEL] = "decode_fp8_channel",
    [OP_ENCODE_FP8_BLOCK] = "encode_fp8_block",
    [OP_DECODE_FP8_BLOCK] = "decode_fp8_block",
    [OP_ENCODE_MXFP4] = "encode_mxfp4",
    [OP_DECODE_MXFP4] = "decode_mxfp4",
    [OP_ENCODE_MXFP8] = "encode_mxfp8",
    [OP_DECODE_MXFP8] = "decode_mxfp8",
    [OP_ENCODE_INT4] = "encode_int4",
    [OP_DECODE_INT4] = "decode_int4",
    [OP_ENCODE_INT4_ZERO] = "encode_int4_zero",
    [OP_DECODE_INT4_ZERO] = "decode_int4_zero",
    [OP_ENCODE_Q8_0] = "encode_q8_0",
    [OP_DECODE_Q8_0] = "decode_q8_0",
    [OP_RANGE_NVFP4] = "range_nvfp4",
    [OP_ENCODE_GGML] = "encode_ggml",
    [OP_DECODE_GGML] = "decode_ggml",
};
_Static_assert(sizeof op_names / sizeof *op_names == OP_COUNT, "every operation has a name");

static const struct {
    const char *name;
    uint64_t isa;
} levels[] = {
    {"scalar", 0},
    {"avx2", ISA_AVX2},
    {"avx512", ISA_AVX2 | ISA_AVX512},
    {"avx512bf16", ISA_AVX2 | ISA_AVX512 | ISA_BF16},
    {"neon", ISA_NEON},
};

const char *op_name(enum op op)
{
    return op < OP_COUNT ? op_names[op] : "unknown";
}

bool isa_parse(const char *name, uint64_t *out)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i].name, name) != 0) continue;
        *out = levels[i].isa;
        return true;
    }
    return false;
}

/* The builtins ask CPUID and XGETBV, so a set counts only when the operating system saves its registers too. F16C uses
 * the registers of AVX2; clang 14 has no builtin word for it. */
static uint64_t isa_of_cpu(void)
{
    uint64_t isa = 0;
#if defined(__x86_64__)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c) isa |= ISA_AVX2;
    if (isa && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        isa |= ISA_AVX512;
    if (isa & ISA_AVX512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi"))
        isa |= ISA_BF16;
#elif defined(__aarch64__)
    isa |= ISA_NEON; /* part of the architecture */
#endif
    return isa;
}

uint64_t isa_detected(void)
{
    uint64_t isa = isa_of_cpu(), cap = 0;
    const char *name = getenv("INGOT_ISA");
    if (!name || !*name) return isa;
    return isa_parse(name, &cap) ? isa & cap : 0;
}

const char *isa_name(uint64_t isa)
{
    if (isa & ISA_NEON) return "neon";
    return isa & ISA_BF16 ? "avx512bf16" : isa & ISA_AVX512 ? "avx512" : isa & ISA_AVX2 ? "avx2" : "scalar";
}

kernel_fn kernel_for(enum op op, uint64_t isa)
{
    kernel_fn best = NULL;
    for (const struct kernel *k = kernels; k->run; k++)
        if (k->op == op && (k->isa & ~isa) == 0) best = k->run;
    return best;
}
