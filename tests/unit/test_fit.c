/* Expected values: the published constants and capacity tables of the models (recomputed by hand from their
 * config.json), and the block sizes that vLLM users report; none comes from the code under test. */
#include "tests/checks.h"

#include "pack/fit.h"

#include <math.h>

#define GIB 1073741824.0
#define MIB 1048576.0

/* Geometry from each model's config.json. */
static const struct {
    const char *name;
    struct fit_model m;
} models[] = {
    {"nano", {.n_attention = 6, .n_mamba = 23, .attention = {32, 2, 128}, .ssm = {64, 64, 128, 8, 4, 0, 0}}},
    {"super",
     {.n_attention = 8,
      .n_mamba = 40,
      .n_draft_attention = 1,
      .attention = {32, 2, 128},
      .ssm = {128, 64, 128, 8, 4, 0, 0}}},
    {"ultra",
     {.n_attention = 12,
      .n_mamba = 48,
      .n_draft_attention = 1,
      .attention = {64, 2, 128},
      .ssm = {256, 64, 128, 8, 4, 0, 0}}},
    {"nano4b", {.n_attention = 4, .n_mamba = 21, .attention = {40, 8, 128}, .ssm = {96, 80, 128, 8, 4, 0, 0}}},
    {"nano9b", {.n_attention = 4, .n_mamba = 27, .attention = {40, 8, 128}, .ssm = {128, 80, 128, 8, 4, 0, 0}}},
    {"nano12b", {.n_attention = 6, .n_mamba = 28, .attention = {40, 8, 128}, .ssm = {128, 80, 128, 8, 4, 0, 0}}},
};

static struct fit_model model(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0) return models[i].m;
    fail_msg("no model %s", name);
    return (struct fit_model){0};
}

static struct fit_request request(uint32_t tp, uint64_t context, uint64_t sequences)
{
    return (struct fit_request){.memory_bytes = (uint64_t)80 << 30,
                                .utilisation_permille = 900,
                                .overhead_bytes = FIT_OVERHEAD_BYTES,
                                .tp = tp,
                                .context = context,
                                .sequences = sequences,
                                .kv_bits_x2 = 16,
                                .ssm_bytes = 4,
                                .conv_bytes = 2};
}

static void check_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s: %.4f, expected %.4f within %.4f", what, got, want, tolerance);
}

