/* quantize on lanes: whatever the backend, its devices, their speed, the piece, the threads, the output is the same
 * bytes; whatever fails, nothing is left. The devices are tests/fake_backend.h. */
#include "tests/fake_backend.h"
#include "tests/tiny_model.h"

#include "plan/workspace.h"
#include "quantize/quantize.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

/* Every format, the search, a fused group that is not all in one place, and tensors that are carried. */
static const char recipe_text[] =
    "name: t\nfp8_rounding: modelopt-cpu\nkv_cache: fp8_cast\nrules:\n"
    "  - {role: routed_experts, weights: nvfp4, inputs: {type: nvfp4, amax: 2688}, scales: mse}\n"
    "  - {role: [shared_experts, mlp], weights: nvfp4, inputs: none}\n"
    "  - {role: [attn_q, attn_k, attn_v], weights: nvfp4, inputs: none}\n"
    "  - {role: [ssm_in, attn_o], weights: fp8, inputs: {type: fp8, amax: 448}}\n";

/* As TINY_CONFIG with rows of 1 to 2 KiB and tables of 4 MiB. */
static const char wide_config[] =
    "{\"architectures\":[\"NemotronHForCausalLM\"],\"model_type\":\"nemotron_h\",\"hidden_size\":512,\"vocab_size\":4096,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,\"intermediate_size\":1040,"
    "\"mamba_num_heads\":4,\"mamba_head_dim\":8,\"ssm_state_size\":16,\"n_groups\":2,\"conv_kernel\":4,"
    "\"n_routed_experts\":4,\"num_experts_per_tok\":2,\"n_shared_experts\":1,\"moe_intermediate_size\":16,"
    "\"moe_shared_expert_intermediate_size\":32,\"moe_latent_size\":16,\"n_group\":1,\"topk_group\":1,"
    "\"norm_topk_prob\":true,\"routed_scaling_factor\":2.5,\"layer_norm_epsilon\":1e-05,"
    "\"mlp_hidden_act\":\"relu2\",\"tie_word_embeddings\":false,\"time_step_limit\":[0.0,Infinity],"
    "\"hybrid_override_pattern\":\"ME*-\"}";

static char folder[64], source[96], out[96];
static struct model model;
static struct recipe *recipe;
static struct plan *plan;

static void make_model(const char *config, struct tiny_edit edit)
{
    char path[128];
    assert_int_equal(mkdir(source, 0777), 0);
    tiny_model_write(source, config, edit);
    snprintf(path, sizeof path, "%s/r.yaml", folder);
    CHECK_OK(file_save(path, bytes_text(recipe_text), 0666, e_));
    CHECK_OK(recipe_load(&recipe, path, e_));
    CHECK_OK(model_open(&model, source, e_));
    CHECK_OK(plan_build(&plan, model.inventory, recipe, e_));
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, check_folder());
    snprintf(source, sizeof source, "%s/model", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    fake = (struct fake){.n_devices = 1, .lacks = OP_COUNT};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    plan_free(take_ptr(&plan));
    recipe_free(take_ptr(&recipe));
    model_close(&model);
    check_folder_remove(folder);
    return 0;
}

/* Names and digests of all files of a folder, as one digest. */
static struct digest tree(const char *path)
{
    struct digest sum = {{0}}, d;
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    assert_true(n > 2);
    for (int i = 0; i < n; i++) {
        CLEANUP_BUFFER struct buffer data = {0};
        char file[512];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            CHECK_OK(file_load(AT_FDCWD, file, (size_t)1 << 30, &data, e_));
            CHECK_OK(sha256_of(buffer_view(&data), &d, e_));
            for (size_t k = 0; k < DIGEST_BYTES; k++) sum.bytes[k] = (uint8_t)(sum.bytes[k] * 31 + d.bytes[k]);
            for (const char *c = names[i]->d_name; *c; c++) sum.bytes[0] = (uint8_t)(sum.bytes[0] * 31 + *c);
        }
        free(names[i]);
    }
    free(names);
    return sum;
}

