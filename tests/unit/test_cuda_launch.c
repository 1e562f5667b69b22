/* The size of launches: never more than the device holds at once, never less than the work needs, no overflow. */
#include "tests/checks.h"

#include "backends/cuda/kernel_table.h"

static void test_grid(void **state)
{
    (void)state;
    static const struct {
        enum gpu_shape shape;
        uint64_t n_rows, n_cols;
        uint32_t n_sm, want;
    } cases[] = {
        {GPU_BLOCKS, 0, 16, 132, 0},
        {GPU_BLOCKS, 16, 0, 132, 0},
        {GPU_ROW_PARTS, 16, 0, 132, 0},
        {GPU_BLOCKS, 1, 1, 132, 1},
        {GPU_QUADS, 1, 1, 132, 1},
        {GPU_ROW_PARTS, 1, 1, 132, 1},
        {GPU_BLOCKS, 1, 4096, 132, 1}, /* 256 threads of 16 */
        {GPU_BLOCKS, 1, 4097, 132, 2}, /* and one for the rest */
        {GPU_BLOCKS, 1, 4111, 132, 2},
        {GPU_QUADS, 1, 1024, 132, 1}, /* 256 threads of 4 */
        {GPU_QUADS, 1, 1027, 132, 2},
        {GPU_ROW_PARTS, 8, 4096, 132, 1}, /* 8 warps in a block */
        {GPU_ROW_PARTS, 8, 4097, 132, 2}, /* two parts in each row */
        {GPU_ROW_PARTS, 9, 1, 132, 2},
        {GPU_BLOCKS_32, 1, 8192, 132, 1},
        {GPU_BLOCKS_32, 1, 8224, 132, 2},
        {GPU_ROWS, 256, 1000, 132, 1},
        {GPU_ROWS, 257, 0, 132, 2}, /* rows without columns have scales */
        {GPU_TILES, 1, 1, 132, 1},
        {GPU_TILES, 128 * 16, 128 * 16, 132, 1},
        {GPU_TILES, 128 * 16 + 1, 128 * 16, 132, 2},
        {GPU_TILES, 257, 0, 132, 0},
        {GPU_STRIPS, 16, 8 * 128, 132, 1}, /* 8 warps */
        {GPU_STRIPS, 17, 8 * 128, 132, 2},
        {GPU_STRIPS, 16, 8 * 128 + 1, 132, 2},
        {GPU_GROUPS, 1, 32 * 256, 132, 1},
        {GPU_GROUPS, 1, 32 * 257, 132, 2},
        {GPU_BLOCKS, 4096, 4096, 132, 4096}, /* 2^20 threads */
        {GPU_BLOCKS, 8192, 8192, 132, 4224}, /* full: 32 blocks for each of 132 */
        {GPU_BLOCKS, 4096, 4096, 1, 32},
        {GPU_QUADS, (uint64_t)1 << 40, 1, 132, 4224},
        {GPU_BLOCKS, 1, (uint64_t)1 << 40, 132, 4224},
        {GPU_ROW_PARTS, 1, (uint64_t)1 << 40, 132, 4224},
        {GPU_ROW_PARTS, (uint64_t)1 << 40, 1, 132, 4224}, /* 2^45 threads wanted */
        {GPU_QUADS, (uint64_t)1 << 40, 1, 0xFFFFFFFFu, 1u << 30},
        {GPU_ROW_PARTS, (uint64_t)1 << 40, 1, 0xFFFFFFFFu, 0x7FFFFFFFu}, /* the largest grid there is */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kernel_args a = {.n_rows = cases[i].n_rows, .n_cols = cases[i].n_cols, .group = 32};
        uint32_t grid = 77;
        assert_true(gpu_grid(cases[i].shape, &a, cases[i].n_sm, &grid));
        if (grid != cases[i].want) fail_msg("case %zu: grid %u, expected %u", i, grid, cases[i].want);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    static const uint64_t sizes[][2] = {{1, ((uint64_t)1 << 40) + 1},
                                        {((uint64_t)1 << 40) + 1, 1},
                                        {1 << 21, 1 << 20},
                                        {UINT64_MAX, UINT64_MAX},
                                        {UINT64_MAX, 2},
                                        {UINT64_MAX, 0},
                                        {2, UINT64_MAX},
                                        {(uint64_t)1 << 32, (uint64_t)1 << 32}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int shape = GPU_BLOCKS; shape <= GPU_GROUPS; shape++) {
            struct kernel_args a = {.n_rows = sizes[i][0], .n_cols = sizes[i][1], .group = 2};
            uint32_t grid = 77;
            assert_false(gpu_grid((enum gpu_shape)shape, &a, 132, &grid));
            assert_int_equal(grid, 77);
        }
}

static void test_rooms(void **state)
{
    (void)state;
    static const struct {
        enum gpu_room room;
        enum dtype dtype;
        uint64_t want; /* of 3 x 32 */
    } cases[] = {{ROOM_NONE, DTYPE_F32, 0},       {ROOM_DTYPE, DTYPE_F32, 384},    {ROOM_DTYPE, DTYPE_BF16, 192},
                 {ROOM_DTYPE, DTYPE_F16, 192},    {ROOM_F32, DTYPE_BF16, 384},     {ROOM_BYTE, DTYPE_F32, 96},
                 {ROOM_NIBBLE, DTYPE_F32, 48},    {ROOM_BYTE_16, DTYPE_F32, 6},    {ROOM_AMAX_16, DTYPE_F32, 24},
                 {ROOM_F32_ROW, DTYPE_F32, 12},   {ROOM_BYTE_32, DTYPE_F32, 3},    {ROOM_F32_TILE, DTYPE_F32, 4},
                 {ROOM_F32_GROUP, DTYPE_F32, 48}, {ROOM_BYTE_GROUP, DTYPE_F32, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(
            gpu_room_bytes(cases[i].room,
                           &(struct kernel_args){.n_rows = 3, .n_cols = 32, .dtype = cases[i].dtype, .group = 8}),
            cases[i].want);
    struct kernel_args large = {.n_rows = 1, .n_cols = GPU_ELEMENTS_MAX}; /* and no group: no division by it */
    assert_true(gpu_room_bytes(ROOM_F32, &large) == (uint64_t)1 << 42);
    assert_true(gpu_room_bytes(ROOM_F32_GROUP, &large) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grid), cmocka_unit_test(test_too_large),
                                       cmocka_unit_test(test_rooms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