static void test_constants(void **state)
{
    (void)state;
    /* bytes per token and MiB per sequence; thousands of FP8 tokens that one fp32 state is worth */
    static const struct {
        const char *name;
        uint64_t bf16, fp8, nvfp4;
        double ssm32, ssm16, conv, tokens;
    } rows[] = {
        {"nano", 6144, 3072, 1728, 46.0, 23.0, 0.8, 15.7},   {"super", 8192, 4096, 2304, 160, 80, 2.3, 41.0},
        {"ultra", 12288, 6144, 3456, 384, 192, 5.1, 65.5},   {"nano4b", 16384, 8192, 4608, 78.8, 39.4, 1.2, 10.1},
        {"nano9b", 16384, 8192, 4608, 135, 67.5, 1.9, 17.3}, {"nano12b", 24576, 12288, 6912, 140, 70, 2.0, 11.9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fit_model m = model(rows[i].name);
        struct fit_request r = request(1, 1, 1);
        const uint64_t want[3] = {rows[i].bf16, rows[i].fp8, rows[i].nvfp4};
        const uint32_t bits[3] = {32, 16, 9};
        struct fit f;
        for (int k = 0; k < 3; k++) {
            r.kv_bits_x2 = bits[k];
            CHECK_OK(fit_compute(&m, &r, &f, e_));
            assert_int_equal(f.kv_token_bytes, want[k]);
        }
        check_near((double)f.ssm_bytes / MIB, rows[i].ssm32, 0.05, rows[i].name);
        check_near((double)f.conv_bytes / MIB, rows[i].conv, 0.05, rows[i].name);
        check_near((double)f.ssm_bytes / (double)rows[i].fp8 / 1000, rows[i].tokens, 0.06, rows[i].name);
        r.ssm_bytes = 2;
        CHECK_OK(fit_compute(&m, &r, &f, e_));
        check_near((double)f.ssm_bytes / MIB, rows[i].ssm16, 0.05, rows[i].name);
    }
}

/* Capacity tables: weights per GPU are given with one decimal, so a budget is right within 0.1 GiB and a context
 * within what that buys. */
static void test_capacity(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double weights_gib, memory_gib;
        uint32_t permille, tp, kv_bits_x2;
        double budget_gib;
        uint64_t sequences;
        double context_k;
        double step_k; /* rounding of the printed figure */
    } rows[] = {
        {"super", 57.6, 79.6, 900, 4, 16, 10.1, 64, 62, 1},   {"super", 57.6, 79.6, 900, 4, 16, 10.1, 1, 5300, 60},
        {"super", 28.8, 79.6, 900, 8, 16, 38.9, 64, 308, 1},  {"super", 59.8, 79.6, 900, 2, 16, 7.9, 64, 23, 1},
        {"super", 14.9, 79.6, 900, 8, 16, 52.7, 64, 421, 1},  {"super", 119.5, 139.8, 900, 1, 16, 2.3, 1, 560, 10},
        {"super", 119.5, 139.8, 900, 1, 16, 2.3, 64, 0, 0},   {"super", 36.8, 79.6, 900, 2, 16, 30.8, 64, 211, 1},
        {"super", 73.6, 139.8, 900, 1, 16, 48.2, 64, 156, 1}, {"super", 73.6, 178, 900, 1, 16, 82.6, 64, 297, 1},
        {"super", 36.8, 178, 900, 2, 16, 119.4, 64, 937, 1},  {"super", 21.9, 178, 900, 1, 16, 134.3, 8, 4400, 50},
        {"super", 73.6, 119.7, 900, 1, 16, 30.1, 64, 82, 1},  {"super", 73.6, 95, 920, 1, 16, 9.8, 64, 0, 0},
        {"super", 73.6, 122, 800, 1, 16, 20.0, 64, 40, 1},    {"nano", 30.2, 79.6, 900, 1, 16, 37.4, 64, 188, 1},
        {"nano", 30.2, 44.5, 900, 1, 16, 5.8, 64, 16, 1},     {"nano", 58.8, 79.3, 900, 1, 32, 8.6, 64, 15, 1},
        {"nano", 18.2, 31.4, 900, 1, 16, 8.0, 64, 28, 1},     {"nano", 18.2, 119.7, 800, 1, 16, 73.5, 64, 386, 1},
        {"ultra", 81.9, 178, 900, 4, 16, 74.3, 64, 372, 1},   {"ultra", 41.0, 79.6, 900, 8, 16, 26.7, 64, 129, 1},
        {"ultra", 130.5, 178, 900, 8, 16, 25.7, 64, 124, 1},  {"ultra", 130.5, 139.8, 900, 8, 16, -8.7, 1, 0, 0},
        {"nano4b", 7.4, 22.0, 900, 1, 32, 10.4, 64, 6, 1},    {"nano9b", 16.6, 22.0, 950, 1, 32, 2.3, 64, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fit_model m = model(rows[i].name);
        struct fit_request r = request(rows[i].tp, 1024, rows[i].sequences);
        struct fit f;
        m.weight_bytes = (uint64_t)(rows[i].weights_gib * GIB);
        r.memory_bytes = (uint64_t)(rows[i].memory_gib * GIB);
        r.utilisation_permille = rows[i].permille;
        r.kv_bits_x2 = rows[i].kv_bits_x2;
        r.overhead_bytes = fit_overhead(r.memory_bytes);
        CHECK_OK(fit_compute(&m, &r, &f, e_));
        check_near((double)f.budget_bytes / GIB, rows[i].budget_gib, 0.1, rows[i].name);
        double slack = 0.05 * GIB / (double)(rows[i].sequences * f.kv_token_bytes) / 1000;
        if (rows[i].context_k == 0) assert_true(f.max_context == 0 && !f.fits);
        else check_near((double)f.max_context / 1000, rows[i].context_k, rows[i].step_k + slack, rows[i].name);
        if (rows[i].context_k >= 2) assert_true(f.fits);
    }
}

/* By hand. gpt-oss-20b (24 layers in turn, window 128, 8 kv heads of 64): 2 * 64 * 8 bytes of FP8 a token and layer = 1024.
 * A layer list like Super 49B's: 3 layers with 8 kv heads, 2 with 4, heads of 128, bf16: 4096 and 2048 a token. */
static void test_kinds(void **state)
{
    (void)state;
    struct fit_model m = {.n_attention = 24, .attention = {64, 8, 64}, .kinds = {{12, 8, 64, 0}, {12, 8, 64, 128}}, .n_kinds = 2};
    struct fit_request r = request(1, 100000, 3);
    struct fit f;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.kv_token_bytes, 24 * 1024);
    assert_int_equal(f.kv_sequence_bytes, 12 * 1024 * (100000 + 128));
    assert_int_equal(f.kv_bytes, 3ull * 12 * 1024 * (100000 + 128));
    uint64_t have = (uint64_t)f.budget_bytes / 3;
    assert_int_equal(f.max_context, (have - 12 * 1024 * 128) / (12 * 1024));
    assert_int_equal(f.max_sequences, (uint64_t)f.budget_bytes / (12 * 1024 * (100000 + 128)));
    r.context = 50; /* shorter than the window */
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.kv_sequence_bytes, 24 * 1024 * 50);
    r.memory_bytes = r.overhead_bytes + 24 * 1024 * 300;
    r.utilisation_permille = 1000;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.max_context, 100); /* 300 tokens for three, all below the window */
    m.kinds[0].window = 64;
    r.memory_bytes = (uint64_t)80 << 30;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_true(f.max_context == FIT_UNBOUNDED);

    m = (struct fit_model){.n_attention = 5, .attention = {64, 8, 128}, .kinds = {{3, 8, 128, 0}, {2, 4, 128, 0}}, .n_kinds = 2};
    r = request(1, 1000, 1);
    r.kv_bits_x2 = 32;
    r.block_tokens = 16;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.kv_token_bytes, 3 * 4096 + 2 * 2048);
    assert_int_equal(f.kv_sequence_bytes, 1000 * (3 * 4096 + 2 * 2048));
    assert_int_equal(f.blocks.per_sequence, 63);
    assert_int_equal(f.blocks.total, (uint64_t)f.budget_bytes / (16 * (3 * 4096 + 2 * 2048)));
    r.tp = 8; /* four heads on eight: one each */
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.kv_token_bytes, 5 * 512);
}