static bool exists(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void check_nothing_left(void)
{
    assert_false(exists("out"));
    assert_false(exists(".out.ingot-partial"));
}

static void check_fake_behaved(void)
{
    if (fake.breaches) fail_msg("%u breaches of backend.h, one is: %s", fake.breaches, fake.breach);
    assert_int_equal(fake.open_lanes, 0);
    assert_int_equal(fake.open_devices, 0);
}

static struct quantize_options options(bool on_fake, uint64_t piece, uint64_t hold)
{
    struct quantize_options o = {.isa = isa_detected(),
                                 .shard_bytes = SHARD_BYTES_DEFAULT,
                                 .piece_bytes = piece,
                                 .hold_bytes = hold};
    if (on_fake) o.backend = (struct backend_choice){.ops = &backend_fake, .n = fake.n_devices};
    return o;
}

static bool quantize(const struct quantize_options *o, struct quantize_result *r, struct error *err)
{
    return quantize_run(plan, &model, NULL, out, o, r, NULL, err);
}

/* Runs, and takes the output away. */
static struct digest result_of(const struct quantize_options *o, struct quantize_result *r)
{
    CHECK_OK(quantize(o, r, e_));
    struct digest d = tree(out);
    check_folder_remove(out);
    assert_false(exists(".out.ingot-partial"));
    return d;
}

static struct digest want_of(void)
{
    struct quantize_options o = options(false, 0, 0);
    struct quantize_result r;
    struct digest d = result_of(&o, &r);
    assert_string_equal(r.backend, "cpu");
    assert_string_equal(r.device, isa_name(isa_detected()));
    assert_int_equal(r.n_devices, 1);
    assert_true(r.n_quantized > 10 && r.n_copied > 10 && r.read_bytes >= plan->read_bytes);
    return d;
}

static const uint64_t pieces[] = {0, 4096, 1000, 64};

static void test_cpu(void **state)
{
    (void)state;
    make_model(TINY_CONFIG, (struct tiny_edit){.zero = "backbone.layers.3.mixer.up_proj.weight", .shard_bytes = 20000});
    struct digest want = want_of();
    for (uint32_t threads = 1; threads <= 9; threads += 8)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
            for (uint64_t hold = 0; hold <= 1000; hold += 1000) {
                struct quantize_options o = options(false, pieces[p], hold);
                struct quantize_result r;
                CHECK_OK(pool_open(&o.pool, threads, e_));
                struct digest d = result_of(&o, &r);
                pool_close(o.pool);
                check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output");
                assert_int_equal(r.n_zero, 1);
            }
}

static void test_devices(void **state)
{
    (void)state;
    make_model(TINY_CONFIG, (struct tiny_edit){.zero = "backbone.layers.3.mixer.up_proj.weight"});
    struct digest want = want_of();
    static const uint32_t delays[] = {0, 300};
    for (uint32_t n = 1; n <= 4; n++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
            for (size_t k = 0; k < 2; k++) {
                fake = (struct fake){.n_devices = n, .lacks = OP_COUNT, .delay_us = delays[k]};
                struct quantize_options o = options(true, pieces[p], k ? 1500 : 0);
                struct quantize_result r;
                CHECK_OK(pool_open(&o.pool, 4, e_));
                struct digest d = result_of(&o, &r);
                pool_close(o.pool);
                check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output");
                check_fake_behaved();
                assert_string_equal(r.backend, "fake");
                assert_string_equal(r.device, "fake 0");
                assert_true(r.n_devices >= 1 && r.n_devices <= n);
                if (pieces[p] == 64 && !k) assert_int_equal(r.n_devices, n);
                for (uint32_t i = 0; i < r.n_devices; i++) assert_true(fake.used[i] > 0);
                assert_int_equal(fake.submits, fake.waits);
            }
}

static struct digest weights_of(const char *path)
{
    CLEANUP_BUFFER struct buffer data = {0};
    char file[256];
    struct digest d;
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    CHECK_OK(file_load(AT_FDCWD, file, (size_t)1 << 30, &data, e_));
    CHECK_OK(sha256_of(buffer_view(&data), &d, e_));
    return d;
}

/* With the scales of its own result the same weights come out, whatever computes the maxima; codes are made on the CPU. */
static void test_given_scales(void **state)
{
    (void)state;
    char ref[80];
    struct quantize_options o = options(false, 0, 0);
    struct quantize_result r;
    make_model(TINY_CONFIG, (struct tiny_edit){.zero = "backbone.layers.3.mixer.up_proj.weight"});
    snprintf(ref, sizeof ref, "%s/ref", folder);
    CHECK_OK(quantize(&o, &r, e_));
    assert_int_equal(rename(out, ref), 0);
    struct digest want = weights_of(ref);
    uint64_t clipped = 0;
    for (uint32_t n = 0; n <= 3; n++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            fake = (struct fake){.n_devices = n ? n : 1, .lacks = OP_COUNT};
            o = options(n > 0, pieces[p], 0);
            o.scales_from = ref;
            CHECK_OK(pool_open(&o.pool, 1 + n, e_));
            CHECK_OK(quantize(&o, &r, e_));
            pool_close(o.pool);
            struct digest d = weights_of(out);
            check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the weights");
            if (n == 0 && p == 0) clipped = r.n_clipped; /* the sweep clips a few on purpose */
            assert_int_equal(r.n_clipped, clipped);
            assert_true(r.n_clipped < 20);
            if (n) check_fake_behaved();
            check_folder_remove(out);
        }
    check_folder_remove(ref);
}

/* What waits in its lanes for the maximum is neither read nor uploaded twice; what does not fit is. */
static void test_read_once(void **state)
{
    (void)state;
    struct quantize_result held, twice;
    make_model(TINY_CONFIG, (struct tiny_edit){0});
    struct quantize_options o = options(true, 512, 0);
    result_of(&o, &held);
    uint32_t submits = fake.submits, uploads = fake.uploads;
    /* only k and v, whose maximum q had to know, and each piece of the others was submitted twice */
    uint64_t again = 0;
    for (uint32_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].action == ACTION_QUANTIZE &&
            (plan->items[i].tensor->place.role == ROLE_ATTN_K || plan->items[i].tensor->place.role == ROLE_ATTN_V))
            again += plan->items[i].tensor->n_elems * 2;
    assert_true(again > 0);
    assert_int_equal(held.read_bytes, plan->read_bytes + again);
    assert_true(uploads < submits * 6 / 10);
    fake.submits = fake.uploads = 0;
    o = options(true, 512, 1);
    result_of(&o, &twice);
    assert_true(twice.read_bytes > held.read_bytes && fake.uploads > uploads);
    check_fake_behaved();
}

/* Rows that are longer than a piece, and devices that are out of memory until pieces are small. */
static void test_wide(void **state)
{
    (void)state;
    make_model(wide_config, (struct tiny_edit){.shapes = wide_config});
    struct digest want = want_of();
    struct quantize_options o = options(false, 512, 3000);
    struct quantize_result r;
    struct digest d = result_of(&o, &r);
    check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output, rows in parts");
    static const uint64_t room[] = {4 << 20, 3 << 20, 2 << 20, 1 << 20};
    for (size_t i = 0; i < sizeof room / sizeof *room; i++) {
        fake = (struct fake){.n_devices = 2, .lacks = OP_COUNT, .lane_src_max = room[i]};
        o = options(true, 0, 0);
        d = result_of(&o, &r);
        check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output, small pieces");
        check_fake_behaved();
        assert_int_equal(r.piece_bytes, i == 0 ? 4 << 20 : i == 3 ? 1 << 20 : 2 << 20);
    }
    fake = (struct fake){.n_devices = 2, .lacks = OP_COUNT, .lane_src_max = (1 << 20) - 1};
    CHECK_FAILS(quantize(&o, &r, e_), ERR_DEVICE, "a lane needs 1048576 bytes, 1048575 are free");
    check_fake_behaved();
    check_nothing_left();
    o.backend.is_auto = true; /* nobody insists on it */
    d = result_of(&o, &r);
    check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output, on the CPU after all");
    check_fake_behaved();
    assert_string_equal(r.backend, "cpu");
    assert_int_equal(r.piece_bytes, 4 << 20);
}

static void check_failure(uint32_t *order, uint32_t at, uint32_t n_devices, const char *words)
{
    fake = (struct fake){.n_devices = n_devices, .lacks = OP_COUNT, .delay_us = 50};
    *order = at;
    struct quantize_options o = options(true, 700, 0);
    struct quantize_result r;
    CHECK_FAILS(quantize(&o, &r, e_), ERR_DEVICE, words);
    check_fake_behaved();
    check_nothing_left();
}

static void test_device_errors(void **state)
{
    (void)state;
    make_model(TINY_CONFIG, (struct tiny_edit){0});
    struct digest want = want_of();
    struct quantize_options o = options(true, 700, 0);
    struct quantize_result r;
    result_of(&o, &r);
    uint32_t submits = fake.submits, step = submits / 9;
    assert_true(step > 0);
    for (uint32_t n = 1; n <= 3; n += 2) {
        for (uint32_t at = 1; at <= submits; at += step) check_failure(&fake.fail_submit, at, n, "fell over");
        for (uint32_t at = 1; at <= submits; at += step) check_failure(&fake.fail_wait, at, n, "the kernel failed");
        check_failure(&fake.fail_submit, submits, n, "fell over");
        check_failure(&fake.fail_wait, submits, n, "the kernel failed");
        for (uint32_t at = 1; at <= n; at++) check_failure(&fake.fail_open, at, n, "is asleep");
        for (uint32_t at = 1; at <= 5; at++) check_failure(&fake.fail_lane, at, n, "a lane needs");
    }
    fake = (struct fake){.n_devices = 1, .lacks = OP_COUNT};
    struct digest d = result_of(&o, &r); /* and after all that it still works */
    check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output");
}

static void test_missing_kernel(void **state)
{
    (void)state;
    make_model(TINY_CONFIG, (struct tiny_edit){0});
    struct digest want = want_of();
    static const enum op lacks[] = {OP_AMAX, OP_SWEEP_NVFP4, OP_ENCODE_NVFP4_STATIC, OP_ENCODE_NVFP4, OP_ENCODE_FP8};
    for (size_t i = 0; i < sizeof lacks / sizeof *lacks; i++) {
        fake = (struct fake){.n_devices = 1, .lacks = lacks[i]};
        struct quantize_options o = options(true, 0, 0);
        struct quantize_result r;
        CHECK_FAILS(quantize(&o, &r, e_), ERR_UNSUPPORTED, "backend 'fake' has no kernel for");
        check_nothing_left();
        o.backend.is_auto = true;
        struct digest d = result_of(&o, &r);
        check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output");
        assert_string_equal(r.backend, "cpu");
        assert_int_equal(fake.opens, 0);
    }
    fake = (struct fake){.n_devices = 1, .lacks = OP_DECODE_FP8}; /* not needed here */
    struct quantize_options o = options(true, 0, 0);
    struct quantize_result r;
    result_of(&o, &r);
    assert_string_equal(r.backend, "fake");
}

/* ---- bad input, cancel ---- */

static void check_poison(const char *tensor, uint16_t bits, const char *words)
{
    static const uint32_t devices[] = {0, 1, 3};
    make_model(TINY_CONFIG, (struct tiny_edit){.poison = tensor, .bits = bits});
    for (size_t i = 0; i < 3; i++) {
        fake = (struct fake){.n_devices = devices[i], .lacks = OP_COUNT, .delay_us = 50};
        struct quantize_options o = options(devices[i] > 0, 128, 0);
        struct quantize_result r;
        CHECK_FAILS(quantize(&o, &r, e_), ERR_FORMAT, words);
        check_fake_behaved();
        check_nothing_left();
    }
}

static void test_infinity(void **state)
{
    (void)state;
    check_poison("backbone.layers.1.mixer.experts.2.up_proj.weight", 0xff80,
                 "tensor 'backbone.layers.1.mixer.experts.2.up_proj.weight': element [0, 5] is infinite");
}

static void test_nan_in_group(void **state)
{
    (void)state;
    check_poison("backbone.layers.2.mixer.v_proj.weight", 0x7fc0, "v_proj.weight': element [0, 5] is NaN");
}

static void test_nan_in_copied(void **state)
{
    (void)state;
    check_poison("lm_head.weight", 0x7fc0, "holds a value that is not finite: element [0, 5] is NaN");
}

struct canceller {
    uint32_t asked, at;
};

static bool cancelled(void *ctx)
{
    struct canceller *c = ctx;
    return ++c->asked >= c->at;
}

/* Stopped at many moments, and gone on with elsewhere: the same bytes. */
static void test_cancel(void **state)
{
    (void)state;
    make_model(TINY_CONFIG, (struct tiny_edit){0});
    struct quantize_options o = options(false, 0, 0);
    struct quantize_result r;
    o.shard_bytes = 4000;
    struct digest want = result_of(&o, &r);
    fake = (struct fake){.n_devices = 2, .lacks = OP_COUNT, .delay_us = 30};
    o = options(true, 512, 0);
    o.shard_bytes = 4000;
    bool resumed = false;
    for (uint32_t at = 1, stopped = 1; stopped; at += 150) {
        struct canceller c = {.at = at};
        struct progress pr = {.cancelled = cancelled, .ctx = &c};
        struct error e = ERROR_INIT;
        o.backend.ops = at % 2 ? &backend_fake : &backend_cpu;
        o.backend.n = at % 2 ? 2 : 1;
        stopped = !quantize_run(plan, &model, NULL, out, &o, &r, &pr, &e);
        resumed |= r.resumed;
        if (stopped) assert_int_equal(e.code, ERR_CANCELLED);
        if (stopped) assert_true(exists(".out.ingot-partial") && !exists("out"));
        check_fake_behaved();
    }
    assert_true(resumed);
    struct digest d = tree(out);
    check_bytes(d.bytes, want.bytes, DIGEST_BYTES, "digest of the output");
}

/* ---- cuts and the promised memory ---- */

static void check_cut(uint64_t rows, uint64_t cols, uint64_t piece_bytes)
{
    struct tensor_info t = {.dtype = DTYPE_BF16, .n_dims = 2, .dims = {rows, cols}, .bytes = rows * cols * 2};
    struct plan_cut c = plan_cut_rows(&t, quant_format_find("nvfp4"), piece_bytes);
    uint64_t next = 0;
    for (uint64_t i = 0; i < c.n_pieces; i++) {
        struct plan_piece p = plan_cut_piece(&c, i);
        uint64_t n = p.n_rows * p.n_cols;
        assert_int_equal(p.first, next);
        assert_true(n > 0 || t.bytes == 0);
        assert_true(2 * n <= piece_bytes || (p.n_rows == 1 && p.n_cols <= 256));
        assert_true(p.n_cols == cols || (p.n_rows == 1 && p.first % cols % 256 == 0) || t.bytes == 0);
        next += n;
    }
    assert_int_equal(next, rows * cols);
    struct plan_cut b = plan_cut_bytes(t.bytes, piece_bytes);
    next = 0;
    for (uint64_t i = 0; i < b.n_pieces; i++) {
        struct plan_piece p = plan_cut_piece(&b, i);
        assert_true(p.first == next && p.n_cols <= piece_bytes);
        next += p.n_rows * p.n_cols;
    }
    assert_int_equal(next, t.bytes);
}

static void test_cuts(void **state)
{
    (void)state;
    static const uint64_t rows[] = {0, 1, 2, 7, 64, 1000}, cols[] = {0, 1, 16, 48, 255, 256, 512, 1040, 5000};
    static const uint64_t sizes[] = {1, 100, 512, 1024, 4096, 100000, 1 << 22};
    for (size_t r = 0; r < 6; r++)
        for (size_t c = 0; c < 9; c++)
            for (size_t s = 0; s < 7; s++) check_cut(rows[r], cols[c], sizes[s]);
}

static void test_workspace(void **state)
{
    (void)state;
    make_model(wide_config, (struct tiny_edit){.shapes = wide_config});
    struct plan_workspace w = plan_workspace_for(plan, PLAN_PIECE_BYTES, PLAN_HOLD_BYTES);
    assert_int_equal(plan->workspace_bytes, plan_workspace_bytes(&w));
    struct quantize_options o = options(true, 0, 0);
    struct quantize_result r;
    result_of(&o, &r);
    assert_int_equal(fake.lanes_most, w.n_lanes); /* what was promised is what was opened */
    assert_int_equal(w.src, 4 << 20);
    uint64_t last = UINT64_MAX;
    for (uint64_t piece = PLAN_PIECE_BYTES, hold = PLAN_HOLD_BYTES; piece >= 1 << 16; piece /= 2, hold /= 2) {
        w = plan_workspace_for(plan, piece, hold);
        assert_true(plan_workspace_bytes(&w) <= last && w.n_held <= w.n_lanes);
        last = plan_workspace_bytes(&w);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cpu),           TEST(test_devices), TEST(test_given_scales),  TEST(test_read_once),     TEST(test_wide),
        TEST(test_device_errors), TEST(test_missing_kernel), TEST(test_infinity), TEST(test_nan_in_group),
        TEST(test_nan_in_copied), TEST(test_cancel),   TEST(test_cuts),          TEST(test_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
