/* What `scales:` makes quantize write, weight by weight, against tests/numeric/slow.h: block scales, nibbles, tensor
 * scale; W4A4 with a group that shares its scale, and W4A16. */
#include "tests/numeric/slow.h"
#include "tests/tiny_model.h"

#include "backends/cpu/kernel.h"
#include "quantize/quantize.h"

#include <sys/stat.h>

static char folder[64], source[96], out[96];

static int setup(void **state)
{
    (void)state;
    slow_init();
    strcpy(folder, check_folder());
    snprintf(source, sizeof source, "%s/model", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    assert_int_equal(mkdir(source, 0777), 0);
    tiny_model_write(source, TINY_CONFIG, (struct tiny_edit){0});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(folder);
    return 0;
}

/* One part of a tensor of the result, all of it; NULL when there is none. */
static uint8_t *part_of(const struct model *m, const char *module, const char *suffix, struct tensor_info *info)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", module, suffix);
    const struct checkpoint *ck = m->inventory->checkpoint;
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(ck, i);
        if (strcmp(t->name, name) != 0) continue;
        uint8_t *data = malloc(t->bytes + 1);
        CHECK_OK(checkpoint_read(ck, i, 0, data, t->bytes, e_));
        *info = *t;
        return data;
    }
    return NULL;
}

static void widen(const uint8_t *bf16, float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, bf16 + 2 * i, sizeof bits);
        w[i] = slow_from_bits((uint32_t)bits << 16);
    }
}

/* Largest magnitude of weights that share a tensor scale. */
static float group_amax(const struct model *m, const char *const *modules)
{
    float g = 0;
    for (; *modules; modules++) {
        struct tensor_info t;
        uint8_t *raw = part_of(m, *modules, "weight", &t);
        assert_non_null(raw);
        float *w = malloc(t.n_elems * sizeof *w);
        widen(raw, w, t.n_elems);
        g = fmaxf(g, slow_amax_of(w, (int)t.n_elems));
        free(w);
        free(raw);
    }
    return g;
}

/* The block's maximum that a method is expected to choose; m_out: what the tensor scale is made with. */
typedef float (*choose_fn)(const float w[16], float g, float *m_out);

static void check_module(const struct model *from, const struct model *to, const char *module, float g, choose_fn choose,
                         unsigned *changed)
{
    struct tensor_info tw, t, ts, t2;
    uint8_t *raw = part_of(from, module, "weight", &tw), *codes = part_of(to, module, "weight", &t);
    uint8_t *scales = part_of(to, module, "weight_scale", &ts), *second = part_of(to, module, "weight_scale_2", &t2);
    assert_true(raw && codes && scales && second);
    assert_int_equal(t.bytes, tw.n_elems / 2);
    assert_int_equal(ts.bytes, tw.n_elems / 16);
    float m = 0, s2;
    for (uint64_t b = 0; b < tw.n_elems / 16; b++) {
        float w[16];
        struct slow_block want;
        widen(raw + 32 * b, w, 16);
        float chosen = choose(w, g, &m);
        slow_nvfp4_static(&want, w, chosen, g, m);
        *changed += chosen != slow_amax(w);
        if (scales[b] != want.scale) fail_msg("%s: block %u: scale %02x, expected %02x", module, (unsigned)b, scales[b], want.scale);
        check_bytes(codes + 8 * b, want.packed, 8, module);
    }
    memcpy(&s2, second, sizeof s2);
    assert_int_equal(slow_to_bits(s2), slow_to_bits(slow_div(g, slow_mul(6, m))));
    free(raw), free(codes), free(scales), free(second);
}

static float choose_four_six(const float w[16], float g, float *m)
{
    float error[2];
    *m = 256;
    return slow_four_six(w, g, error);
}

/* ModelOpt's 39 multipliers of 0.25 to 4; the grid as linspace has it, from both ends. */
static float choose_range(const float w[16], float g, float *m)
{
    float a = slow_amax(w), best = a, best_error = (float)INFINITY, step = slow_div(3.75f, 38);
    *m = 448;
    for (int i = 0; i < 39; i++) {
        float k = i < 19 ? slow_add(0.25f, slow_mul(step, (float)i)) : slow_sub(4, slow_mul(step, (float)(38 - i)));
        float amax = slow_mul(a, k), p = slow_div(slow_mul(slow_div(amax, 6), 448), slow_div(g, 6));
        float e = slow_mul((float)slow_decode(&slow_e4m3, slow_scale(p)), slow_div(g, 2688));
        float error = slow_block_error(w, e);
        if (error < best_error) best_error = error, best = amax;
    }
    return best;
}

