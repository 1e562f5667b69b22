/* What the tests of backends/cpu/math share: arrays that end at a page nobody may touch, numbers of several kinds,
 * comparison of bits, and the lane sum in plain words. */
#ifndef TESTS_KERNELS_MATH_FENCE_H
#define TESTS_KERNELS_MATH_FENCE_H

#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"

#include <float.h>
#include <math.h>
#include <sys/mman.h>

#define FENCE_BITS 0x7fa5a5a5u     /* a signalling NaN that no arithmetic makes: what lies around an array */

struct fence { float *base; size_t size; };   /* size floats, then a page without access */

static inline struct fence fence_new(size_t floats)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (floats * sizeof(float) + page - 1) / page * page;
    uint8_t *p = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + bytes, page, PROT_NONE) != 0) fail_msg("cannot map %zu bytes", bytes);
    return (struct fence){(float *)(void *)p, bytes / sizeof(float)};
}

static inline void fence_free(struct fence *f)
{
    munmap(f->base, f->size * sizeof(float) + (size_t)sysconf(_SC_PAGESIZE));
}

/* n floats that end `slack` floats before the forbidden page: every n and slack is another alignment. The 64 floats before
 * and the slack behind are filled with FENCE_BITS. */
static inline float *fence_place(const struct fence *f, size_t n, size_t slack)
{
    if (n + slack + 64 > f->size) fail_msg("the fence holds %zu floats, %zu are wanted", f->size, n + slack + 64);
    float *p = f->base + f->size - n - slack;
    const uint32_t bits = FENCE_BITS;
    for (size_t i = 0; i < 64; i++) memcpy(p - 64 + i, &bits, sizeof bits);
    for (size_t i = 0; i < slack; i++) memcpy(p + n + i, &bits, sizeof bits);
    return p;
}

static inline uint32_t bits_of(const float *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

static inline void fence_check(const struct fence *f, const float *p, size_t n, const char *what)
{
    for (size_t i = 1; i <= 64; i++)
        if (bits_of(p - i) != FENCE_BITS) fail_msg("%s: wrote %zu floats before its output", what, i);
    for (const float *q = p + n; q < f->base + f->size; q++)
        if (bits_of(q) != FENCE_BITS) fail_msg("%s: wrote %zu floats behind its output of %zu", what, (size_t)(q - p) - n + 1, n);
}

/* Equal bits, or both a NaN. */
static inline bool same_float(float a, float b)
{
    return bits_of(&a) == bits_of(&b) || (isnan(a) && isnan(b));
}

static inline void check_floats(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!same_float(got[i], want[i]))
            fail_msg("%s: element %zu of %zu is %a (%08x), expected %a (%08x)", what, i, n, (double)got[i], bits_of(got + i),
                     (double)want[i], bits_of(want + i));
}

/* Kinds of numbers: near 1; any finite float; zeros, denormals, extremes, infinities among ordinary ones; the same with NaN. */
enum numbers { NUMBERS_PLAIN, NUMBERS_WILD, NUMBERS_SPECIAL, NUMBERS_NAN, NUMBERS_COUNT };

static inline float number(enum numbers kind, uint64_t *seed)
{
    static const float special[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 0x1p-127f, -0x1.8p-130f, FLT_MIN, -FLT_MIN, FLT_MAX, -FLT_MAX,
                                    INFINITY, -INFINITY, 1.0f, -1.0f, 88.5f, -88.5f, 89.0f, -104.0f, -103.5f, 1e-20f};
    uint64_t r = check_random(seed);
    if (kind == NUMBERS_NAN && r % 7 == 0) return r & 8 ? NAN : -NAN;
    if (kind >= NUMBERS_SPECIAL && r % 3 == 0) return special[(r >> 8) % (sizeof special / sizeof *special)];
    if (kind == NUMBERS_WILD) {
        uint32_t u = (uint32_t)r;
        if ((u & 0x7f800000u) == 0x7f800000u) u ^= 0x40000000u;
        float x;
        memcpy(&x, &u, sizeof x);
        return x;
    }
    return (float)((double)(r >> 40) * 0x1p-21 - 4.0);       /* -4 to 4, every bit of the fraction in use */
}

static inline void numbers_fill(float *p, size_t n, enum numbers kind, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) p[i] = number(kind, &seed);
}

/* kernel.h's isa_detected also obeys INGOT_ISA; here every table that the CPU can run is wanted. */
/* Asks the compiler's own words about the CPU, not the program's. */
#if defined(__x86_64__)
static inline bool table_runs(const struct math_ops *ops)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq");
    return (!(ops->isa & ISA_AVX2) || avx2) && (!(ops->isa & ISA_AVX512) || avx512);
}

static inline bool has_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
}
#else
static inline bool table_runs(const struct math_ops *ops)
{
    return ops->isa == 0;
}

static inline bool has_bf16(void)
{
    return false;
}
#endif

static const struct math_ops *ops;             /* the table under test */

/* Runs a check for each table. */
static inline void each_table(void (*check)(void))
{
    for (const struct math_ops *const *t = math_tables; *t; t++) {
        if (!table_runs(*t)) {
            print_message("skip table %s: this CPU lacks it\n", (*t)->name);
            continue;
        }
        ops = *t;
        check();
    }
}

/* ---- the header's words as loops -------------------------------------------------------------------------------- */

static inline float said_total(const float lane[16])
{
    float l[16];
    memcpy(l, lane, sizeof l);
    for (int step = 8; step >= 1; step /= 2)
        for (int j = 0; j < step; j++) l[j] = l[j] + l[j + step];
    return l[0];
}

static inline float said_dot(const float *x, const float *y, size_t n)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) {
        volatile float product = x[i] * y[i];
        lane[i % 16] = lane[i % 16] + product;
    }
    return said_total(lane);
}

static inline float one(void (*fn)(float *, const float *, uint64_t), float x)
{
    float y;
    fn(&y, &x, 1);
    return y;
}

#endif