/* Sequences of 8192 tokens that Super holds on two B200, and on one Spark. */
static void test_drafts(void **state)
{
    (void)state;
    struct fit_model m = model("super");
    struct fit_request r = request(2, 8192, 1);
    struct fit f;
    m.weight_bytes = (uint64_t)(36.8 * GIB);
    r.memory_bytes = (uint64_t)178 << 30;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    check_near((double)f.max_sequences, 1258, 1, "no drafts");
    /* With five drafts the published 243 leaves the drafts' own convolution columns and attention layer out:
     * 6 slots of 80 MiB + 10240 / 2 channels * 8 columns * 2 bytes * 40 layers, and 9 layers of keys and values:
     * 128.2e9 / 541.85e6. */
    r.drafts = 5;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.slots, 6);
    assert_int_equal(f.ssm_bytes, 80 * 1048576);
    assert_int_equal(f.conv_bytes, 10240 / 2 * 8 * 2 * 40);
    assert_int_equal(f.kv_token_bytes, 2304);
    check_near((double)f.max_sequences, 236, 1, "five drafts");
    check_near((double)f.max_sequences, 243, 243 * 0.03, "five drafts, published");
    r.ssm_bytes = 2;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    check_near((double)f.max_sequences, 441, 1, "five drafts, half state"); /* 128.2e9 / 290.2e6 */
    check_near((double)f.max_sequences, 465, 465 * 0.06, "five drafts, half state, published");
    r = request(1, 8192, 1);
    r.memory_bytes = (uint64_t)(119.7 * GIB);
    m.weight_bytes = (uint64_t)(73.6 * GIB);
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    check_near((double)f.max_sequences, 159, 1, "Spark");
}

