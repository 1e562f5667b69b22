/* Matrices of more than 2^32 elements: every kernel writes what the scalar kernel writes for their last rows, or for
 * the end of their only row, and so counts in 64 bits. The arrays are address space, of which only the end is touched:
 * the launch is as large as the matrix, and only its last blocks run. */
#include "tests/cuda/emulate.h"

#include "backends/cpu/kernel.h"
#include "backends/cuda/kernel_table.h"

#include <sys/mman.h>

#define ROOMS 7u
#define LAST_BLOCKS 64u /* enough for the window by every shape of a launch */

enum array { SRC, SRC_SCALE, SRC_SCALE_F32, BLOCK_AMAX, DST, DST_SCALE, DST_F32 };

static int failures;
static uint64_t seed = 1;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static void points(struct kernel_args *a, uint8_t *const p[ROOMS])
{
    a->src = p[SRC], a->src_scale = p[SRC_SCALE], a->dst = p[DST], a->dst_scale = p[DST_SCALE];
    a->src_scale_f32 = (const float *)(const void *)p[SRC_SCALE_F32];
    a->block_amax = (const float *)(const void *)p[BLOCK_AMAX];
    a->dst_f32 = (float *)(void *)p[DST_F32];
}

/* Finite weights of both signs, or scales; codes take any byte. */
static void fill(uint8_t *p, uint64_t n, enum gpu_room room)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t r = random_bits();
        bool high = room == ROOM_DTYPE ? i % 2 == 1 : i % 4 == 3;
        bool bytes = room == ROOM_BYTE || room == ROOM_NIBBLE || room == ROOM_BYTE_16 || room == ROOM_BYTE_32 ||
                     room == ROOM_BYTE_GROUP;
        bool sign = room == ROOM_DTYPE || room == ROOM_F32;
        p[i] = (uint8_t)(bytes || !high ? r : ((r & 1u) + 0x3Bu) | (sign ? r & 0x80u : 0u));
    }
}

static bool run(const struct cuda_kernel *k, struct kernel_args whole, struct kernel_args window)
{
    const enum gpu_room rooms[ROOMS] = {k->src, k->src_scale, k->src_scale_f32, k->block_amax,
                                        k->dst, k->dst_scale, k->dst_f32};
    uint8_t *base[ROOMS], *end[ROOMS], *want[ROOMS] = {NULL};
    uint64_t bytes[ROOMS], part[ROOMS];
    bool same = true;
    for (uint32_t i = 0; i < ROOMS; i++) {
        bytes[i] = gpu_room_bytes(rooms[i], &whole), part[i] = gpu_room_bytes(rooms[i], &window);
        base[i] =
            mmap(NULL, bytes[i] + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base[i] == MAP_FAILED) return printf("skip cuda %s: no address space\n", k->name), true;
        end[i] = base[i] + (bytes[i] - part[i]);
        if (i < DST) fill(end[i], part[i], rooms[i]);
        else want[i] = calloc(part[i] + 1, 1);
    }
    uint8_t *scalar[ROOMS] = {end[0], end[1], end[2], end[3], want[4], want[5], want[6]};
    points(&window, scalar), points(&whole, base);
    kernel_for(k->op, 0)(&window);
    for (const struct cuda_kernel *pass = k; pass->op == k->op; pass++) {
        uint64_t n_blocks = gpu_div_up(gpu_threads_wanted(pass->shape, &whole), GPU_THREADS);
        emulate_blocks(pass->function, (uint32_t)n_blocks,
                       n_blocks > LAST_BLOCKS ? (uint32_t)n_blocks - LAST_BLOCKS : 0, &whole);
    }
    for (uint32_t i = DST; i < ROOMS; i++)
        if (memcmp(end[i], want[i], part[i]) != 0) same = false;
    for (uint32_t i = 0; i < ROOMS; i++) munmap(base[i], bytes[i] + 4096), free(want[i]);
    return same;
}

int main(void)
{
    static const uint64_t shapes[][4] = {{(1u << 20) + 3, 4096, 3, 4096}, {1, ((uint64_t)1 << 32) + 4096, 1, 4096}};
    int n_ops = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        const struct cuda_kernel *k = cuda_kernel_of((enum op)op);
        if (!k) continue; /* the CPU's alone: Q8_0, which no GPU engine loads */
        n_ops++;
        for (int s = 0; s < 2; s++) {
            struct kernel_args whole = {.n_rows = shapes[s][0],
                                        .n_cols = shapes[s][1],
                                        .dtype = DTYPE_BF16,
                                        .scale = 1e-3f,
                                        .amax = 0.02f,
                                        .static_max = 448,
                                        .range_start = 0.5f,
                                        .range_stop = 2.0f,
                                        .range_count = 4,
                                        .group = 128};
            struct kernel_args window = whole;
            window.n_rows = shapes[s][2], window.n_cols = shapes[s][3];
            if (run(k, whole, window)) continue;
            failures++;
            printf("FAIL cuda %s: the end of %llu x %llu is not the scalar kernel's\n", op_name(k->op),
                   (unsigned long long)whole.n_rows, (unsigned long long)whole.n_cols);
        }
    }
    if (!failures) printf("ok %d operations on more than 2^32 elements\n", n_ops);
    return failures != 0;
}
