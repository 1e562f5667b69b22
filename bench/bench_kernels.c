/* Speed of every CPU kernel, one thread, data in the cache: GB/s of source bytes (decoders: of result bytes), the best
 * of many runs in the thread's own CPU time, and beside it the ratio to a memcpy of the bf16 source in the same moment.
 * usage: bench_kernels [PART OF A KERNEL'S NAME]; INGOT_ISA caps what is run. */
#include "backends/cpu/ggml_kernel.h"
#include "backends/cpu/kernel.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 16u
#define COLS 4096u /* 64 Ki elements: 128 KiB of bf16, with results inside a 1 MiB second-level cache */
#define ELEMENTS (ROWS * COLS)

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* what others do on this CPU counts less */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float bench_value(uint64_t *seed)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*seed >> 40) * 0x1p-24f - 0.5f;
    }
    return sum * 0.035f;
}

/* Seconds of one call: the fastest of 60 rounds of at least 1 ms. */
static double time_of(kernel_fn run, const struct kernel_args *a)
{
    double best = 1e9;
    uint64_t n = 1;
    for (int round = 0; round < 60;) {
        double start = now_s();
        for (uint64_t i = 0; i < n; i++) {
            if (run) run(a);
            else memcpy(a->dst_f32, a->src, ELEMENTS * 2);
            __asm__ volatile("" ::: "memory"); /* so that no copy is left out */
        }
        double s = now_s() - start;
        if (s < 0.001) {
            n *= 2;
            continue;
        }
        if (s / (double)n < best) best = s / (double)n;
        round++;
    }
    return best;
}

static bool reads_bytes(enum op op)
{
    return op == OP_DECODE_NVFP4 || op == OP_DECODE_FP8 || op == OP_DECODE_FP8_CHANNEL || op == OP_DECODE_FP8_BLOCK ||
           op == OP_DECODE_MXFP4 || op == OP_DECODE_MXFP8 || op == OP_DECODE_INT4 || op == OP_DECODE_INT4_ZERO ||
           op == OP_DECODE_Q8_0 || op == OP_DECODE_GGML;
}

static bool reads_f32(enum op op)
{
    return op == OP_INPUT_NVFP4 || op == OP_INPUT_FP8;
}

static int variants(enum op op)
{
    if (op == OP_ENCODE_GGML || op == OP_DECODE_GGML) return DTYPE_GGML_NVFP4 - DTYPE_Q8_0 + 1;
    return op == OP_ENCODE_FP8 ? 2 : 1;
}

int main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "";
    static float f32[ELEMENTS], result[ELEMENTS], block_amax[ELEMENTS / 16];
    static uint16_t bf16[ELEMENTS];
    static uint8_t bytes[ELEMENTS / 32 * 34], packed[ELEMENTS / 32 * 34], scales[ELEMENTS / 16];
    uint64_t seed = 1, isa = isa_detected();
    float g = 0;
    for (uint32_t i = 0; i < ELEMENTS; i++) {
        bf16[i] = bf16_encode(bench_value(&seed));
        f32[i] = bf16_decode(bf16[i]);
        g = f32_amax(g, f32[i]);
        bytes[i] = (uint8_t)(seed >> 33 & 0x7B);
        block_amax[i / 16] = f32_amax(i % 16 ? block_amax[i / 16] : 0, f32[i]);
    }
    for (uint32_t i = 0; i < ELEMENTS / 16; i++) scales[i] = (uint8_t)(0x30 + i % 32);
    struct kernel_args copy = {.src = bf16, .dst_f32 = result};
    printf("%-32s %8.2f GB/s\n", "memcpy, 128 KiB", ELEMENTS * 2 / time_of(NULL, &copy) * 1e-9);
    for (const struct kernel *k = kernels; k->run; k++) {
        if ((k->isa & ~isa) != 0 || !strstr(k->name, part)) continue;
        struct kernel_args a = {.n_rows = ROWS,
                                .n_cols = COLS,
                                .src = bf16,
                                .dtype = DTYPE_BF16,
                                .src_scale = scales,
                                .block_amax = block_amax,
                                .src_scale_f32 = block_amax,
                                .group = 128,
                                .amax = g,
                                .static_max = NVFP4_STATIC_MAX,
                                .dst = packed,
                                .dst_scale = scales,
                                .dst_f32 = result};
        bool fp8 = k->op == OP_ENCODE_FP8 || k->op == OP_DECODE_FP8 || k->op == OP_INPUT_FP8;
        a.scale = fp8 ? fp8_scale(g) : nvfp4_tensor_scale(g);
        if (reads_bytes(k->op)) a.src = bytes;
        if (reads_f32(k->op)) a.src = f32;
        double source_bytes = reads_bytes(k->op) || reads_f32(k->op) ? 4 : 2;
        for (int which = 0; which < variants(k->op); which++) {
            if (k->op == OP_ENCODE_FP8) a.rounding = (enum fp8_rounding)which;
            a.blocks = (enum dtype)(DTYPE_Q8_0 + which);
            if (k->op == OP_ENCODE_GGML && !ggml_encodes(a.blocks)) continue;
            double s = time_of(k->run, &a), copied = ELEMENTS * 2 / time_of(NULL, &copy);
            char name[64];
            bool ggml = k->op == OP_ENCODE_GGML || k->op == OP_DECODE_GGML;
            snprintf(name, sizeof name, "%s%s%s", k->name, ggml ? " " : which ? " (modelopt-cpu)" : "",
                     ggml ? dtype_name(a.blocks) : "");
            printf("%-32s %8.2f GB/s %10.1f M elements/s %8.4f of a copy\n", name, source_bytes * ELEMENTS / s * 1e-9,
                   ELEMENTS / s * 1e-6, source_bytes * ELEMENTS / s / copied);
        }
    }
    return 0;
}