static void test_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t tp, drafts;
        uint64_t want;
    } rows[] = {
        {"super", 1, 0, 8320}, /* reported by users */
        {"super", 1, 2, 8400}, /* reported with two draft tokens */
        {"super", 8, 5, 2128}, /* the published 8-GPU profile drafts five */
        {"super", 8, 0, 2080}, /* 16 * ceil(531968 / (16 * 256)) */
        {"nano", 1, 0, 4176},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fit_model m = model(rows[i].name);
        struct fit_request r = request(rows[i].tp, 8192, 4);
        struct fit f;
        r.drafts = rows[i].drafts;
        r.block_tokens = 16;
        r.group_stretch_percent = 125;
        CHECK_OK(fit_compute(&m, &r, &f, e_));
        assert_int_equal(f.blocks.block_tokens, rows[i].want);
    }
}

/* vLLM's own arithmetic, done by hand: Super on one B200, no drafts. 40 state layers in 5 groups of 8, 8 attention
 * layers in one; a page is 8320 tokens of 512 bytes; 82.6 GiB hold floor(88691730841 / (8 * 4259840)) = 2602 blocks; a
 * sequence of 100000 tokens takes 5 + ceil(100000 / 8320) = 18. */
static void test_block_counts(void **state)
{
    (void)state;
    struct fit_model m = model("super");
    struct fit_request r = request(1, 100000, 64);
    struct fit f;
    m.weight_bytes = (uint64_t)(73.6 * GIB);
    r.memory_bytes = (uint64_t)178 << 30;
    r.block_tokens = 16;
    r.group_stretch_percent = 125;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_int_equal(f.blocks.page_bytes, 8320 * 512);
    assert_int_equal(f.blocks.group_layers, 8);
    assert_int_equal(f.blocks.n_state_groups, 5);
    assert_int_equal(f.blocks.n_attention_groups, 1);
    assert_int_equal(f.blocks.total, 2602);
    assert_int_equal(f.blocks.per_sequence, 18);
    assert_int_equal(f.blocks.max_sequences, 2601 / 18);
    assert_int_equal(f.blocks.max_context, (2601 / 64 - 5) * 8320);
    assert_true(f.fits && fit_max_sequences(&f) == 144 && fit_max_context(&f) == 35 * 8320);
    /* One block of the pool is never given out: 180 blocks hold 9 sequences of 18, not 10. */
    struct fit_model exact = m;
    exact.weight_bytes = f.allowed_bytes - r.overhead_bytes - 180 * (8 * (uint64_t)4259840);
    CHECK_OK(fit_compute(&exact, &r, &f, e_));
    assert_true(f.blocks.total == 180 && f.blocks.max_sequences == 9);
    r.sequences = 145; /* the formula would still take it, blocks do not */
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_true(f.max_sequences >= 145 && !f.fits);
    /* 12 and 13 layers are within a quarter: groups of 13; 8 and 10 are not (10 >= 1.25 * 8): groups of 8. */
    m = model("super");
    m.n_attention = 12;
    m.n_mamba = 13;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_true(f.blocks.group_layers == 13 && f.blocks.n_state_groups == 1 && f.blocks.n_attention_groups == 1);
    m.n_attention = 8;
    m.n_mamba = 10;
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_true(f.blocks.group_layers == 8 && f.blocks.n_state_groups == 2);
    r.group_stretch_percent = 150; /* later versions: 10 < 1.5 * 8 */
    CHECK_OK(fit_compute(&m, &r, &f, e_));
    assert_true(f.blocks.group_layers == 10 && f.blocks.n_state_groups == 1 && f.blocks.n_attention_groups == 1);
}