static void quantize_with(const char *rules, struct model *from, struct model *to, const char *want_error)
{
    struct recipe *recipe;
    struct plan *plan = NULL;
    struct quantize_options o = {.isa = isa_detected(), .shard_bytes = SHARD_BYTES_DEFAULT};
    struct quantize_result r;
    char path[128], text[1024];
    snprintf(path, sizeof path, "%s/r.yaml", folder);
    snprintf(text, sizeof text, "name: t\nrules:\n%s", rules);
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
    CHECK_OK(recipe_load(&recipe, path, e_));
    CHECK_OK(model_open(from, source, e_));
    if (want_error) CHECK_FAILS(plan_build(&plan, from->inventory, recipe, e_), ERR_UNSUPPORTED, want_error);
    else {
        CHECK_OK(plan_build(&plan, from->inventory, recipe, e_));
        CHECK_OK(quantize_run(plan, from, NULL, out, &o, &r, NULL, e_));
        CHECK_OK(model_open(to, out, e_));
    }
    double error_max = 0, error = 0;
    for (uint32_t i = 0; plan && i < plan->n_items; i++) {
        assert_int_equal(r.gains[i].measured, plan->items[i].action == ACTION_QUANTIZE);
        error_max += r.gains[i].error_max, error += r.gains[i].error;
    }
    if (plan) assert_true(error > 0 && error < 0.97 * error_max); /* a search that gains nothing is none */
    plan_free(plan);
    recipe_free(recipe);
}

#define MIXER(layer, name) "backbone.layers." layer ".mixer." name

static void test_four_over_six(void **state)
{
    (void)state;
    struct model from = {0}, to = {0};
    quantize_with("  - {role: routed_experts, weights: nvfp4, inputs: {type: nvfp4, amax: 2688}, scales: four_over_six}\n"
                  "  - {role: [attn_q, attn_k, attn_v], weights: nvfp4, inputs: none, scales: four_over_six}\n",
                  &from, &to, NULL);
    static const char *const qkv[] = {MIXER("2", "q_proj"), MIXER("2", "k_proj"), MIXER("2", "v_proj"), NULL};
    unsigned changed = 0;
    float g = group_amax(&from, qkv);
    for (const char *const *m = qkv; *m; m++) check_module(&from, &to, *m, g, choose_four_six, &changed);
    for (int expert = 0; expert < 4; expert++)
        for (int k = 0; k < 2; k++) {
            char name[96];
            snprintf(name, sizeof name, MIXER("1", "experts.%d.%s"), expert, k ? "down_proj" : "up_proj");
            const char *const one[] = {name, NULL};
            check_module(&from, &to, name, group_amax(&from, one), choose_four_six, &changed);
        }
    assert_true(changed > 20); /* the choice is not always the block's own maximum */
    model_close(&to);
    model_close(&from);
}

static void test_range(void **state)
{
    (void)state;
    struct model from = {0}, to = {0};
    quantize_with("  - {role: routed_experts, weights: nvfp4, inputs: none, scales: {method: mse, step: 0.1}}\n"
                  "  - {role: [attn_q, attn_k, attn_v], weights: nvfp4, inputs: none, scales: mse_range}\n",
                  &from, &to, NULL);
    static const char *const qkv[] = {MIXER("2", "q_proj"), MIXER("2", "k_proj"), MIXER("2", "v_proj"), NULL};
    static const char *const expert[] = {MIXER("1", "experts.2.up_proj"), NULL};
    unsigned changed = 0;
    for (const char *const *m = qkv; *m; m++) check_module(&from, &to, *m, group_amax(&from, qkv), choose_range, &changed);
    check_module(&from, &to, expert[0], group_amax(&from, expert), choose_range, &changed);
    assert_true(changed > 20);
    model_close(&to);
    model_close(&from);
}

/* weight_scale_2 depends on the method: members of a fused group must have the same. */
static void test_group_of_two_methods(void **state)
{
    (void)state;
    struct model from = {0};
    quantize_with("  - {role: [attn_q, attn_k, attn_v], weights: nvfp4, inputs: none, scales: four_over_six}\n"
                  "  - {role: attn_v, weights: nvfp4, inputs: none, scales: mse}\n",
                  &from, NULL, "v_proj.weight' has scales: mse: engines fuse them");
    model_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_four_over_six, setup, teardown),
        cmocka_unit_test_setup_teardown(test_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_of_two_methods, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
