/* The list of CPU kernels that encode, decode and observe: one row per implementation.
 *
 * A kernel is a pure function of its arguments: no allocation, no threads, no state. Callers split tensors by rows and
 * run kernels from a pool. */
#ifndef BACKENDS_CPU_KERNEL_H
#define BACKENDS_CPU_KERNEL_H

#include "backends/kernel_args.h"

typedef void (*kernel_fn)(const struct kernel_args *a);

/* Instruction sets; a kernel needs all bits of `isa`. 0: plain C. AVX2 includes FMA and F16C; AVX512 means F, BW, VL,
 * DQ; BF16 means AVX512_BF16 and AVX512_VBMI. NEON: of 64-bit ARM. */
enum { ISA_AVX2 = 1u << 0, ISA_AVX512 = 1u << 1, ISA_BF16 = 1u << 2, ISA_NEON = 1u << 3 };

struct kernel {
    const char *name;
    enum op op;
    uint64_t isa;
    kernel_fn run;
};
extern const struct kernel kernels[]; /* backends/cpu/kernels.inc makes it; ends with run == NULL */

const char *op_name(enum op op);
/* The set that a name stands for, with all it builds on: "scalar", "avx2", "avx512", "avx512bf16", "neon"; false for
 * any other word. */
bool isa_parse(const char *name, uint64_t *out);
/* What this CPU and operating system have, capped by the environment variable INGOT_ISA (a word of isa_parse; an
 * unknown word caps to plain C, which gives the same bytes everywhere; cli/ may refuse it with a sentence). */
uint64_t isa_detected(void);
const char *isa_name(uint64_t isa); /* a word of isa_parse: the best bit of a set */
/* The fastest kernel for `op` that `isa` allows: the last row of that op in the list. Never NULL: a scalar one
 * exists. */
kernel_fn kernel_for(enum op op, uint64_t isa);

#endif