/* Without one kind of layer. */
static void test_one_kind(void **state)
{
    (void)state;
    struct fit_model dense = {.n_attention = 32, .attention = {32, 8, 128}},
                     pure = {.n_mamba = 64, .ssm = {80, 64, 128, 1, 4, 0, 0}};
    struct fit_request r = request(1, 8192, 16);
    struct fit f;
    r.block_tokens = 16;
    r.group_stretch_percent = 125;
    CHECK_OK(fit_compute(&dense, &r, &f, e_));
    assert_true(f.ssm_bytes == 0 && f.conv_bytes == 0 && f.state_bytes == 0 && f.fits);
    assert_int_equal(f.kv_token_bytes, 2 * 128 * 8 * 32);
    assert_int_equal(f.blocks.block_tokens, 16);
    assert_int_equal(f.blocks.per_sequence, 512);
    CHECK_OK(fit_compute(&pure, &r, &f, e_));
    assert_true(f.kv_token_bytes == 0 && fit_max_context(&f) == FIT_UNBOUNDED && f.fits && f.blocks.per_sequence == 1);
    /* One group of B and C is copied to every rank: 80*64/4 channels and 2*128 of the group, 3 columns, bf16. */
    r.tp = 4;
    CHECK_OK(fit_compute(&pure, &r, &f, e_));
    assert_int_equal(f.conv_bytes, (80 * 64 / 4 + 2 * 128) * 3 * 2 * 64);
    struct fit_model none = {0};
    CHECK_OK(fit_compute(&none, &r, &f, e_));
    assert_true(f.fits && fit_max_context(&f) == FIT_UNBOUNDED && fit_max_sequences(&f) == FIT_UNBOUNDED);
}

/* The formula and its two limits must agree: what is said to fit fits, one more does not. */
static void test_limits_agree(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; i < 2000; i++) {
        struct fit_model m = models[check_random(&seed) % (sizeof models / sizeof *models)].m;
        struct fit_request r =
            request(1u << check_random(&seed) % 4, 1 + check_random(&seed) % 500000, 1 + check_random(&seed) % 200);
        struct fit f, g;
        m.weight_bytes = check_random(&seed) % ((uint64_t)80 << 30);
        r.drafts = (uint32_t)(check_random(&seed) % 4);
        r.block_tokens = check_random(&seed) % 2 ? 16 : 0;
        r.group_stretch_percent = 125;
        CHECK_OK(fit_compute(&m, &r, &f, e_));
        assert_int_equal(f.fits, r.context <= fit_max_context(&f) && f.budget_bytes >= 0);
        assert_int_equal(f.fits, r.sequences <= fit_max_sequences(&f));
        struct fit_request more = r;
        more.context = fit_max_context(&f) + 1;
        CHECK_OK(fit_compute(&m, &more, &g, e_));
        assert_false(g.fits);
        if (fit_max_context(&f) == 0) continue;
        more.context = fit_max_context(&f);
        CHECK_OK(fit_compute(&m, &more, &g, e_));
        assert_true(g.fits);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    struct fit_model m = model("super");
    static const struct {
        uint32_t tp;
        uint64_t context, sequences;
        uint32_t drafts, permille;
        const char *why;
    } rows[] = {
        {0, 1, 1, 0, 900, "0 GPUs"},
        {5000, 1, 1, 0, 900, "5000 GPUs"},
        {1, 0, 1, 0, 900, "context of 0"},
        {1, 1, 0, 0, 900, "0 sequences"},
        {1, 1, 1, 65, 900, "65 draft tokens"},
        {1, 1, 1, 0, 0, "utilisation of 0"},
        {1, 1, 1, 0, 1001, "utilisation of 1001"},
        {1, FIT_CONTEXT_MAX + 1, 1, 0, 900, "context of 4294967297"},
        {1, 1, FIT_SEQUENCES_MAX + 1, 0, 900, "1048577 sequences"},
    };
    struct fit f;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fit_request r = request(rows[i].tp, rows[i].context, rows[i].sequences);
        r.drafts = rows[i].drafts;
        r.utilisation_permille = rows[i].permille;
        CHECK_FAILS(fit_compute(&m, &r, &f, e_), ERR_USAGE, rows[i].why);
    }
    struct fit_model huge = {.n_attention = 4096,
                             .n_mamba = 4096,
                             .attention = {1 << 24, 1 << 24, 1 << 24},
                             .ssm = {1 << 24, 1 << 24, 1 << 24, 1 << 24, 64, 0, 0}};
    struct fit_request r = request(1, FIT_CONTEXT_MAX, FIT_SEQUENCES_MAX);
    CHECK_FAILS(fit_compute(&huge, &r, &f, e_), ERR_USAGE, "64 bits");
    r = request(1, 1, 1);
    r.memory_bytes = UINT64_MAX;
    CHECK_FAILS(fit_compute(&m, &r, &f, e_), ERR_USAGE, "beyond what a machine has");
}

/* One Super-sized layer set on two and eight ranks, by hand. */
static void test_shares(void **state)
{
    (void)state;
    struct model_config c = {.attention = {32, 2, 128}, .ssm = {128, 64, 128, 8, 4, 0, 0}};
    c.dims[DIM_SSM_PROJ] = 2 * 8192 + 2 * 1024 + 128;
    c.dims[DIM_SSM_CONV] = 8192 + 2 * 1024;
    static const struct {
        enum tensor_role role;
        uint64_t bytes;
        uint64_t on2, on8;
    } rows[] = {
        {ROLE_EMBED, 131072, 65536, 16384},
        {ROLE_LM_HEAD, 131072, 65536, 16384},
        {ROLE_BLOCK_NORM, 8192, 8192, 8192},
        {ROLE_ATTN_Q, 4096 * 4096, 4096 * 2048, 4096 * 512},
        {ROLE_ATTN_O, 4096 * 4096, 4096 * 2048, 4096 * 512},
        {ROLE_ATTN_K, 256 * 4096, 128 * 4096, 128 * 4096},
        {ROLE_ATTN_V, 256 * 4096, 128 * 4096, 128 * 4096}, /* 2 heads: one each */
        {ROLE_ROUTER, 512 * 4096, 512 * 4096, 512 * 4096},
        {ROLE_ROUTER_BIAS, 2048, 2048, 2048},
        {ROLE_LATENT_IN, 4096 * 1024, 4096 * 1024, 4096 * 1024},
        {ROLE_LATENT_OUT, 4096 * 1024, 4096 * 1024, 4096 * 1024},
        {ROLE_EXPERT_UP, 2688 * 1024, 1344 * 1024, 336 * 1024},
        {ROLE_SHARED_DOWN, 5376 * 4096, 2688 * 4096, 672 * 4096},
        {ROLE_SSM_IN, 18560 * 4096, 9280 * 4096, 2320 * 4096},
        {ROLE_SSM_CONV, 10240 * 8, 5120 * 8, 1280 * 8},
        {ROLE_SSM_A_LOG, 512, 256, 64},
        {ROLE_SSM_OUT, 4096 * 8192, 4096 * 4096, 4096 * 1024},
        {ROLE_MTP_PROJ, 4096 * 8192, 4096 * 4096, 4096 * 1024},
        {ROLE_MTP_EMBED_NORM, 8192, 8192, 8192},
        {ROLE_SSM_PROJ_BIAS, 999, 999, 999},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(fit_rank_bytes(&c, rows[i].role, rows[i].bytes, 1), rows[i].bytes);
        assert_int_equal(fit_rank_bytes(&c, rows[i].role, rows[i].bytes, 2), rows[i].on2);
        assert_int_equal(fit_rank_bytes(&c, rows[i].role, rows[i].bytes, 8), rows[i].on8);
    }
    /* One group: every rank holds its B and C. */
    c.ssm.n_groups = 1;
    c.dims[DIM_SSM_CONV] = 8192 + 2 * 128;
    assert_int_equal(fit_rank_bytes(&c, ROLE_SSM_CONV, (8192 + 256) * 8, 4), (2048 + 256) * 8);
    struct block_config blocks[] = {{.kind = BLOCK_MAMBA2, .layer = 0},
                                    {.kind = BLOCK_MOE, .layer = 1},
                                    {.kind = BLOCK_ATTENTION, .layer = 2},
                                    {.kind = BLOCK_MAMBA2, .layer = 3}},
                        mtp[] = {{.kind = BLOCK_ATTENTION, .layer = 0, .mtp = true},
                                 {.kind = BLOCK_MOE, .layer = 1, .mtp = true}};
    c.blocks = blocks;
    c.n_blocks = 4;
    c.mtp_blocks = mtp;
    c.n_mtp_blocks = 2;
    struct fit_model m;
    fit_model_from(&c, &m);
    assert_true(m.n_mamba == 2 && m.n_attention == 1 && m.n_draft_attention == 1 && m.ssm.n_heads == 128 &&
                m.attention.n_kv_heads == 2);
}

/* DeepSeek-V3: 512 + 64 numbers per token in each of 61 layers, 70,272 bytes in bf16 (the figure in DeepSeek's own
 * "Insights into DeepSeek-V3", table 1: 70.272 KB), the same on every rank; 62 layers with drafts. */
static void test_latent(void **state)
{
    (void)state;
    struct block_config blocks[2 * 61], mtp[] = {{.kind = BLOCK_MLA, .mtp = true}, {.kind = BLOCK_MOE, .mtp = true}};
    struct model_config c = {.attention = {.n_heads = 128, .n_kv_heads = 1, .head_dim = 192},
                             .mla = {.q_rank = 1536, .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128},
                             .blocks = blocks,
                             .n_blocks = 2 * 61,
                             .mtp_blocks = mtp,
                             .n_mtp_blocks = 2};
    for (int i = 0; i < 2 * 61; i++) blocks[i] = (struct block_config){.kind = i % 2 ? BLOCK_MOE : BLOCK_MLA};
    struct fit_model m;
    fit_model_from(&c, &m);
    for (uint32_t tp = 1; tp <= 8; tp *= 8)
        for (uint32_t drafts = 0; drafts < 2; drafts++) {
            struct fit f;
            struct fit_request r = {.memory_bytes = (uint64_t)80 << 30,
                                    .utilisation_permille = 900,
                                    .tp = tp,
                                    .context = 4096,
                                    .sequences = 1,
                                    .drafts = drafts,
                                    .kv_bits_x2 = 32};
            CHECK_OK(fit_compute(&m, &r, &f, e_));
            assert_int_equal(f.kv_token_bytes, drafts ? 70272 / 61 * 62 : 70272);
        }
    assert_int_equal(fit_rank_bytes(&c, ROLE_MLA_KV_A, 576 * 7168, 8), 576 * 7168);
    assert_int_equal(fit_rank_bytes(&c, ROLE_MLA_Q_A, 1536 * 7168, 8), 1536 * 7168);
    assert_int_equal(fit_rank_bytes(&c, ROLE_MLA_Q_B, 24576 * 1536, 8), 3072 * 1536);
    assert_int_equal(fit_rank_bytes(&c, ROLE_MLA_KV_B, 32768 * 512, 8), 4096 * 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constants),    cmocka_unit_test(test_capacity),     cmocka_unit_test(test_kinds), cmocka_unit_test(test_drafts),
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_block_counts), cmocka_unit_test(test_one_kind),
        cmocka_unit_test(test_limits_agree), cmocka_unit_test(test_refuses),      cmocka_unit_test(test_shares),
        cmocka_unit_test(test_latent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
